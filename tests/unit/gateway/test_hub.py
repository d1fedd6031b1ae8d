"""Joining a canvas, and what is looked at again after the bus was away."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import cast

import pytest
from starlette.websockets import WebSocket

from svgx_common.bus import Bus
from svgx_common.caller import Caller
from svgx_common.contract.policy import CanvasRole, Role
from svgx_common.contract.state import Access as AccessReply
from svgx_gateway.access import Access
from svgx_gateway.live.canvas import LiveCanvas
from svgx_gateway.live.connection import Connection
from svgx_gateway.live.hub import Hub

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
    access = Access(cast(Bus, bus))
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
    access = Access(cast(Bus, bus))
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
