"""Health, metrics and logs of the services."""

import asyncio
import json
from collections.abc import Callable, Iterable
from importlib.metadata import version
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics import parser as openmetrics_parser
from prometheus_client.parser import text_string_to_metric_families

from svgx_devstack import DevStack
from tests.e2e.clients.hocuspocus import connect_hocuspocus
from tests.e2e.clients.raw_socket import RawSocket
from tests.e2e.clients.workspace import Workspace
from tests.polling import REQUEST_POLL_SECONDS, pause

SERVICES = ("gateway", "auth", "collab", "state")
# The parser has no type annotations.
parse_open_metrics: Callable[[str], Iterable[Metric]] = (
    openmetrics_parser.text_string_to_metric_families
)

GUIDE_METRICS = {
    "svgx_engine_errors",
    "svgx_engine_request_duration_seconds",
}
"""Metrics that every service must have, because the operations guide or its dashboards use them."""


@pytest.mark.parametrize("slash", ["", "/"])
@pytest.mark.parametrize("service", SERVICES)
async def test_every_service_answers_health_requests(
    stack: DevStack, service: str, slash: str
) -> None:
    """Each service answers on its own port, without a redirect. Proves R-OBS-1."""
    async with httpx.AsyncClient(base_url=stack.service_url(service), timeout=60) as http:
        for path in ("/health", "/health/live", "/health/ready"):
            # A slow check of a dependency makes the service unready for half a second.
            await stack.process(service).wait_ready()
            response = await http.get(path + slash)
            assert (response.status_code, response.json()["status"]) == (200, "ok"), path


@pytest.mark.parametrize("service", SERVICES)
async def test_every_service_has_the_metrics_of_the_guide(stack: DevStack, service: str) -> None:
    """The metrics exist in all three formats. Proves R-OBS-2."""
    async with httpx.AsyncClient(base_url=stack.service_url(service), timeout=60) as http:
        text = (await http.get("/metrics/prometheus")).text
        media_type = "application/openmetrics-text; version=1.0.0"
        open_metrics_text = (
            await http.get("/metrics/prometheus", headers={"Accept": media_type})
        ).text
        json_metrics = (await http.get("/metrics/")).json()
    names = {family.name for family in text_string_to_metric_families(text)}
    assert names >= GUIDE_METRICS
    assert {family.name for family in parse_open_metrics(open_metrics_text)} >= GUIDE_METRICS
    assert json_metrics.keys() >= GUIDE_METRICS
    assert ("svgx_engine_failed_logins" in names) == (service == "auth")


EXPECTED_METRICS = {
    "gateway": {
        *("live_oldest_unsaved_seconds", "redis_connections", "redis_connections_max"),
        *("websocket_closes", "websocket_refused", "rate_limit_hits", "circuit_refused"),
    },
    "auth": {"database_connections", "database_connections_max", "failed_logins"},
    "collab": {"collab_oldest_unsaved_seconds", "redis_connections", "redis_connections_max"},
    "state": {"database_connections", "database_connections_max", "snapshots"},
}
"""For each service, metrics that show failures to operators. Other services may lack these metrics."""


