"""The counts of saved messages on a canvas with many connections. Proves R-SAVE-13."""

import asyncio
from typing import cast

import pytest
from starlette.websockets import WebSocket

from svgx_common.contract.close_codes import Close
from svgx_common.contract.policy import CanvasRole, Role
from svgx_common.messaging.caller import Caller
from svgx_gateway.websocket import saved_counts
from svgx_gateway.websocket.connection import Connection
from svgx_gateway.websocket.saved_counts import SavedCounts
from svgx_gateway.websocket.transport.frames import encode_frame
from svgx_yjs import protocol

MESSAGE = b"broadcast"
FRAME = encode_frame(MESSAGE)


class Transport:
    """A transport that keeps the written bytes. While `is_full`, `write_frame` refuses frames.

    `send_bytes` keeps its message even then, because a real transport waits until it has room.
    """

    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self.is_full = False
        self.written = asyncio.Event()

    def write_frame(self, frame: bytes) -> bool:
        if not self.is_full:
            self.writes.append(frame)
            self.written.set()
        return not self.is_full

    async def send_bytes(self, message: bytes) -> None:
        self.writes.append(encode_frame(message))


def connect(transport: Transport) -> Connection:
    connection = Connection(
        cast(WebSocket, transport),
        Caller("u", "ann", Role.EDITOR, "s"),
        CanvasRole.EDITOR,
        wants_saved=True,
        write_frame=transport.write_frame,
    )
    connection.follow(None, b"")
    return connection


def two_clients() -> tuple[Transport, Connection, Connection, SavedCounts]:
    """Return the transport of the first client, both connections, and the counts of their canvas."""
    transport = Transport()
    connections = connect(transport), connect(Transport())
    return transport, *connections, SavedCounts(connections)


def saved(count: int) -> bytes:
    return encode_frame(protocol.encode_saved(count))


@pytest.fixture(autouse=True)
def two_connections_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saved_counts, "MANY_CONNECTIONS", 2)


async def test_count_with_many_connections_is_written_with_the_next_broadcast() -> None:
    """The newest count and the broadcast are sent in one write. A client without a count gets the broadcast only."""
    transports = Transport(), Transport()
    writer, reader = connections = [connect(transport) for transport in transports]
    counts = SavedCounts(connections)
    counts.send(writer, 3, "epoch")
    counts.send(writer, 5, "epoch")
    assert not transports[0].writes
    for connection in (writer, reader, writer):
        assert connection.broadcast(MESSAGE, FRAME, b"")
    counts.stop()
    assert transports[0].writes == [saved(5) + FRAME, FRAME]
    assert transports[1].writes == [FRAME]
    assert writer.written_bytes == len(saved(5)) + 2 * len(FRAME)


async def test_count_with_few_connections_is_written_at_once() -> None:
    transport = Transport()
    connection = connect(transport)
    SavedCounts([connection]).send(connection, 3, "epoch")
    assert transport.writes == [saved(3)]


@pytest.mark.parametrize("has_broadcast", [False, True])
async def test_count_is_sent_alone_if_no_broadcast_follows(
    *, has_broadcast: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An earlier broadcast does not delay the count for ever."""
    monkeypatch.setattr(saved_counts, "WAIT_SECONDS", 0.01)
    transport, connection, other, counts = two_clients()
    counts.send(other, 1, "epoch")
    if has_broadcast:
        counts.note_broadcast()
    counts.send(connection, 3, "epoch")
    async with asyncio.timeout(10):
        await transport.written.wait()
    assert transport.writes == [saved(3)]


async def test_count_waits_for_a_second_broadcast_after_a_first_one() -> None:
    """If a broadcast was sent during the wait, newer counts wait for another `WAIT_SECONDS`."""
    transport, connection, other, counts = two_clients()
    counts.send(other, 1, "epoch")
    counts.note_broadcast()
    counts.send(connection, 3, "epoch")
    counts._end_wait()
    assert not transport.writes
    counts._end_wait()
    assert transport.writes == [saved(3)]


async def test_count_of_a_client_that_is_behind_waits_in_its_queue() -> None:
    """The queued count replaces an older count that waited for a broadcast."""
    transport, connection, _, counts = two_clients()
    counts.send(connection, 3, "epoch")
    transport.is_full = True
    assert connection.broadcast(MESSAGE, FRAME, b"")
    counts.send(connection, 4, "epoch")
    counts.stop()
    writing = asyncio.create_task(connection.write())
    await connection.wait_until_sent()
    writing.cancel()
    transport.is_full = False
    connection.send_waiting_count()
    assert transport.writes == [FRAME, saved(4)]


async def test_waiting_count_is_sent_before_the_connection_closes() -> None:
    transport, connection, _, counts = two_clients()
    counts.send(connection, 3, "epoch")
    connection.close(Close.RESTARTING, "restarting")
    counts.stop()
    assert transport.writes == [saved(3)]
