"""What operators see: health, metrics, traces, logs."""

import asyncio
import json
from collections.abc import Callable, Iterable
from urllib.parse import urlsplit

import httpx
import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics import parser as openmetrics_parser
from prometheus_client.parser import text_string_to_metric_families

from svgx_devstack import DevStack
from tests.e2e.clients.api import open_api
from tests.e2e.clients.raw_socket import RawSocket
from tests.e2e.clients.workspace import Workspace
from tests.otlp import Span, run_receiver

SERVICES = ("gateway", "auth", "collab", "state")
# No types of its own.
open_metrics: Callable[[str], Iterable[Metric]] = openmetrics_parser.text_string_to_metric_families

GUIDE = {
    "svgx_engine_errors",
    "svgx_engine_request_duration_seconds",
}


@pytest.mark.parametrize("slash", ["", "/"])
@pytest.mark.parametrize("service", SERVICES)
async def test_every_service_tells_its_health(stack: DevStack, service: str, slash: str) -> None:
    """Proves R-OBS-1: on each service's own port, with and without the trailing slash, without a redirect."""
    async with httpx.AsyncClient(base_url=stack.service_url(service)) as http:
        for path in ("/health", "/health/live", "/health/ready"):
            answer = await http.get(path + slash)
            assert (answer.status_code, answer.json()["status"]) == (200, "ok"), path


@pytest.mark.parametrize("service", SERVICES)
async def test_every_service_has_the_guides_metrics(stack: DevStack, service: str) -> None:
    """Proves R-OBS-2."""
    async with httpx.AsyncClient(base_url=stack.service_url(service)) as http:
        text = (await http.get("/metrics/prometheus")).text
        wanted = "application/openmetrics-text; version=1.0.0"
        as_open_metrics = (await http.get("/metrics/prometheus", headers={"Accept": wanted})).text
        figures = (await http.get("/metrics/")).json()
    names = {family.name for family in text_string_to_metric_families(text)}
    assert names >= GUIDE
    assert {family.name for family in open_metrics(as_open_metrics)} >= GUIDE
    assert figures.keys() >= GUIDE
    assert ("svgx_engine_failed_logins" in names) == (service == "auth")


async def test_the_summary_finds_everybody(workspace: Workspace) -> None:
    """Proves R-OBS-3: every service and every replica, over the bus."""
    name = await workspace.stack.add_replica("collab")
    try:
        summary = (await workspace.owner.request("GET", "/health/summary/")).json()
    finally:
        await workspace.stack.remove_replica(name)
    assert summary["missing"] == []
    assert summary["status"] == "ok"
    found = {service: len(replicas) for service, replicas in summary["services"].items()}
    assert found == {"gateway": 1, "auth": 1, "collab": 2, "state": 1}
    (state,) = summary["services"]["state"]
    assert state["dependencies"]["postgresql"]["ok"]
    assert state["details"]["database_pool"]["max"] >= 1


async def test_the_summary_is_for_those_who_are_signed_in(stack: DevStack) -> None:
    """Proves R-OBS-3."""
    async with httpx.AsyncClient(base_url=stack.url) as http:
        assert (await http.get("/health/summary/")).status_code == 401


async def test_readiness_follows_what_a_service_needs(workspace: Workspace) -> None:
    """Proves R-OBS-1: state without PostgreSQL is alive and not ready."""
    postgres = workspace.stack.process("postgres")
    async with httpx.AsyncClient(base_url=workspace.stack.service_url("state"), timeout=10) as http:
        postgres.pause()
        try:
            while (answer := await http.get("/health/ready")).status_code == 200:
                pass
            assert "postgresql" in answer.json()["reason"]
            assert (await http.get("/health/live")).status_code == 200
        finally:
            postgres.resume()
        while (await http.get("/health/ready")).status_code != 200:
            pass


