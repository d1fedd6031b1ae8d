"""The HTTP application of a service in each phase: health, metrics, and refusals."""

import asyncio
from collections.abc import Callable, Iterable

import httpx
import pytest
import uvicorn
from opentelemetry import trace
from prometheus_client import REGISTRY, Gauge
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics import parser as openmetrics_parser
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Message

from svgx_common import health as health_module
from svgx_common import metrics
from svgx_common.health import Health, NotUsable, Phase
from svgx_common.http import server as server_module
from svgx_common.http.server import Server, ServiceApplication, listen
from svgx_common.observability.repeated_lines import BURST
from tests.log_reader import read_logs
from tests.polling import pause

# The parser has no type annotations.
open_metrics: Callable[[str], Iterable[Metric]] = openmetrics_parser.text_string_to_metric_families


@pytest.fixture
def health() -> Health:
    return Health("state", "replica", "1.2.3")


@pytest.fixture
def application(health: Health) -> ServiceApplication:
    return ServiceApplication(health)


def client_of(application: ServiceApplication) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(app=application), base_url="http://service"
    )


@pytest.mark.parametrize("seconds", [0.001, 3600.0], ids=["short ticks", "long ticks"])
async def test_ticks_update_the_date_until_the_server_is_stopped(
    application: ServiceApplication, monkeypatch: pytest.MonkeyPatch, *, seconds: float
) -> None:
    """`stop` does not wait for the next tick. Proves R-FAIL-16."""
    monkeypatch.setattr(server_module, "TICK_SECONDS", seconds)
    server = Server(uvicorn.Config(application, lifespan="off", log_config=None))
    serving = asyncio.create_task(server.serve(sockets=[listen("127.0.0.1", 0)]))
    async with asyncio.timeout(10):
        while not server.started or not server.server_state.default_headers:
            await pause()
        server.server_state.default_headers = []
        while seconds < 1 and not server.server_state.default_headers:
            await pause()
        server.stop()
        await serving


@pytest.mark.parametrize("slash", ["", "/"])
@pytest.mark.parametrize("phase", Phase)
async def test_readiness_follows_the_phase_and_liveness_does_not(
    health: Health, application: ServiceApplication, phase: Phase, slash: str
) -> None:
    """Proves R-OBS-1: a service is ready only between its start and its drain; it is alive all the time."""
    health.phase = phase
    ready = phase is Phase.READY
    async with client_of(application) as http:
        for path in ("/health", "/health/ready"):
            answer = await http.get(path + slash)
            assert answer.status_code == (200 if ready else 503)
            assert answer.json().get("reason") == (None if ready else phase.value)
        assert (await http.get("/health/live" + slash)).status_code == 200
    assert REGISTRY.get_sample_value("svgx_engine_ready", {"component": "state"}) == ready


@pytest.mark.parametrize("page", ["/metrics", "/metrics/prometheus"])
async def test_metrics_agree_with_readiness(
    monkeypatch: pytest.MonkeyPatch, application: ServiceApplication, health: Health, page: str
) -> None:
    """Proves R-OBS-10: a scrape finds a failed dependency and its recovery, without a request for the health page."""
    monkeypatch.setattr("svgx_common.health.CACHE_SECONDS", -1.0)
    failing = False

    async def check() -> None:
        if failing:
            raise ConnectionError

    async def values() -> tuple[float | None, ...]:
        assert (await http.get(page)).status_code == 200
        up = "svgx_engine_dependency_up"
        labels = {"component": "state"}
        return (
            REGISTRY.get_sample_value("svgx_engine_ready", labels),
            REGISTRY.get_sample_value(up, labels | {"dependency": "database"}),
            REGISTRY.get_sample_value(up, labels | {"dependency": "other"}),
        )

    async def succeed() -> None:
        """Succeed."""

    health.require("database", check)
    health.require("other", succeed)
    async with client_of(application) as http:
        assert await values() == (0, 1, 1)  # the service is starting
        health.phase = Phase.READY
        assert await values() == (1, 1, 1)
        failing = True
        assert await values() == (0, 0, 1)
        assert (await http.get("/health/ready")).status_code == 503
        failing = False
        assert await values() == (1, 1, 1)
        health.phase = Phase.DRAINING
        assert await values() == (0, 1, 1)


async def test_refusals_without_an_application_have_a_trace_id(
    health: Health, application: ServiceApplication
) -> None:
    """The response has the id in the document and in `traceresponse`. Proves R-HTTP-2 and R-OBS-7."""
    async with client_of(application) as http:
        starting = await http.get("/runtime/canvases/")
        health.phase = Phase.READY
        answers = [starting, await http.get("/nope"), await http.post("/health/")]
    assert [each.status_code for each in answers] == [503, 404, 405]
    for answer in answers:
        trace_id = answer.json()["trace_id"]
        assert int(trace_id, 16)
        assert answer.headers["traceresponse"].split("-")[1] == trace_id


