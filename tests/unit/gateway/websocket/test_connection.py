"""One client's connection: order, bounds, presence."""

import asyncio
from typing import cast

import pytest
from starlette.websockets import WebSocket

from svgx_common.contract.close_codes import Close
from svgx_common.contract.policy import CanvasRole, Role
from svgx_common.messaging.caller import Caller
from svgx_gateway.websocket import connection as module
from svgx_gateway.websocket.connection import Connection, Ended, Lagging
from svgx_yjs import protocol


class SlowSocket:
    """A socket whose reader takes one frame for each `let`."""

    def __init__(self) -> None:
        self.taken: list[bytes] = []
        self._turns = asyncio.Semaphore(0)

    def let(self, frames: int) -> None:
        for _ in range(frames):
            self._turns.release()

    async def send_bytes(self, frame: bytes) -> None:
        await self._turns.acquire()
        self.taken.append(frame)


def connect(
    socket: SlowSocket, role: CanvasRole = CanvasRole.EDITOR, *, wants_saved: bool = True
) -> Connection:
    caller = Caller("u", "ann", Role.EDITOR, "s")
    return Connection(cast(WebSocket, socket), caller, role, wants_saved=wants_saved)


async def test_a_slow_client_is_left_out_and_caught_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Proves R-SYNC-10: past the bound nothing is queued, and the vector to catch up from is remembered."""
    monkeypatch.setattr(module, "SLOW_BYTES", 10)
    socket = SlowSocket()
    connection = connect(socket)
    assert connection.broadcast(b"12345678", b"v1")
    assert not connection.broadcast(b"1234", b"v2")
    assert isinstance(connection.flow, Lagging)
    assert connection.broadcast(b"5678", b"v3"), "it is left out without a second catch-up"
    assert connection.flow.vector == b"v2"
    writing = asyncio.create_task(connection.write())
    socket.let(10)
    await connection.wait_until_sent()
    writing.cancel()
    assert socket.taken == [b"12345678"]


async def test_a_slow_client_that_leaves_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Proves R-SYNC-10: nobody waits for it to catch up, and what was queued for it is not kept."""
    monkeypatch.setattr(module, "SLOW_BYTES", 1)
    connection = connect(SlowSocket())
    connection.broadcast(b"frame", b"")
    assert not connection.broadcast(b"frame", b"")
    recovering = asyncio.create_task(connection.wait_until_sent())
    writing = asyncio.create_task(connection.write())
    await asyncio.sleep(0)
    writing.cancel()
    async with asyncio.timeout(5):
        await recovering
    assert isinstance(connection.flow, Ended)
    connection.send(b"more")
    async with asyncio.timeout(5):
        await connection.wait_until_sent()


async def test_past_the_hard_bound_the_client_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Proves R-SYNC-10: memory is bounded whatever is sent."""
    monkeypatch.setattr(module, "HARD_BYTES", 10)
    connection = connect(SlowSocket())
    connection.send(b"a single frame may be large")
    connection.send(b"more")
    assert connection.closing.result().code is Close.OVERLOADED


async def test_a_client_that_stays_slow_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Proves R-SYNC-10."""
    monkeypatch.setattr(module, "SLOW_BYTES", 1)
    monkeypatch.setattr(module, "LAGGING_SECONDS", 0.0)
    connection = connect(SlowSocket())
    for _ in range(3):
        connection.broadcast(b"frame", b"")
    assert connection.closing.result().code is Close.OVERLOADED


async def test_saved_goes_only_to_those_who_asked() -> None:
    """Proves R-SAVE-4."""
    socket = SlowSocket()
    asked, silent = connect(socket), connect(socket, wants_saved=False)
    for connection in (asked, silent):
        connection.send_saved(7)
    writing = [asyncio.create_task(each.write()) for each in (asked, silent)]
    socket.let(2)
    await asked.wait_until_sent()
    await silent.wait_until_sent()
    for task in writing:
        task.cancel()
    assert socket.taken == [protocol.encode_saved(7)]


def test_only_editors_may_edit() -> None:
    """Proves R-ACCESS-5."""

    async def roles() -> dict[CanvasRole, bool]:
        return {role: connect(SlowSocket(), role).may_edit for role in CanvasRole}

    assert asyncio.run(roles()) == {
        CanvasRole.OWNER: True,
        CanvasRole.EDITOR: True,
        CanvasRole.VIEWER: False,
    }
