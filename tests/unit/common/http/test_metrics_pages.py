"""The pages of the metrics: their formats, and how often they are rendered."""

import json
from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.requests import Request

from svgx_common.http.metrics_pages import MAX_AGE_SECONDS, MetricsPages
from tests.clock import Clock


class Collections(Collector):
    """A collector with one metric: the number of its own collections."""

    def __init__(self) -> None:
        self.count = 0

    def describe(self) -> Iterator[Metric]:
        """Return the name, without a collection."""
        yield GaugeMetricFamily("collections", "Collections.")

    def collect(self) -> Iterator[Metric]:
        """Count one collection, and return the count."""
        self.count += 1
        yield GaugeMetricFamily("collections", "Collections.", value=self.count)


@pytest.fixture
def collections() -> Collections:
    return Collections()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def pages(collections: Collections, clock: Clock) -> MetricsPages:
    registry = CollectorRegistry()
    registry.register(collections)
    return MetricsPages(registry, clock)


def request(accept: str = "") -> Request:
    """Return a request with this `Accept` header."""
    headers = [(b"accept", accept.encode())]
    return Request({"type": "http", "method": "GET", "path": "/", "headers": headers})


async def test_each_format_is_rendered_once_a_second_for_all_requests(
    pages: MetricsPages, collections: Collections, clock: Clock
) -> None:
    """Proves R-LIMIT-15: in each second, fifty requests for a format cause one collection."""
    for second in range(1, 4):
        for _ in range(50):
            text = await pages.prometheus(request())
            open_metrics = await pages.prometheus(request("application/openmetrics-text"))
            as_json = await pages.json(request())
            assert b"collections %d.0" % (second * 3 - 2) in bytes(text.body)
            assert b"collections %d.0" % (second * 3 - 1) in bytes(open_metrics.body)
            samples = json.loads(bytes(as_json.body))["collections"]["samples"]
            assert samples == [{"name": "collections", "labels": {}, "value": second * 3}]
            clock.now += MAX_AGE_SECONDS / 100
        assert collections.count == second * 3
        clock.now += MAX_AGE_SECONDS


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        ("", "text/plain"),
        ("*/*", "text/plain"),
        ("text/plain;version=1.0.0", "text/plain"),
        ("text/html, application/openmetrics-text-x", "text/plain"),
        ("application/openmetrics-text", "application/openmetrics-text"),
        ("Application/OpenMetrics-Text;version=0.0.1", "application/openmetrics-text"),
        ("application/openmetrics-text;version=invented", "application/openmetrics-text"),
        ("application/openmetrics-text;version=99.9;escaping=x", "application/openmetrics-text"),
        (
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,text/plain;q=0.2",
            "application/openmetrics-text",
        ),
    ],
)
async def test_accept_header_selects_one_of_two_formats(
    pages: MetricsPages, collections: Collections, accept: str, media_type: str
) -> None:
    """Proves R-LIMIT-15: a client cannot cause more renderings by naming versions and escapings."""
    for _ in range(3):
        response = await pages.prometheus(request(accept))
        assert response.headers["content-type"].partition(";")[0] == media_type
    assert collections.count == 1