async def test_refusals_at_the_start_are_logged_as_info_and_limited(health: Health) -> None:
    """Proves R-OBS-16: clients that connect again cause no warning, and do not fill the log."""
    with read_logs("state") as reader:
        async with client_of(ServiceApplication(health)) as http:
            for _ in range(BURST + 1):
                assert (await http.get("/runtime/canvases/")).status_code == 503
        lines = reader.read()
    assert [line["level"] for line in lines] == ["INFO"] * BURST
    assert {line["reason"] for line in lines} == {"the service is starting; try again"}


async def test_readiness_names_a_failed_check_without_its_error_text(
    health: Health, application: ServiceApplication
) -> None:
    """Proves R-OBS-1: the report shows only the type of the exception."""

    async def fail() -> None:
        raise ConnectionError("postgresql://user:hunter2@db")

    async def succeed() -> None:
        """Succeed."""

    health.require("postgresql", fail)
    health.require("nats", succeed)
    health.phase = Phase.READY
    async with client_of(application) as http:
        answer = await http.get("/health/ready")
    assert (answer.status_code, answer.json()["reason"]) == (503, "not usable: postgresql")
    report = (await health.report()).model_dump_json()
    assert "ConnectionError" in report
    assert "hunter2" not in report


async def test_failing_dependency_ends_readiness_and_not_liveness(
    health: Health, application: ServiceApplication
) -> None:
    """A restart repairs no dependency, so `/health` and `/health/live` stay at 200. Proves R-OBS-1 and R-FAIL-19."""

    async def fail() -> None:
        raise NotUsable("is read-only")

    health.require("postgresql", fail)
    health.phase = Phase.READY
    async with client_of(application) as http:
        for path, status in (("/health/ready", 503), ("/health/", 200), ("/health", 200)):
            answer = await http.get(path)
            assert answer.status_code == status, path
            assert answer.json()["status"] == "failing"
            assert answer.json()["reason"] == "not usable: postgresql (is read-only)"
            assert answer.json()["dependencies"]["postgresql"] == {
                "ok": False,
                "error": "NotUsable",
                "detail": "is read-only",
                "required": True,
            }
        live = await http.get("/health/live")
        assert (live.status_code, live.json()) == (200, {"status": "ok"})


async def test_failed_dependency_that_is_not_required_is_named_and_keeps_readiness(
    health: Health, application: ServiceApplication
) -> None:
    """Proves R-FAIL-19: the service works without Redis, and its report names the outage."""

    async def fail() -> None:
        raise ConnectionError

    health.watch("redis", fail)
    health.phase = Phase.READY
    async with client_of(application) as http:
        answer = await http.get("/health/ready")
    assert (answer.status_code, answer.json()["status"]) == (200, "ok")
    assert answer.json()["reason"] == "not usable: redis"
    assert not answer.json()["dependencies"]["redis"]["required"]


async def test_check_that_cannot_be_cancelled_does_not_delay_the_report(
    health: Health, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A driver that is cancelled may still wait for a frozen server. Proves R-FAIL-19."""
    monkeypatch.setattr(health_module, "CHECK_SECONDS", 0.05)
    released = asyncio.Event()

    async def hang() -> None:
        try:
            await released.wait()
        except asyncio.CancelledError:
            await released.wait()

    health.require("postgresql", hang)
    health.phase = Phase.READY
    async with asyncio.timeout(5):
        report = await health.report()
    released.set()
    assert report.reason == "not usable: postgresql (does not answer)"


async def test_any_path_answers_503_until_the_service_has_started(
    health: Health, application: ServiceApplication
) -> None:
    """Proves R-OBS-1: after the start, the service's own application answers."""

    async def page(_: Request) -> Response:
        return PlainTextResponse("done")

    async with client_of(application) as http:
        early = await http.get("/page")
        assert (early.status_code, early.json()["code"]) == (503, "unavailable")
        assert early.headers["content-type"] == "application/problem+json"
        application.app = Starlette(routes=[Route("/page", page)])
        assert (await http.get("/page")).text == "done"
        assert (await http.get("/health/live")).status_code == 200


@pytest.mark.parametrize("phase", [Phase.STARTING, Phase.DRAINING])
async def test_websocket_is_refused_before_the_upgrade_while_starting_or_draining(
    health: Health, application: ServiceApplication, phase: Phase
) -> None:
    """Proves R-OBS-1 and R-FAIL-15: the response is 503 with `Retry-After`."""
    sent: list[Message] = []
    health.phase = phase
    if phase is Phase.DRAINING:
        application.app = Starlette()

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "websocket", "path": "/runtime/events/c", "headers": []}
    await application(scope | {"extensions": {"websocket.http.response": {}}}, receive, send)
    assert sent[0]["type"] == "websocket.http.response.start"
    assert sent[0]["status"] == 503
    assert (b"retry-after", b"1") in sent[0]["headers"]


