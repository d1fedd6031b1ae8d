"""A service as a process: its start, its drain, and its errors."""

import asyncio
import json
import socket
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from svgx_common.contract.errors import NotFound
from svgx_common.contract.state import GET_CANVAS, JOURNAL_LOAD, CanvasRequest, LoadRequest
from svgx_common.contract.transport import DRAIN_ORDER
from svgx_common.messaging.bus import Bus, NoResponders
from svgx_common.messaging.headers import HEADER_PROBE
from svgx_common.nats_server.nkeys import UserKey
from svgx_devstack import DevStack, ports
from tests.integration.common import blocking_service
from tests.integration.common.nats_server import nats_server
from tests.integration.common.service_process import running
from tests.polling import pause

REFUSED = (
    "nats refuses the credentials of this service; correct the setting or the users of nats. "
    "The service keeps trying"
)


@asynccontextmanager
async def separate_backing(home: Path) -> AsyncIterator[DevStack]:
    """Start backing servers that the test may kill."""
    stack = DevStack(home)
    await stack.up(backing_only=True)
    try:
        yield stack
    finally:
        await stack.down()


class EventCounter:
    """A counter of the events that a blocking service reports."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._changed = asyncio.Event()

    async def listen(self, bus: Bus) -> "EventCounter":
        await bus.listen(blocking_service.EVENTS, self._count)
        await bus.settle()
        return self

    async def wait_for(self, event: str, count: int = 1) -> None:
        while self._counts[event] < count:
            self._changed.clear()
            await self._changed.wait()

    async def _count(self, subject: str, _: bytes) -> None:
        self._counts[subject.split(".")[2]] += 1
        self._changed.set()


async def test_ordered_drain_ends_the_process_as_sigterm_does(
    backing: DevStack, gateway_bus: Bus
) -> None:
    """The replica confirms the order, finishes its requests, and ends with status 0. Proves R-FAIL-23."""
    events = await EventCounter().listen(gateway_bus)
    async with running(NATS_URL=backing.nats_url("operator")) as service:
        ready = await service.wait_for_log("ready")
        load = LoadRequest(canvas_id="any")
        call = asyncio.create_task(gateway_bus.ask(JOURNAL_LOAD, load))
        await events.wait_for("arrived")
        subject = DRAIN_ORDER.subject_of(service="state", replica_id=ready["replica"])
        probe = {HEADER_PROBE: "1"}
        await gateway_bus.connection.publish(subject, headers=probe)  # a probe changes nothing
        assert (await gateway_bus.request(subject, b"{}", timeout=5)).content == b"{}"
        await events.wait_for("draining")
        await wait_until_left(gateway_bus)
        await gateway_bus.publish(blocking_service.RELEASE, b"")
        assert (await call).content == b"done"
        assert await service.wait_ended() == 0


async def wait_until_left(bus: Bus) -> None:
    """Wait until the service has left its queue group."""
    while True:
        try:
            await bus.ask(GET_CANVAS, CanvasRequest(canvas_id="none"))
        except NotFound:
            await pause()
        except NoResponders:
            return


@pytest.mark.parametrize(("count", "size"), [(50, 1), (3, 20_000_000)])
async def test_sigterm_finishes_the_requests_in_progress(
    backing: DevStack, gateway_bus: Bus, *, count: int, size: int
) -> None:
    """Proves R-BUS-6: after SIGTERM, the service leaves its queue group and answers all received requests.

    The service also waits until large answers are pulled.
    """
    events = await EventCounter().listen(gateway_bus)
    async with running(NATS_URL=backing.nats_url("operator")) as service:
        await service.wait_for_log("ready")
        load = LoadRequest(canvas_id="any", after=size)
        calls = [asyncio.create_task(gateway_bus.ask(JOURNAL_LOAD, load)) for _ in range(count)]
        await events.wait_for("arrived", count)
        service.terminate()
        await events.wait_for("draining")
        await wait_until_left(gateway_bus)
        assert not any(call.done() for call in calls)
        await gateway_bus.publish(blocking_service.RELEASE, b"")
        assert {answer.content for answer in await asyncio.gather(*calls)} == {b"x" * size}
        await events.wait_for("handing-over")
        assert await service.wait_ended() == 0


async def test_unfinished_request_is_refused_when_the_drain_time_ends(
    backing: DevStack, gateway_bus: Bus
) -> None:
    """Proves R-BUS-6: a hanging handler delays neither its caller nor `Service.drain` nor the end of the process."""
    events = await EventCounter().listen(gateway_bus)
    settings = {"NATS_URL": backing.nats_url("operator"), "DRAIN_SECONDS": "0"}
    async with running(**settings) as service:
        await service.wait_for_log("ready")
        call = asyncio.create_task(gateway_bus.ask(JOURNAL_LOAD, LoadRequest(canvas_id="any")))
        await events.wait_for("arrived")
        service.terminate()
        with pytest.raises(Exception, match="stopped before it answered"):
            await call
        await events.wait_for("handing-over")
        assert await service.wait_ended() == 0


async def test_http_request_in_progress_can_still_use_the_bus(
    backing: DevStack, gateway_bus: Bus
) -> None:
    """Proves R-BUS-6: an HTTP request that arrived before SIGTERM can use the bus until it is answered."""
    events = await EventCounter().listen(gateway_bus)
    settings = {"NATS_URL": backing.nats_url("operator"), "SERVE_PAGES": "1"}
    async with running(**settings) as service, httpx.AsyncClient(timeout=60) as http:
        port = (await service.wait_for_log("ready"))["port"]
        page = asyncio.create_task(http.get(f"http://127.0.0.1:{port}/page", timeout=30))
        await events.wait_for("arrived")
        service.terminate()
        await events.wait_for("draining")
        for _ in range(50):
            with pytest.raises(NotFound):
                await gateway_bus.ask(GET_CANVAS, CanvasRequest(canvas_id="none"))
        await gateway_bus.publish(blocking_service.RELEASE, b"")
        assert (await page).text == "done"
        assert await service.wait_ended() == 0


async def test_metrics_port_moves_the_metrics_and_nothing_else(backing: DevStack) -> None:
    """Proves R-LIMIT-15: each port refuses the pages of the other, and both end with the process."""
    metrics_port = ports.choose()
    settings = {"NATS_URL": backing.nats_url("operator"), "METRICS_PORT": str(metrics_port)}
    async with running(**settings) as service, httpx.AsyncClient(timeout=60) as http:
        port = (await service.wait_for_log("ready"))["port"]
        api, metrics = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{metrics_port}"
        for path in ("/metrics", "/metrics/", "/metrics/prometheus"):
            assert (await http.get(metrics + path)).status_code == 200
            assert (await http.get(api + path)).status_code == 404
        for path in ("/health/live", "/", "/metrics%2Fprometheus"):
            answer = await http.get(metrics + path)
            assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
        assert (await http.get(f"{api}/health/live")).status_code == 200
        service.terminate()
        assert await service.wait_ended() == 0


async def test_unread_metrics_do_not_delay_the_end_of_the_process(backing: DevStack) -> None:
    """Proves R-FAIL-16: a client of `METRICS_PORT` that does not read its responses is cut off within seconds."""
    metrics_port = ports.choose()
    settings = {
        "NATS_URL": backing.nats_url("operator"),
        "METRICS_PORT": str(metrics_port),
        "DRAIN_SECONDS": "1",
    }
    loop = asyncio.get_running_loop()
    async with running(**settings) as service:
        await service.wait_for_log("ready")
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.setblocking(False)
            await loop.sock_connect(client, ("127.0.0.1", metrics_port))
            await loop.sock_sendall(client, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 30)
            assert await loop.sock_recv(client, 1)
            service.terminate()
            async with asyncio.timeout(15):
                assert await service.wait_ended() == 0


async def test_taken_metrics_port_ends_the_process_and_names_the_setting(
    backing: DevStack,
) -> None:
    """Proves R-CONFIG-2: the message names the setting."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        settings = {"NATS_URL": backing.nats_url("operator"), "METRICS_PORT": port}
        async with running(**settings) as service:
            assert await service.wait_ended() == 2
    assert any(line.startswith("svgx: METRICS_PORT: ") for line in service.lines)