@pytest.mark.parametrize("service", SERVICES)
async def test_metrics_exist_before_their_first_event(stack: DevStack, service: str) -> None:
    """Each metric has a value from the start, so that `rate` includes the first events. Proves R-OBS-11."""
    async with httpx.AsyncClient(base_url=stack.service_url(service), timeout=60) as http:
        await stack.process(service).wait_ready()
        families = {
            family.name: family.samples
            for family in text_string_to_metric_families(
                (await http.get("/metrics/prometheus")).text
            )
        }
        health = (await http.get("/health/")).json()
    assert [name for name, samples in families.items() if not samples] == []
    common = {"build_info", "ready", "dependency_up", "errors", "requests", "bus_dropped_messages"}
    expected = {f"svgx_engine_{name}" for name in common | EXPECTED_METRICS[service]}
    assert expected - families.keys() == set()
    errors = families["svgx_engine_errors"]
    assert {sample.labels["code"] for sample in errors} >= {"internal", "unavailable"}
    assert [sample.value for sample in families["svgx_engine_ready"]] == [1]
    up = {s.labels["dependency"]: s.value for s in families["svgx_engine_dependency_up"]}
    assert up["nats"] == 1
    (build,) = families["svgx_engine_build_info"]
    assert (build.value, build.labels["component"], build.labels["version"]) == (
        1,
        service,
        version(f"svgx-{service}"),
    )
    revision = build.labels["revision"]
    assert revision == health["revision"]
    log = map(json.loads, stack.log_path(service).read_text(encoding="utf-8").splitlines())
    assert {line["revision"] for line in log if line["event"] == "starting"} == {revision}
    series = sum(map(len, families.values()))
    assert series < 4000, "a scrape must stay cheap"


async def test_health_summary_lists_every_replica(workspace: Workspace) -> None:
    """The gateway asks all services over NATS. Proves R-OBS-3."""
    name = await workspace.stack.add_replica("collab")
    summary: dict[str, Any] = {}

    def figures() -> object:
        """Return the status, the missing services and the number of each service's replicas."""
        counts = {service: len(each) for service, each in summary.get("services", {}).items()}
        return summary.get("status"), summary.get("missing"), counts

    expected: object = ("ok", [], {"gateway": 1, "auth": 1, "collab": 2, "state": 1})
    try:
        async with asyncio.timeout(20):
            while figures() != expected:  # a busy replica may answer one summary too late
                summary = (await workspace.owner.request("GET", "/health/summary/")).json()
                await pause(REQUEST_POLL_SECONDS)
    except TimeoutError:
        raise AssertionError(figures()) from None
    finally:
        await workspace.stack.remove_replica(name)
    (state,) = summary["services"]["state"]
    assert state["dependencies"]["postgresql"]["ok"]
    assert state["details"]["database_pool"]["max"] >= 1


async def test_health_summary_without_a_token_is_refused(stack: DevStack) -> None:
    """The summary needs a token. Proves R-OBS-3."""
    async with httpx.AsyncClient(base_url=stack.url, timeout=60) as http:
        assert (await http.get("/health/summary/")).status_code == 401


async def test_readiness_follows_the_dependencies_of_a_service(workspace: Workspace) -> None:
    """The state service without PostgreSQL is live but not ready. Proves R-OBS-1."""
    postgres = workspace.stack.process("postgres")
    async with httpx.AsyncClient(base_url=workspace.stack.service_url("state"), timeout=10) as http:
        postgres.pause()
        try:
            while (response := await http.get("/health/ready")).status_code == 200:
                await pause(REQUEST_POLL_SECONDS)
            assert "postgresql" in response.json()["reason"]
            assert (await http.get("/health/live")).status_code == 200
        finally:
            postgres.resume()
        while (await http.get("/health/ready")).status_code != 200:
            await pause(REQUEST_POLL_SECONDS)


async def test_logs_contain_no_tokens_and_no_passwords(workspace: Workspace) -> None:
    """After log-ins, refusals and WebSockets, no log has a token or a password. Proves R-OBS-5."""
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
        # Every access token starts with "eyJ": its header is JSON in base64, and begins with `{"`.
        assert "eyJ" not in text, name
        if name in SERVICES:
            lines = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
            assert all({"timestamp", "level", "event", "service"} <= line.keys() for line in lines)
            assert lines, name


async def lines_of(stack: DevStack, *texts: str, count: int) -> list[dict[str, object]]:
    """Wait until the gateway's log has at least `count` lines with all texts, and return these lines."""
    path = stack.log_path("gateway")
    async with asyncio.timeout(20):
        while True:
            log = await asyncio.to_thread(path.read_text)
            found = [line for line in log.splitlines() if all(text in line for text in texts)]
            if len(found) >= count:
                return [json.loads(line) for line in found]
            await pause(REQUEST_POLL_SECONDS)


