"""A service as a process: its start, its end, and what it says when it cannot run."""

import asyncio
import socket
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from svgx_common.contract.errors import NotFound
from svgx_common.contract.state import GET_CANVAS, JOURNAL_LOAD, CanvasRequest, LoadRequest
from svgx_common.messaging.bus import Bus, NoResponders
from svgx_devstack import DevStack, ports
from tests.integration.common import slow_service
from tests.integration.common.service_process import running


@asynccontextmanager
async def own_backing(home: Path) -> AsyncIterator[DevStack]:
    """Servers that may be killed."""
    stack = DevStack(home)
    await stack.up(backing_only=True)
    try:
        yield stack
    finally:
        await stack.down()


class Told:
    """Counts what a slow service tells."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._changed = asyncio.Event()

    async def listen(self, bus: Bus) -> "Told":
        await bus.listen(slow_service.TOLD, self._hear)
        await bus.settle()
        return self

    async def until(self, what: str, count: int = 1) -> None:
        while self._counts[what] < count:
            self._changed.clear()
            await self._changed.wait()

    async def _hear(self, subject: str, _: bytes) -> None:
        self._counts[subject.split(".")[2]] += 1
        self._changed.set()


async def until_nobody_answers(bus: Bus) -> None:
    """Return when the service has left its queue group."""
    while True:
        try:
            await bus.ask(GET_CANVAS, CanvasRequest(canvas_id="none"))
        except NotFound:
            continue
        except NoResponders:
            return


async def test_fifty_calls_in_flight_and_a_sigterm(backing: DevStack, asker: Bus) -> None:
    """Proves R-BUS-6: none can be answered before the service has left its queue group, and all are."""
    told = await Told().listen(asker)
    async with running(NATS_URL=backing.nats_url("state")) as service:
        await service.logged("ready")
        load = LoadRequest(canvas_id="any")
        calls = [asyncio.create_task(asker.ask(JOURNAL_LOAD, load)) for _ in range(50)]
        await told.until("arrived", 50)
        service.tell_to_stop()
        await told.until("draining")
        await until_nobody_answers(asker)
        assert not any(call.done() for call in calls)
        await asker.publish(slow_service.RELEASE, b"")
        assert {answer.content for answer in await asyncio.gather(*calls)} == {b"done"}
        await told.until("handing-over")
        assert await service.ended() == 0


async def test_what_is_not_finished_in_time_is_told_to_its_callers(
    backing: DevStack, asker: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves R-BUS-6: a call that hangs delays neither its caller, nor the end, nor the handing over."""
    told = await Told().listen(asker)
    settings = {"NATS_URL": backing.nats_url("state"), "DRAIN_SECONDS": "0"}
    async with running(**settings) as service:
        await service.logged("ready")
        call = asyncio.create_task(asker.ask(JOURNAL_LOAD, LoadRequest(canvas_id="any")))
        await told.until("arrived")
        service.tell_to_stop()
        with pytest.raises(Exception, match="stopped before it answered"):
            await call
        await told.until("handing-over")
        assert await service.ended() == 0


async def test_http_requests_are_finished_while_the_bus_is_there(
    backing: DevStack, asker: Bus
) -> None:
    """Proves R-BUS-6: a page that needs the bus after the SIGTERM is answered."""
    told = await Told().listen(asker)
    settings = {"NATS_URL": backing.nats_url("state"), "SERVE_PAGES": "1"}
    async with running(**settings) as service, httpx.AsyncClient() as http:
        port = (await service.logged("ready"))["port"]
        page = asyncio.create_task(http.get(f"http://127.0.0.1:{port}/page", timeout=30))
        await told.until("arrived")
        service.tell_to_stop()
        await told.until("draining")
        for _ in range(50):
            with pytest.raises(NotFound):
                await asker.ask(GET_CANVAS, CanvasRequest(canvas_id="none"))
        await asker.publish(slow_service.RELEASE, b"")
        assert (await page).text == "done"
        assert await service.ended() == 0


