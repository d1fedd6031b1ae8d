"""Joining a canvas, and what is looked at again after the bus was away."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial
from typing import cast

import pytest
from starlette.websockets import WebSocket

from svgx_common.contract.close_codes import Close
from svgx_common.contract.policy import CanvasRole, Role
from svgx_common.contract.state import Access as AccessReply
from svgx_common.messaging.bus import Bus
from svgx_common.messaging.caller import Caller
from svgx_gateway.identity.canvas_roles import CanvasRoles
from svgx_gateway.websocket.canvas import LiveCanvas
from svgx_gateway.websocket.connection import Connection
from svgx_gateway.websocket.hub import Hub

ANN = Caller("u", "ann", Role.EDITOR, "s")
CANVAS = "00000000-0000-0000-0000-000000000001"


class FakeBus:
    """Says what the role is; takes everything else and forgets it."""

    def __init__(self) -> None:
        self.role = CanvasRole.EDITOR
        self.connected = False
        self.back: list[Callable[[], Awaitable[None]]] = []

    def on_reconnect(self, callback: Callable[[], Awaitable[None]]) -> None:
        self.back.append(callback)

    async def ask(self, *_: object, **__: object) -> AccessReply:
        return AccessReply(role=self.role)

    async def listen(self, *_: object, **__: object) -> None:
        pass

    async def wait_connected(self, _: float) -> None:
        await asyncio.Event().wait()


@pytest.fixture
def bus() -> FakeBus:
    """A bus on which everybody is an editor."""
    return FakeBus()


async def test_a_role_taken_away_while_joining_is_noticed(bus: FakeBus) -> None:
    """Proves R-ACCESS-6: it was looked up before there was a connection to tell."""
    access = CanvasRoles(cast(Bus, bus))
    hub = Hub(cast(Bus, bus), access)
    role = await access.role(ANN, CANVAS)
    bus.role = CanvasRole.VIEWER
    access.forget()
    connection = Connection(cast(WebSocket, None), ANN, role, wants_saved=False)
    async with hub.joined(CANVAS, connection) as canvas:
        assert isinstance(canvas, LiveCanvas)
        assert not connection.may_edit
    await hub.stop()


async def test_after_the_bus_was_away_roles_are_looked_up_again(bus: FakeBus) -> None:
    """Proves R-ACCESS-6: the announcement may have been missed."""
    access = CanvasRoles(cast(Bus, bus))
    hub = Hub(cast(Bus, bus), access)
    connection = Connection(
        cast(WebSocket, None), ANN, await access.role(ANN, CANVAS), wants_saved=False
    )
    async with hub.joined(CANVAS, connection):
        bus.role = CanvasRole.VIEWER
        for callback in bus.back:
            await callback()
        async with asyncio.timeout(5):
            await connection.role_known.wait()
        assert not connection.may_edit
    await hub.stop()


async def enter(hub: Hub, stack: AsyncExitStack) -> Connection:
    """A connection on the canvas."""
    connection = Connection(cast(WebSocket, None), ANN, CanvasRole.EDITOR, wants_saved=False)
    await stack.enter_async_context(hub.joined(CANVAS, connection))
    return connection


async def test_sockets_are_closed_at_random_over_the_drain_time(bus: FakeBus) -> None:
    """Proves R-FAIL-15: none sooner than its turn, and all of them by the end."""
    hub = Hub(cast(Bus, bus), CanvasRoles(cast(Bus, bus)))
    loop = asyncio.get_running_loop()
    async with AsyncExitStack() as stack:
        connections = [await enter(hub, stack) for _ in range(100)]
        canvas = await stack.enter_async_context(hub.joined(CANVAS, connections[0]))
        closed: list[tuple[int, float]] = []
        began = loop.time()

        def note(number: int, _: object) -> None:
            closed.append((number, loop.time() - began))

        # A set has an order too, and it is the same for all who ask.
        kept = [connections.index(each) for each in canvas.connections]
        for number, connection in enumerate(connections):
            connection.closing.add_done_callback(partial(note, number))
        await hub.drain(0.5)
    assert {each.closing.result().code for each in connections} == {Close.RESTARTING}
    assert all(at >= turn * 0.5 / 100 for turn, (_, at) in enumerate(closed))
    order = [number for number, _ in closed]
    assert sorted(order) == list(range(100))
    assert order != kept
    await hub.stop()


async def test_who_was_still_joining_is_sent_on_too(bus: FakeBus) -> None:
    """Proves R-FAIL-15: accepted before the end, on the canvas after it."""
    hub = Hub(cast(Bus, bus), CanvasRoles(cast(Bus, bus)))
    async with AsyncExitStack() as stack:
        before = await enter(hub, stack)
        await hub.drain(0)
        late = await enter(hub, stack)
        for connection in (before, late):
            assert connection.closing.result().code is Close.RESTARTING
    await hub.stop()
