"""Edits on their way: what cannot be saved is never called saved."""

import asyncio
from typing import cast

import pytest
from starlette.websockets import WebSocket

from svgx_common.contract.close_codes import Close
from svgx_common.contract.errors import Unavailable
from svgx_common.contract.policy import CanvasRole, Role
from svgx_common.messaging.bus import Bus
from svgx_common.messaging.caller import Caller
from svgx_common.messaging.holder import Holder
from svgx_common.messaging.wire import Saved, decode_edits, encode_saved
from svgx_gateway.websocket import outbox as module
from svgx_gateway.websocket.connection import Connection
from svgx_gateway.websocket.outbox import Outbox


async def one_edit(
    monkeypatch: pytest.MonkeyPatch, answer: bytes | Exception
) -> tuple[Connection, list[int]]:
    """A connection after its edit was answered so by the holder, and what it was told is saved."""

    async def ask(*_: object, **__: object) -> bytes:
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(Holder, "ask", ask)
    caller = Caller("u", "ann", Role.EDITOR, "s")
    connection = Connection(cast(WebSocket, None), caller, CanvasRole.EDITOR, wants_saved=True)
    told: list[int] = []
    monkeypatch.setattr(Connection, "send_saved", lambda _, number: told.append(number))
    outbox = Outbox(cast(Bus, None), "canvas", connection.close)
    outbox.put(connection, b"update", 1)
    async with asyncio.timeout(10):
        await outbox.flushed()
    await outbox.close()
    return connection, told


async def test_what_is_committed_is_called_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    """Proves R-SAVE-1."""
    connection, told = await one_edit(monkeypatch, encode_saved(Saved(1, ())))
    assert told == [1]
    assert not connection.closing.done()


async def test_what_cannot_be_saved_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """Proves R-SAVE-2: the client is told to come back, and nothing of its edit."""
    connection, told = await one_edit(monkeypatch, Unavailable())
    assert told == []
    assert connection.closing.result().code is Close.OVERLOADED


async def test_what_is_refused_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """Proves R-SAVE-2 and R-SYNC-8."""
    connection, told = await one_edit(monkeypatch, encode_saved(Saved(1, (0,))))
    assert told == []
    assert connection.closing.result().code is Close.BAD_MESSAGE


async def test_while_nothing_is_acknowledged_requests_become_fewer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Proves R-SAVE-5: drawing reaches the holder, and an outage does not fill the bus with requests."""
    sent: list[int] = []

    async def ask(_: Holder, __: str, content: bytes, **___: object) -> bytes:
        sent.append(len(decode_edits(content)))
        await asyncio.Event().wait()  # never
        raise AssertionError

    monkeypatch.setattr(Holder, "ask", ask)
    monkeypatch.setattr(module, "GATHER", 0.001)
    caller = Caller("u", "ann", Role.EDITOR, "s")
    connection = Connection(cast(WebSocket, None), caller, CanvasRole.EDITOR, wants_saved=True)
    outbox = Outbox(cast(Bus, None), "canvas", connection.close)
    loop = asyncio.get_running_loop()
    number, end = 0, loop.time() + 0.5
    while loop.time() < end:
        number += 1
        outbox.put(connection, b"update", number)
        await asyncio.sleep(0.0005)
    await asyncio.sleep(0.1)
    await outbox.close()
    assert sum(sent) == number
    assert 1 < len(sent) < 150, "89 by the formula; one each millisecond would be some 400"