async def test_what_hangs_before_the_requests_gets_them_no_more_time(
    backing: DevStack, asker: Bus
) -> None:
    """Proves R-FAIL-16: four seconds, five past them, and one for the requests that are given up."""
    told = await Told().listen(asker)
    settings = {
        "NATS_URL": backing.nats_url("state"),
        "SERVE_PAGES": "1",
        "LINGER": "1",
        "DRAIN_SECONDS": "4",
    }
    async with running(**settings) as service, httpx.AsyncClient() as http:
        port = (await service.logged("ready"))["port"]
        page = asyncio.create_task(http.get(f"http://127.0.0.1:{port}/page", timeout=30))
        await told.until("arrived")
        service.tell_to_stop()
        async with asyncio.timeout(12):  # with four seconds of their own it would be 13
            assert await service.ended() == 0
        await asyncio.gather(page, return_exceptions=True)


async def test_a_service_that_waits_for_nats_says_so_and_ends_when_told() -> None:
    """Proves R-OBS-1: alive, not ready; its paths are not unknown yet; SIGTERM ends it with status 0."""
    port = ports.choose()
    settings = {"NATS_URL": f"nats://127.0.0.1:{ports.choose()}", "API_PORT": str(port)}
    async with running(**settings) as service, httpx.AsyncClient() as http:
        await service.logged("nats is not reachable; trying until it is")
        base = f"http://127.0.0.1:{port}"
        assert (await http.get(f"{base}/health/live")).status_code == 200
        ready = await http.get(f"{base}/health/ready")
        assert (ready.status_code, ready.json()["reason"]) == (503, "starting")
        page = await http.get(f"{base}/page")
        assert (page.status_code, page.json()["code"]) == (503, "unavailable")
        assert page.headers["retry-after"] == "1"
        service.tell_to_stop()
        assert await service.ended() == 0
    assert sum("nats is not reachable" in line for line in service.lines) == 1


async def test_a_service_ends_as_well_while_nats_is_away(tmp_path: Path) -> None:
    """Proves R-BUS-9: what still waits to be sent is nobody's any more, and no reason to end with an error."""
    async with (
        own_backing(tmp_path) as backing,
        running(NATS_URL=backing.nats_url("state")) as service,
    ):
        await service.logged("ready")
        nats = backing.process("nats")
        nats.restart = False
        nats.kill()
        await service.logged("nats is not reachable; trying until it is")
        service.tell_to_stop()
        assert await service.ended() == 0
    assert not any("ended by an error" in line for line in service.lines)


async def test_a_collector_that_hangs_does_not_hold_up_the_end(
    backing: DevStack, asker: Bus
) -> None:
    """Proves R-OBS-4: spans are sent while there is time, and no longer."""
    with socket.create_server(("127.0.0.1", 0)) as collector:
        settings = {
            "NATS_URL": backing.nats_url("state"),
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{collector.getsockname()[1]}",
        }
        async with running(**settings) as service:
            await service.logged("ready")
            with pytest.raises(NotFound):
                await asker.ask(GET_CANVAS, CanvasRequest(canvas_id="none"))
            service.tell_to_stop()
            async with asyncio.timeout(8):  # the exporter by itself takes 10 s or more
                assert await service.ended() == 0


async def test_a_port_that_is_taken_is_one_line() -> None:
    """Proves R-STATE-19: with status 2, and no traceback."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        async with running(API_PORT=str(port)) as service:
            assert await service.ended() == 2
    (line,) = service.lines
    assert line == f"svgx: API_PORT: cannot listen on 127.0.0.1:{port}: Address already in use\n"


async def test_a_connection_that_ends_for_good_ends_the_process(
    backing: DevStack, asker: Bus
) -> None:
    """Proves R-BUS-9: whoever starts it again mends it; it does not live on in vain."""
    url = backing.nats_url("state")
    async with running(NATS_URL=url) as service:
        await service.logged("ready")
        await asker.publish(slow_service.BREAK, b"")
        assert (await service.logged("ended by an error"))["level"] == "CRITICAL"
        assert await service.ended() == 1
    assert not any(line.startswith("Traceback") for line in service.lines)
    password = url.partition("@")[0].rpartition(":")[2]
    assert not any(password in line for line in service.lines)
