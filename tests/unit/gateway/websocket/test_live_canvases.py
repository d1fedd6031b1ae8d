"""The registry of live canvases: joins, checks after a reconnect, and the drain."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import cast

import pytest
from starlette.websockets import WebSocket

from svgx_common.contract.close_codes import Close
from svgx_common.contract.errors import Unavailable
from svgx_common.contract.policy import CanvasRole, Role
from svgx_common.contract.state import Access as AccessReply
from svgx_common.messaging.bus import Bus
from svgx_common.messaging.caller import Caller
from svgx_gateway.identity.canvas_roles import CanvasRoles
from svgx_gateway.websocket.canvas import LiveCanvas
from svgx_gateway.websocket.connection import Connection
from svgx_gateway.websocket.live_canvases import LiveCanvases
from svgx_gateway.websocket.outbox import Outbox
from tests.unit.gateway.message_spans import message_spans

ANN = Caller("u", "ann", Role.EDITOR, "s")
CANVAS = "00000000-0000-0000-0000-000000000001"


class FakeSubscription:
    """A subscription of `FakeBus`."""

    async def unsubscribe(self) -> None:
        pass


class FakeBus:
    """A bus that answers with `role`, and ignores every subscription."""

    def __init__(self) -> None:
        self.spans = message_spans()
        self.service = "gateway"
        self.replica_id = "test"
        self.role = CanvasRole.EDITOR
        self.listening: asyncio.Event | None = None
        """If there is an event, a subscription is made only after it is set."""
        self.reconnect_callbacks: list[Callable[[], Awaitable[None]]] = []

    def on_reconnect(self, callback: Callable[[], Awaitable[None]]) -> None:
        self.reconnect_callbacks.append(callback)

    async def ask(self, *_: object, **__: object) -> AccessReply:
        return AccessReply(role=self.role)

    async def listen(self, *_: object, **__: object) -> FakeSubscription:
        if self.listening is not None:
            await self.listening.wait()
        return FakeSubscription()

    async def wait_connected(self, _: float) -> None:
        await asyncio.Event().wait()


@pytest.fixture
def bus() -> FakeBus:
    """Return a bus on which every caller is an editor."""
    return FakeBus()


@asynccontextmanager
async def joined(canvases: LiveCanvases, connection: Connection) -> AsyncIterator[LiveCanvas]:
    """Join the canvas with a connection for the duration of the context."""
    canvas = await canvases.join(CANVAS, connection)
    try:
        yield canvas
    finally:
        await canvases.leave(canvas, connection)


async def test_role_change_between_lookup_and_join_takes_effect(bus: FakeBus) -> None:
    """A role that changes between its first lookup and the join is looked up again. Proves R-ACCESS-6."""
    roles = CanvasRoles(cast(Bus, bus))
    canvases = LiveCanvases(cast(Bus, bus), roles)
    role = await roles.role(ANN, CANVAS)
    bus.role = CanvasRole.VIEWER
    roles.forget()
    connection = Connection(cast(WebSocket, None), ANN, role, wants_saved=False)
    async with joined(canvases, connection) as canvas:
        assert isinstance(canvas, LiveCanvas)
        assert not connection.may_edit
    await canvases.stop()


async def test_reconnect_checks_all_roles(bus: FakeBus) -> None:
    """A reconnect of the bus checks all roles, because an announcement may be missing. Proves R-ACCESS-6."""
    roles = CanvasRoles(cast(Bus, bus))
    canvases = LiveCanvases(cast(Bus, bus), roles)
    connection = Connection(
        cast(WebSocket, None), ANN, await roles.role(ANN, CANVAS), wants_saved=False
    )
    async with joined(canvases, connection):
        bus.role = CanvasRole.VIEWER
        for callback in bus.reconnect_callbacks:
            await callback()
        async with asyncio.timeout(5):
            await connection.wait_for_known_role()
        assert not connection.may_edit
    await canvases.stop()


async def join(canvases: LiveCanvases, stack: AsyncExitStack) -> Connection:
    """Join the canvas with a new connection."""
    connection = Connection(cast(WebSocket, None), ANN, CanvasRole.EDITOR, wants_saved=False)
    await stack.enter_async_context(joined(canvases, connection))
    return connection


async def test_drain_closes_connections_in_random_order_over_its_duration(bus: FakeBus) -> None:
    """A drain closes connections in random order, spread over its duration. Proves R-FAIL-15."""
    canvases = LiveCanvases(cast(Bus, bus), CanvasRoles(cast(Bus, bus)))
    loop = asyncio.get_running_loop()
    async with AsyncExitStack() as stack:
        connections = [await join(canvases, stack) for _ in range(100)]
        canvas = await stack.enter_async_context(joined(canvases, connections[0]))
        closed: list[tuple[int, float]] = []
        start = loop.time()

        def record(number: int, _: object) -> None:
            closed.append((number, loop.time() - start))

        # The order of the set is the same at each iteration. The drain must use another order.
        unshuffled = [connections.index(each) for each in canvas.connections]
        for number, connection in enumerate(connections):
            connection.closing.add_done_callback(partial(record, number))
        await canvases.drain(0.5)
    assert {each.closing.result().code for each in connections} == {Close.RESTARTING}
    assert all(at >= turn * 0.5 / 100 for turn, (_, at) in enumerate(closed))
    order = [number for number, _ in closed]
    assert sorted(order) == list(range(100))
    assert order != unshuffled
    await canvases.stop()


async def test_connection_that_joins_during_a_drain_is_closed(bus: FakeBus) -> None:
    """A connection that joins after the drain has begun is closed at once. Proves R-FAIL-15."""
    canvases = LiveCanvases(cast(Bus, bus), CanvasRoles(cast(Bus, bus)))
    async with AsyncExitStack() as stack:
        joined = await join(canvases, stack)
        await canvases.drain(0)
        joining = await join(canvases, stack)
        for connection in (joined, joining):
            assert connection.closing.result().code is Close.RESTARTING
    await canvases.stop()


async def until(condition: Callable[[], bool]) -> None:
    """Wait until the condition is true."""
    while not condition():  # noqa: ASYNC110  # there is no event for it
        await asyncio.sleep(0)


@pytest.mark.parametrize("cancelled_after", ["the start has begun", "the canvas has started"])
async def test_cancelled_join_leaves_no_canvas(bus: FakeBus, cancelled_after: str) -> None:
    """A client that disconnects while its canvas starts leaves neither a canvas nor its tasks. Proves R-FAIL-22."""
    canvases = LiveCanvases(cast(Bus, bus), CanvasRoles(cast(Bus, bus)))
    bus.listening = asyncio.Event()
    async with AsyncExitStack() as stack:
        joining = asyncio.create_task(join(canvases, stack))
        await until(lambda: bool(canvases._starting))
        if cancelled_after == "the canvas has started":
            bus.listening.set()
            await until(lambda: not canvases._starting)
        joining.cancel()
        await asyncio.gather(joining, return_exceptions=True)
        bus.listening.set()
    await until(lambda: not canvases._starting and not canvases.details()["canvases"])
    assert not canvases._expected
    await canvases.stop()


async def test_starting_canvas_stays_for_its_second_client(bus: FakeBus) -> None:
    """The first client disconnects while the canvas starts, and the second client gets a running canvas.

    Proves R-FAIL-22.
    """
    canvases = LiveCanvases(cast(Bus, bus), CanvasRoles(cast(Bus, bus)))
    bus.listening = asyncio.Event()
    async with AsyncExitStack() as stack:
        first, second = (asyncio.create_task(join(canvases, stack)) for _ in range(2))
        await until(lambda: bool(canvases._starting))
        await asyncio.sleep(0)
        first.cancel()
        bus.listening.set()
        connection = await second
        await canvases._removals.wait()
        details = canvases.details()
        assert (details["connections"], details["canvases"]) == (1, 1)
        assert canvases._canvases[CANVAS].connections == {connection}
    await canvases.stop()


async def test_edits_of_the_last_client_have_the_whole_time_of_a_removal(
    bus: FakeBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The removal that an earlier leave has begun ends without an effect. Proves R-SOCKET-8."""
    waits: list[asyncio.Future[None]] = []

    async def wait_until_empty(_: Outbox) -> None:
        waits.append(asyncio.get_running_loop().create_future())
        await waits[-1]

    monkeypatch.setattr(Outbox, "wait_until_empty", wait_until_empty)
    canvases = LiveCanvases(cast(Bus, bus), CanvasRoles(cast(Bus, bus)))
    async with AsyncExitStack() as stack:
        await join(canvases, stack)
    await until(lambda: len(waits) == 1)
    async with AsyncExitStack() as stack:
        await join(canvases, stack)
    await until(lambda: len(waits) == 2)
    waits[0].set_exception(TimeoutError())
    await until(lambda: len(canvases._removals) == 1)
    assert canvases.details()["canvases"] == 1
    waits[1].set_exception(TimeoutError())
    await canvases._removals.wait()
    assert canvases.details()["canvases"] == 0
    await canvases.stop()


async def test_failed_start_leaves_no_tasks(bus: FakeBus, monkeypatch: pytest.MonkeyPatch) -> None:
    """A canvas that cannot subscribe to its channels is stopped. Proves R-FAIL-22."""

    async def fail(*_: object, **__: object) -> FakeSubscription:
        raise Unavailable

    monkeypatch.setattr(bus, "listen", fail)
    canvases = LiveCanvases(cast(Bus, bus), CanvasRoles(cast(Bus, bus)))
    tasks = asyncio.all_tasks()
    async with AsyncExitStack() as stack:
        with pytest.raises(Unavailable):
            await join(canvases, stack)
    assert canvases.details()["canvases"] == 0
    assert asyncio.all_tasks() <= tasks
    await canvases.stop()
