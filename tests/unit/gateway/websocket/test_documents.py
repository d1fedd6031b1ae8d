"""The document messages of clients: a large one becomes several edits, and counts as saved after the last one."""

import asyncio
from typing import Any, cast

import pytest
from starlette.websockets import WebSocket

from svgx_common.contract.policy import CanvasRole, Role
from svgx_common.messaging.caller import Caller
from svgx_gateway.websocket.connection import Connection
from svgx_gateway.websocket.documents import LARGE_BYTES, PIECE_BYTES, DocumentMessages
from svgx_gateway.websocket.outbox import Outbox
from svgx_yjs.lib0 import Malformed
from tests.unit.yjs.updates import STRING, in_root, text, update

LARGE = update((7, 0, [in_root(STRING, text("x" * 60_000)) for _ in range(10)]))


class RecordingOutbox:
    """An outbox that records the edits. `commit` commits the oldest uncommitted edit."""

    def __init__(self) -> None:
        self.edits: list[tuple[int, int]] = []
        """Size and number of each edit."""
        self._added = asyncio.Semaphore(0)
        self._events: list[asyncio.Event] = []

    async def wait_for_capacity(self) -> None:
        """Return at once."""

    def add(self, _: Connection, content: bytes, number: int) -> asyncio.Event:
        """Record an edit."""
        self.edits.append((len(content), number))
        self._events.append(asyncio.Event())
        self._added.release()
        return self._events[-1]

    async def commit(self) -> None:
        """Wait for an uncommitted edit, and commit it."""
        await self._added.acquire()
        self._events.pop(0).set()


def connect(role: CanvasRole = CanvasRole.EDITOR) -> Connection:
    """Return a connection."""
    caller = Caller("u", "ann", Role.EDITOR, "s")
    return Connection(cast(WebSocket, None), caller, role, wants_saved=True)


async def receive(connection: Connection, outbox: RecordingOutbox, content: bytes) -> None:
    """Receive one message."""
    await DocumentMessages().receive(
        connection, cast(Outbox, cast(Any, outbox)), content, is_step_2=True
    )


async def test_large_message_is_added_in_pieces_and_numbered_last() -> None:
    """Each piece waits for the commit of the one before; only the last has the message's number. Proves R-SYNC-16."""
    connection, outbox = connect(), RecordingOutbox()
    await receive(connection, outbox, b"small")
    assert outbox.edits == [(5, 1)]
    await outbox.commit()
    receiving = asyncio.create_task(receive(connection, outbox, LARGE))
    for _ in range(9):
        await outbox.commit()
    await receiving
    assert [number for _, number in outbox.edits] == [1, *[1] * 9, 2]
    assert all(size <= PIECE_BYTES for size, _ in outbox.edits)
    assert len(LARGE) > LARGE_BYTES


async def test_viewer_sends_no_piece() -> None:
    """A viewer's large message is discarded: it counts as a message, but not as saved. Proves R-SAVE-10."""
    connection, outbox = connect(CanvasRole.VIEWER), RecordingOutbox()
    await receive(connection, outbox, LARGE)
    assert outbox.edits == []
    assert connection.saved_counter.arrived == 1


async def test_editor_who_becomes_a_viewer_sends_no_further_piece() -> None:
    """A message that was added in part does not count as saved. Proves R-ACCESS-6 and R-SAVE-10."""
    connection, outbox = connect(), RecordingOutbox()
    receiving = asyncio.create_task(receive(connection, outbox, LARGE))
    await outbox.commit()
    connection.doubt_role()
    connection.settle_role(CanvasRole.VIEWER, 1)
    await receiving
    assert len(outbox.edits) <= 2
    assert connection.saved_counter.commit(1) is None


async def test_malformed_large_message_adds_nothing() -> None:
    """A large message is checked before its first piece is added. Proves R-SYNC-8."""
    connection, outbox = connect(), RecordingOutbox()
    with pytest.raises(Malformed):
        await receive(connection, outbox, LARGE[:-1])
    assert outbox.edits == []
