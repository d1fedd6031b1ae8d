"""The memory of canvases that all connections have left, with a real connection to NATS."""

import asyncio
import gc
import secrets
from collections.abc import AsyncIterator
from typing import cast
from weakref import ReferenceType, ref

import pytest
from starlette.websockets import WebSocket

from svgx_common.contract.policy import CanvasRole, Role
from svgx_common.contract.state import CANVAS_ACCESS, Access, CanvasRequest
from svgx_common.messaging.bus import Bus
from svgx_common.messaging.caller import Caller
from svgx_common.messaging.responder import Call
from svgx_devstack import DevStack
from svgx_gateway.identity.canvas_roles import CanvasRoles
from svgx_gateway.websocket.connection import Connection
from svgx_gateway.websocket.live_canvases import LiveCanvases
from tests.integration.gateway.running_gateway import answering
from tests.polling import pause

ANN = Caller("u", "ann", Role.EDITOR, "s")
CANVASES = 5


@pytest.fixture
async def canvases(backing: DevStack) -> AsyncIterator[LiveCanvases]:
    """Return the live canvases of a gateway. Each caller is a viewer."""

    async def access(_: CanvasRequest, __: Call) -> Access:
        return Access(role=CanvasRole.VIEWER)

    bus = await Bus.connect(backing.nats_url("gateway"), "gateway", secrets.token_hex(6))
    found = LiveCanvases(bus, CanvasRoles(bus))
    try:
        async with answering(backing, CANVAS_ACCESS, access):
            yield found
            await found.stop()
    finally:
        await bus.close()


async def visit(canvases: LiveCanvases, canvas_id: str) -> list[ReferenceType[object]]:
    """Join a canvas and leave it. Return weak references to the canvas and the connection."""
    connection = Connection(cast(WebSocket, None), ANN, CanvasRole.VIEWER, wants_saved=False)
    canvas = await canvases.join(canvas_id, connection)
    await canvases.leave(canvas, connection)
    return [ref(canvas), ref(connection)]


async def test_gateway_keeps_nothing_of_a_canvas_that_all_have_left(canvases: LiveCanvases) -> None:
    """Proves R-SOCKET-8: neither the canvas nor the connection stays in memory."""
    visited = [
        each
        for number in range(CANVASES)
        for each in await visit(canvases, f"00000000-0000-0000-0000-{number:012}")
    ]
    assert len(visited) == 2 * CANVASES
    async with asyncio.timeout(10):
        while canvases.details()["canvases"]:
            await pause()
        while any(each() is not None for each in visited):
            gc.collect()
            await pause()