async def test_commands_of_the_guide_find_the_connections_of_a_user(workspace: Workspace) -> None:
    """`grep websocket` and `grep "user_id=…"` find the lines of a connection. Proves R-OBS-9."""
    canvas = await workspace.create_canvas()
    client = await workspace.connect(canvas)
    await workspace.driver.wait_synced([client])
    await workspace.destroy_all()
    user = (await workspace.owner.request("GET", "/auth/me")).json()["id"]
    opened, closed = await lines_of(
        workspace.stack, "websocket", f"user_id={user}", canvas, count=2
    )
    assert (opened["event"], closed["event"]) == ("websocket opened", "websocket closed")
    assert opened["trace_id"] == closed["trace_id"]
    assert closed["close_code"] in (1000, 1001, 1005, 1006)


async def test_hocuspocus_socket_and_each_of_its_documents_have_two_lines(
    workspace: Workspace,
) -> None:
    """The socket has the account of its first document, and each document its own account. Proves R-OBS-9."""
    other = workspace.api.session_of(await workspace.create_user())
    users, trace_ids = [], set()
    canvases = [await workspace.create_canvas(), await other.create_canvas("Drawing")]
    for canvas, session in zip(canvases, (workspace.owner, other), strict=True):
        client = await connect_hocuspocus(workspace, canvas, session=session, socket="logged")
        await workspace.driver.wait_synced([client])
        users.append((await session.request("GET", "/auth/me")).json()["id"])
    await workspace.destroy_all()
    for canvas, user in zip(canvases, users, strict=True):
        lines = await lines_of(workspace.stack, '"document ', f"user_id={user}", canvas, count=2)
        assert [line["event"] for line in lines] == ["document opened", "document closed"]
        assert lines[1]["close_code"] == 1000
        trace_ids |= {line["trace_id"] for line in lines}
    (trace_id,) = trace_ids
    opened, closed = await lines_of(workspace.stack, '"websocket ', str(trace_id), count=2)
    assert (opened["event"], closed["event"]) == ("websocket opened", "websocket closed")
    assert (opened["user_id"], closed["user_id"]) == (users[0], users[0])


WATCHING_LOGGERS = (
    "svgx_common.messaging.",
    "svgx_common.runtime",
    "svgx_gateway.replica_watch",
    "svgx_gateway.ratelimit.buckets",
)
"""Loggers of the gateway that report on its readiness, NATS, Redis and other replicas, without a request."""


async def test_unauthenticated_requests_write_no_log_lines(stack: DevStack) -> None:
    """Completed, refused and interrupted handshakes and malformed trace headers write no log line. Proves R-OBS-5."""
    path = stack.log_path("gateway")
    before = len(path.read_bytes())
    # All requests contain the word "stranger", which must not appear in the log.
    base = f"{stack.url}/runtime/events"
    for url in (f"{base}/{'stranger' * 800}?", f"{base}/stranger%3Ftoken=stranger?token=stranger"):
        async with RawSocket.connect(url) as socket:
            assert await socket.wait_closed() in (4401, 4404)
    for changed in ({"Sec-WebSocket-Version": "7"}, {"Upgrade": "h2c"}, {"Bad Name": "x"}):
        assert await RawSocket.handshake_status(f"{base}/stranger?", changed) >= 400
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
    async with httpx.AsyncClient(base_url=stack.url, headers=headers, timeout=60) as http:
        for baggage in ("stranger" * 2000, "stranger, stranger"):
            response = await http.get("/auth/me", headers={"baggage": baggage})
            assert response.status_code == 401
    written = path.read_bytes()[before:].decode(errors="replace")
    assert "stranger" not in written
    lines = [json.loads(line) for line in written.splitlines()]
    # Connections of earlier tests may end meanwhile. Their log lines contain `user_id`.
    assert [
        line
        for line in lines
        if "user_id" not in line and not line.get("logger", "").startswith(WATCHING_LOGGERS)
    ] == []