async def test_hanging_hook_does_not_extend_the_drain_time(
    backing: DevStack, gateway_bus: Bus
) -> None:
    """Proves R-FAIL-16: the process ends after the drain time (5 s), 5 s of grace and 1 s for the HTTP request.

    The service's hook `before_drain` never returns.
    """
    events = await EventCounter().listen(gateway_bus)
    settings = {
        "NATS_URL": backing.nats_url("operator"),
        "SERVE_PAGES": "1",
        "BLOCK_DRAIN": "1",
        "DRAIN_SECONDS": "5",
    }
    async with running(**settings) as service, httpx.AsyncClient(timeout=60) as http:
        port = (await service.wait_for_log("ready"))["port"]
        page = asyncio.create_task(http.get(f"http://127.0.0.1:{port}/page", timeout=30))
        await events.wait_for("arrived")
        service.terminate()
        # The end would take 15 s if the HTTP requests got the drain time again.
        async with asyncio.timeout(14.9):
            assert await service.wait_ended() == 0
        await asyncio.gather(page, return_exceptions=True)


async def test_service_without_nats_reports_starting_and_ends_on_sigterm() -> None:
    """Proves R-OBS-1: a service without NATS is alive and not ready, answers 503, and ends with status 0 on SIGTERM."""
    port = ports.choose()
    settings = {"NATS_URL": f"nats://127.0.0.1:{ports.choose()}", "API_PORT": str(port)}
    async with running(**settings) as service, httpx.AsyncClient(timeout=60) as http:
        await service.wait_for_log("nats is not reachable; the service keeps trying")
        base = f"http://127.0.0.1:{port}"
        assert (await http.get(f"{base}/health/live")).status_code == 200
        ready = await http.get(f"{base}/health/ready")
        reason = "starting; not usable: nats (is not connected)"
        assert (ready.status_code, ready.json()["reason"]) == (503, reason)
        page = await http.get(f"{base}/page")
        assert (page.status_code, page.json()["code"]) == (503, "unavailable")
        assert page.headers["retry-after"] == "1"
        service.terminate()
        assert await service.wait_ended() == 0
    failures = [line for line in service.lines if "nats is not reachable" in line]
    assert sum("ConnectionRefusedError" in line for line in failures) == 1, failures