async def test_one_trace_spans_gateway_bus_service_and_sql(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Proves R-OBS-4, with the caller's own trace as the parent."""
    trace_id, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    with run_receiver() as receiver:
        settings = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint,
            "OTEL_BSP_SCHEDULE_DELAY": "50",
        }
        async with DevStack(tmp_path_factory.mktemp("traced"), settings=settings) as stack:
            async with open_api(stack.url) as api:
                admin = api.session(stack.admin_username, stack.admin_password)
                answer = await admin.request(
                    "POST",
                    "/runtime/canvases/",
                    json={"name": "traced"},
                    headers={"traceparent": f"00-{trace_id}-{parent}-01"},
                )
            assert answer.headers["traceresponse"].split("-")[1] == trace_id

            def ours(spans: Iterable[Span]) -> list[Span]:
                return [span for span in spans if span.trace_id == trace_id]

            async with asyncio.timeout(30):
                spans = ours(await receiver.wait_until(lambda spans: len(ours(spans)) >= 4))
    by_name = {span.name: span for span in spans}
    chain = [
        ("svgx-gateway", "POST /runtime/canvases/"),
        ("svgx-gateway", "ask svgx.state.canvas.create"),
        ("svgx-state", "answer state.canvas.create"),
        ("svgx-state", "sql create_canvas"),
    ]
    above = parent
    for service, name in chain:
        assert (by_name[name].service, by_name[name].parent_id) == (service, above)
        above = by_name[name].span_id


async def test_nothing_secret_is_logged(workspace: Workspace) -> None:
    """Proves R-OBS-5: after log-ins, refusals and WebSockets with tokens, no log has a token or a password."""
    secret = workspace.stack.admin_password
    canvas = await workspace.create_canvas()
    client = await workspace.connect(canvas)
    await workspace.driver.wait_synced([client])
    refused = await workspace.owner.request(
        "POST", "/auth/login", json={"username": "admin", "password": "a wrong password " + secret}
    )
    assert refused.status_code == 401
    for name in (process.name for process in workspace.stack.processes):
        text = workspace.stack.log_path(name).read_text(errors="replace")
        assert secret not in text, name
        assert "eyJ" not in text, name
        if name in SERVICES:
            lines = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
            assert all({"timestamp", "level", "event", "service"} <= line.keys() for line in lines)
            assert lines, name


async def test_strangers_write_no_lines(stack: DevStack) -> None:
    """Proves R-OBS-5: of handshakes good, bad and broken off, and of headers that travel with a trace."""
    path = stack.log_path("gateway")
    before = len(path.read_bytes())
    live = f"{stack.url}/runtime/events"
    for url in (f"{live}/{'stranger' * 800}?", f"{live}/stranger%3Ftoken=stranger?token=stranger"):
        async with RawSocket.connect(url) as socket:
            assert await socket.wait_closed() in (4401, 4404)
    for changed in ({"Sec-WebSocket-Version": "7"}, {"Upgrade": "h2c"}, {"Bad Name": "x"}):
        assert await RawSocket.handshake_status(f"{live}/stranger?", changed) >= 400
    address = urlsplit(stack.url)
    for _ in range(20):
        _, writer = await asyncio.open_connection(address.hostname, address.port)
        writer.write(
            b"GET /runtime/events/stranger HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"
            b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )
        writer.close()
    headers = {
        "traceparent": f"00-{'1' * 32}-{'2' * 16}-01",
        "tracestate": "stranger is no member",
    }
    async with httpx.AsyncClient(base_url=stack.url, headers=headers) as http:
        for baggage in ("stranger" * 2000, "stranger, stranger"):
            answer = await http.get("/auth/me", headers={"baggage": baggage})
            assert answer.status_code == 401
    written = path.read_bytes()[before:].decode(errors="replace")
    assert "stranger" not in written
    lines = [json.loads(line) for line in written.splitlines()]
    theirs = ("uvicorn", "websockets", "opentelemetry", "asyncio")
    assert [line for line in lines if line.get("logger", "").startswith(theirs)] == []