async def test_responses_close_the_connection_while_draining(
    health: Health, application: ServiceApplication
) -> None:
    """Proves R-FAIL-16: pages and probes close the connection during the drain, and keep it open before."""

    async def page(_: Request) -> Response:
        return PlainTextResponse("done")

    application.app = Starlette(routes=[Route("/page", page)])
    async with client_of(application) as http:
        for phase, connection in ((Phase.READY, None), (Phase.DRAINING, "close")):
            health.phase = phase
            answer = await http.get("/page")
            assert (answer.text, answer.headers.get("connection")) == ("done", connection)
            probe = await http.get("/health/live")
            assert probe.headers.get("connection") == connection


PAGES = ("/health", "/health/live", "/health/ready", "/metrics", "/metrics/prometheus")


@pytest.mark.parametrize(
    "path",
    [
        "/page",
        "/",
        "/health%2Flive",
        "/health%2flive",
        "/health%2Fready/",
        "/health/live%2F",
        "/healt%68",
        "/health//",
        "/health/live//",
        "//health",
        "/HEALTH",
        "/health/other",
        "/metrics%2Fprometheus",
        "/metrics%2fprometheus/",
        "/metrics%252Fprometheus",
        "/%6Detrics/prometheus",
        "/metrics/%70rometheus",
        "/metrics%00",
        "/metrics;a",
        "/metrics//prometheus",
        "/metrics\\prometheus",
        "/metrics%5Cprometheus",
    ],
)
async def test_service_without_an_application_answers_404_for_every_other_path(
    health: Health, application: ServiceApplication, path: str
) -> None:
    """Proves R-HTTP-1 and R-HTTP-6: a path is compared as it was sent, so that no encoding gets past a proxy's rule."""
    health.phase = Phase.READY
    async with client_of(application) as http:
        request = http.build_request("GET", "http://service/")
        request.url = request.url.copy_with(raw_path=path.encode())
        answer = await http.send(request)
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("path", PAGES)
async def test_pages_have_the_security_headers_and_refuse_other_methods(
    health: Health, application: ServiceApplication, path: str
) -> None:
    """The pages of every service accept GET and HEAD only. Proves R-HTTP-6 and R-HTTP-7."""
    health.phase = Phase.READY
    async with client_of(application) as http:
        for method in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE"):
            answer = await http.request(method, path)
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["cache-control"] == "no-store"
            assert "content-security-policy" in answer.headers
            if method in ("GET", "HEAD"):
                assert answer.status_code == 200
            else:
                assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")
                assert answer.headers["allow"] == "GET, HEAD"


@pytest.mark.parametrize("path", [*PAGES, "/page"])
async def test_websocket_of_a_page_or_an_unknown_path_gets_404(
    health: Health, application: ServiceApplication, path: str
) -> None:
    """Proves R-HTTP-6: a service without WebSockets refuses the handshake with a problem document."""
    health.phase = Phase.READY
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "websocket", "path": path, "raw_path": path.encode(), "headers": []}
    await application(scope | {"extensions": {"websocket.http.response": {}}}, receive, send)
    assert (sent[0]["type"], sent[0]["status"]) == ("websocket.http.response.start", 404)
    assert (b"content-type", b"application/problem+json") in sent[0]["headers"]


async def test_requests_at_the_same_time_share_one_check(
    health: Health, application: ServiceApplication, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves R-LIMIT-15: fifty probes load the dependencies as much as one."""
    monkeypatch.setattr(health_module, "CACHE_SECONDS", 3600.0)
    checks = 0

    async def check() -> None:
        nonlocal checks
        checks += 1

    health.require("nats", check)
    health.phase = Phase.READY
    async with client_of(application) as http:
        answers = await asyncio.gather(*(http.get("/health/ready") for _ in range(50)))
    assert {answer.status_code for answer in answers} == {200}
    assert checks == 1


async def test_openmetrics_has_recorded_traces_as_exemplars(
    application: ServiceApplication,
) -> None:
    """Proves R-OBS-2: the OpenMetrics format has exemplars, and they name only recorded traces."""
    for operation, flags in (("recorded", 1), ("not-recorded", 0)):
        context = trace.SpanContext(7, 9, is_remote=False, trace_flags=trace.TraceFlags(flags))
        with trace.use_span(trace.NonRecordingSpan(context)):
            metrics.observe("state", operation, "ok", 0.002)
    async with client_of(application) as http:
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
    # Other tests in this process may have left further exemplars.
    assert exemplars["recorded"] == {"trace_id": f"{7:032x}"}
    assert "not-recorded" not in exemplars


@pytest.mark.parametrize("path", ["/metrics", "/metrics/"])
async def test_json_metrics_leave_out_values_that_json_does_not_have(
    application: ServiceApplication, path: str
) -> None:
    """Proves R-OBS-2: JSON has no NaN and no infinity."""
    gauge = Gauge("svgx_test_odd", "Odd values.", ["kind"])
    try:
        for value in ("nan", "inf", "1.5"):
            gauge.labels(value).set(float(value))
        async with client_of(application) as http:
            metrics_json = (await http.get(path)).json()
    finally:
        REGISTRY.unregister(gauge)
    assert [sample["value"] for sample in metrics_json["svgx_test_odd"]["samples"]] == [1.5]