async def test_service_that_loses_nats_at_its_start_becomes_ready_later(tmp_path: Path) -> None:
    """The process waits for NATS and logs no error, because NATS may restart at any time. Proves R-BUS-9."""
    port = ports.choose()
    async with AsyncExitStack() as stack:
        async with nats_server(tmp_path, "", port=port) as url:
            service = await stack.enter_async_context(running(NATS_URL=url, WAIT_FOR_LOSS="1"))
            await service.wait_for_log("waiting for the loss of nats")
        await service.wait_for_log("nats was lost during the start; the service waits for it")
        async with nats_server(tmp_path, "", port=port):
            await service.wait_for_log("ready")
            service.terminate()
            assert await service.wait_ended() == 0


SEED = UserKey.generate()


@pytest.mark.parametrize(
    ("setting", "url", "seed", "users"),
    [
        ("NATS_URL", "nats://ann:wrong-secret@127.0.0.1", "", {"user": "ann", "password": "right"}),
        ("NATS_URL", "nats://wrong-secret@127.0.0.1", "", {"token": "right"}),
        ("NATS_URL", "nats://127.0.0.1", "", {"user": "ann", "password": "right"}),
        (
            "NATS_NKEY_SEED",
            "nats://127.0.0.1",
            SEED.seed,
            {"users": [{"nkey": UserKey.generate().public}]},
        ),
    ],
    ids=["password", "token", "no password", "nkey"],
)
async def test_refused_nats_credentials_are_named_until_they_are_accepted(
    tmp_path: Path, setting: str, url: str, seed: str, users: dict[str, Any]
) -> None:
    """The service keeps trying, because the users of NATS may be changed later. Proves R-BUS-16."""
    api_port = ports.choose()
    port = ports.choose([api_port])
    ready = f"http://127.0.0.1:{api_port}/health/ready"
    async with AsyncExitStack() as stack, httpx.AsyncClient(timeout=60) as http:
        async with nats_server(tmp_path, _authorization(users), port=port):
            settings = {"NATS_URL": f"{url}:{port}", "API_PORT": str(api_port)}
            service = await stack.enter_async_context(running(**settings, NATS_NKEY_SEED=seed))
            line = await service.wait_for_log(REFUSED)
            assert (line["level"], line["setting"]) == ("ERROR", setting)
            answer = await http.get(ready)
            reason = f"starting; not usable: nats (refuses the credentials of {setting})"
            assert (answer.status_code, answer.json()["reason"]) == (503, reason)
            assert answer.json()["dependencies"]["nats"]["detail"] in reason
            live = await http.get(ready.replace("ready", "live"))
            assert live.status_code == 200
        accepted = {"users": [{"nkey": SEED.public}]} if seed else {}
        async with nats_server(tmp_path, _authorization(accepted), port=port):
            await service.wait_for_log("ready")
            assert (await http.get(ready)).status_code == 200
            service.terminate()
            assert await service.wait_ended() == 0
    output = "".join(service.lines)
    assert output.count(REFUSED) == 1
    assert "wrong-secret" not in output
    assert not seed or seed not in output


