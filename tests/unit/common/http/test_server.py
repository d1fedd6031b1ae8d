"""Health and metrics over HTTP, before, while and after a service serves."""

from collections.abc import Callable, Iterable

import httpx
import pytest
from opentelemetry import trace
from prometheus_client import REGISTRY, Gauge
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics import parser as openmetrics_parser
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Message

from svgx_common import metrics
from svgx_common.health import Health, Phase
from svgx_common.http.server import Front

# No types of its own.
open_metrics: Callable[[str], Iterable[Metric]] = openmetrics_parser.text_string_to_metric_families


@pytest.fixture
def health() -> Health:
    return Health("state", "replica", "1.2.3")


@pytest.fixture
def front(health: Health) -> Front:
    return Front(health)


def visit(front: Front) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=front), base_url="http://service")


@pytest.mark.parametrize("slash", ["", "/"])
@pytest.mark.parametrize("phase", Phase)
async def test_readiness_follows_the_phase(
    health: Health, front: Front, phase: Phase, slash: str
) -> None:
    """Proves R-OBS-1: ready only between start and drain, alive always."""
    health.phase = phase
    ready = phase is Phase.READY
    async with visit(front) as http:
        for path in ("/health", "/health/ready"):
            answer = await http.get(path + slash)
            assert answer.status_code == (200 if ready else 503)
            assert answer.json().get("reason") == (None if ready else phase.value)
        assert (await http.get("/health/live" + slash)).status_code == 200
    assert REGISTRY.get_sample_value("svgx_engine_ready", {"service": "state"}) == ready


async def test_readiness_names_what_is_missing_and_no_secret(health: Health, front: Front) -> None:
    """Proves R-OBS-1: a check that fails is named; what it raised is not shown."""

    async def fail() -> None:
        raise ConnectionError("postgresql://user:hunter2@db")

    async def pass_() -> None:
        """Well."""

    health.require("postgresql", fail)
    health.require("nats", pass_)
    health.phase = Phase.READY
    async with visit(front) as http:
        answer = await http.get("/health/ready")
    assert (answer.status_code, answer.json()["reason"]) == (503, "not reachable: postgresql")
    report = (await health.report()).model_dump_json()
    assert "ConnectionError" in report
    assert "hunter2" not in report


async def test_paths_are_not_unknown_before_the_start_is_done(health: Health, front: Front) -> None:
    """Proves R-OBS-1: 503 first, then the service's own answer."""

    async def page(_: Request) -> Response:
        return PlainTextResponse("done")

    async with visit(front) as http:
        early = await http.get("/page")
        assert (early.status_code, early.json()["code"]) == (503, "unavailable")
        assert early.headers["content-type"] == "application/problem+json"
        front.inner = Starlette(routes=[Route("/page", page)])
        assert (await http.get("/page")).text == "done"
        assert (await http.get("/health/live")).status_code == 200


@pytest.mark.parametrize("phase", [Phase.STARTING, Phase.DRAINING])
async def test_websockets_are_refused_before_the_start_and_after_the_end(
    health: Health, front: Front, phase: Phase
) -> None:
    """Proves R-OBS-1 and R-FAIL-15: with 503, before they open, and with the time of the next try."""
    sent: list[Message] = []
    health.phase = phase
    if phase is Phase.DRAINING:
        front.inner = Starlette()

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "websocket", "path": "/runtime/events/c", "headers": []}
    await front(scope | {"extensions": {"websocket.http.response": {}}}, receive, send)
    assert sent[0]["type"] == "websocket.http.response.start"
    assert sent[0]["status"] == 503
    assert (b"retry-after", b"1") in sent[0]["headers"]


async def test_while_it_drains_every_answer_is_the_last_one(health: Health, front: Front) -> None:
    """Proves R-FAIL-16: pages and probes; before that, connections are kept."""

    async def page(_: Request) -> Response:
        return PlainTextResponse("done")

    front.inner = Starlette(routes=[Route("/page", page)])
    async with visit(front) as http:
        for phase, said in ((Phase.READY, None), (Phase.DRAINING, "close")):
            health.phase = phase
            answer = await http.get("/page")
            assert (answer.text, answer.headers.get("connection")) == ("done", said)
            probe = await http.get("/health/live")
            assert probe.headers.get("connection") == said


async def test_a_service_without_an_application_knows_nothing_else(
    health: Health, front: Front
) -> None:
    """Proves R-OBS-1."""
    health.phase = Phase.READY
    async with visit(front) as http:
        assert (await http.get("/page")).status_code == 404


async def test_openmetrics_has_the_trace_of_a_request_as_exemplar(front: Front) -> None:
    """Proves R-OBS-2: who asks for it gets it; one that is not recorded is no exemplar."""
    for operation, flags in (("recorded", 1), ("not-recorded", 0)):
        context = trace.SpanContext(7, 9, is_remote=False, trace_flags=trace.TraceFlags(flags))
        with trace.use_span(trace.NonRecordingSpan(context)):
            metrics.observe("state", operation, "ok", 0.002)
    async with visit(front) as http:
        plain = await http.get("/metrics/prometheus/")
        wanted = {"Accept": "application/openmetrics-text; version=1.0.0"}
        open_ = await http.get("/metrics/prometheus", headers=wanted)
    assert plain.headers["content-type"].startswith("text/plain")
    assert open_.headers["content-type"].startswith("application/openmetrics-text")
    families = {family.name: family for family in open_metrics(open_.text)}
    samples = families["svgx_engine_request_duration_seconds"].samples
    exemplars = {
        sample.labels["operation"]: sample.exemplar.labels for sample in samples if sample.exemplar
    }
    # Other tests of this process have left theirs.
    assert exemplars["recorded"] == {"trace_id": f"{7:032x}"}
    assert "not-recorded" not in exemplars


@pytest.mark.parametrize("path", ["/metrics", "/metrics/"])
async def test_figures_are_json_whatever_they_are(front: Front, path: str) -> None:
    """Proves R-OBS-2: JSON has neither NaN nor infinity."""
    gauge = Gauge("svgx_test_odd", "Odd values.", ["which"])
    try:
        for value in ("nan", "inf", "1.5"):
            gauge.labels(value).set(float(value))
        async with visit(front) as http:
            figures = (await http.get(path)).json()
    finally:
        REGISTRY.unregister(gauge)
    assert [sample["value"] for sample in figures["svgx_test_odd"]["samples"]] == [1.5]
