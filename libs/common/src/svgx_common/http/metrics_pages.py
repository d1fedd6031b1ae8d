"""The metrics of a process as text for Prometheus, as OpenMetrics and as JSON.

Each format is rendered at most once a second for all requests, because rendering takes many milliseconds, during which
the event loop serves no other client.
"""

import json
import math
import time
from collections.abc import Callable
from typing import Any

from prometheus_client import REGISTRY, exposition
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import CollectorRegistry
from starlette.requests import Request
from starlette.responses import Response

MAX_AGE_SECONDS = 1.0
"""Lifetime of rendered metrics, in seconds."""


class MetricsPages:
    """The two pages of the metrics: `prometheus`, in one of two text formats, and `json`. `clock` returns seconds."""

    def __init__(
        self, registry: CollectorRegistry = REGISTRY, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._text = _Page(
            lambda: exposition.generate_latest(registry), exposition.CONTENT_TYPE_PLAIN_0_0_4, clock
        )
        self._openmetrics = _Page(
            # `generate_latest` has no type annotations.
            lambda: openmetrics.generate_latest(registry),  # type: ignore[no-untyped-call]
            openmetrics.CONTENT_TYPE_LATEST,
            clock,
        )
        self._json = _Page(lambda: _as_json(registry), "application/json", clock)

    async def prometheus(self, request: Request) -> Response:
        """Return OpenMetrics to a client that accepts it, else the text format. Only OpenMetrics has exemplars."""
        is_accepted = _accepts_openmetrics(request.headers.get("accept", ""))
        return (self._openmetrics if is_accepted else self._text).response()

    async def json(self, _: Request) -> Response:
        """Return the metrics as JSON."""
        return self._json.response()


class _Page:
    """One format of the metrics, with its last rendering."""

    def __init__(
        self, render: Callable[[], bytes], media_type: str, clock: Callable[[], float]
    ) -> None:
        self._render = render
        self._media_type = media_type
        self._clock = clock
        self._content = b""
        self._rendered_at = -math.inf

    def response(self) -> Response:
        """Return the metrics, at most `MAX_AGE_SECONDS` old."""
        now = self._clock()
        if now - self._rendered_at >= MAX_AGE_SECONDS:
            self._content = self._render()
            self._rendered_at = now
        return Response(self._content, media_type=self._media_type)


def _accepts_openmetrics(accept: str) -> bool:
    """Return whether `Accept` lists OpenMetrics.

    The parameters `version` and `escaping` are ignored, because names and values need no newer version and no other
    escaping.
    """
    media_types = (each.partition(";")[0].strip().lower() for each in accept.split(","))
    return "application/openmetrics-text" in media_types


def _as_json(registry: CollectorRegistry) -> bytes:
    metrics = {metric.name: _metric_as_json(metric) for metric in registry.collect()}
    return json.dumps(metrics, separators=(",", ":")).encode()


def _metric_as_json(metric: Metric) -> dict[str, Any]:
    samples = [
        {"name": sample.name, "labels": dict(sample.labels), "value": sample.value}
        for sample in metric.samples
        if math.isfinite(sample.value)  # JSON has neither NaN nor infinity
    ]
    return {"help": metric.documentation, "type": metric.type, "samples": samples}