def _authorization(users: dict[str, Any]) -> str:
    return f"authorization: {json.dumps(users)}"


async def test_service_ends_with_status_0_while_nats_is_down(tmp_path: Path) -> None:
    """Proves R-BUS-9: unsent messages are dropped, and do not make the process end with an error."""
    async with (
        separate_backing(tmp_path) as backing,
        running(NATS_URL=backing.nats_url("operator")) as service,
    ):
        await service.wait_for_log("ready")
        nats = backing.process("nats")
        nats.restart = False
        nats.kill()
        await service.wait_for_log("nats is not reachable; the service keeps trying")
        service.terminate()
        assert await service.wait_ended() == 0
    assert not any("ended by an error" in line for line in service.lines)


async def test_hanging_trace_collector_does_not_delay_the_end(
    backing: DevStack, gateway_bus: Bus
) -> None:
    """Proves R-OBS-4: the export of the last spans has a time limit."""
    with socket.create_server(("127.0.0.1", 0)) as collector:
        settings = {
            "NATS_URL": backing.nats_url("operator"),
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{collector.getsockname()[1]}",
            "OTEL_EXPORTER_OTLP_TIMEOUT": "60",
        }
        async with running(**settings) as service:
            await service.wait_for_log("ready")
            with pytest.raises(NotFound):
                await gateway_bus.ask(GET_CANVAS, CanvasRequest(canvas_id="none"))
            service.terminate()
            async with asyncio.timeout(25):  # the exporter alone takes 60 s
                assert await service.wait_ended() == 0


async def test_taken_port_ends_the_process_with_one_line() -> None:
    """Proves R-CONFIG-2: the exit status is 2, and the output is one line with the setting."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        async with running(API_PORT=str(port)) as service:
            assert await service.wait_ended() == 2
    (line,) = service.lines
    assert line == f"svgx: API_PORT: cannot listen on 127.0.0.1:{port}: Address already in use\n"


async def test_nats_connection_closed_for_good_ends_the_process(
    backing: DevStack, gateway_bus: Bus
) -> None:
    """Proves R-BUS-9: a restart of the process repairs the connection, so the process ends with status 1."""
    url = backing.nats_url("operator")
    async with running(NATS_URL=url) as service:
        await service.wait_for_log("ready")
        await gateway_bus.publish(blocking_service.BREAK, b"")
        assert (await service.wait_for_log("ended by an error"))["level"] == "CRITICAL"
        assert await service.wait_ended() == 1
    assert not any(line.startswith("Traceback") for line in service.lines)
    password = url.partition("@")[0].rpartition(":")[2]
    assert not any(password in line for line in service.lines)
