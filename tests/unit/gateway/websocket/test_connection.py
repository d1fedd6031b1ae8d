"""The connection of one client: the order and the limits of its queue, and its role."""

import asyncio
import itertools
from typing import cast

import pytest
from starlette.websockets import WebSocket

from svgx_common.contract.close_codes import Close
from svgx_common.contract.policy import CanvasRole, Role
from svgx_common.messaging.caller import Caller
from svgx_gateway.websocket import connection as module
from svgx_gateway.websocket.connection import (
    Connection,
    Ended,
    KnownRole,
    Lagging,
    Live,
    RoleInDoubt,
    RoleState,
)
from svgx_gateway.websocket.trackers.broadcast_tracker import Position
from svgx_gateway.websocket.transport.frames import encode_frame
from svgx_gateway.websocket.transport.inflow import Inflow, InflowLimits, LargeMessages
from svgx_yjs import awareness, protocol


class SlowSocket:
    """A socket that accepts messages only as `accept` allows."""

    def __init__(self) -> None:
        self.messages: list[bytes] = []
        self._allowed = asyncio.Semaphore(0)

    def accept(self, count: int) -> None:
        """Accept this number of further messages."""
        for _ in range(count):
            self._allowed.release()

    async def send_bytes(self, message: bytes) -> None:
        await self._allowed.acquire()
        self.messages.append(message)


def connect(
    socket: SlowSocket,
    role: CanvasRole = CanvasRole.EDITOR,
    *,
    wants_saved: bool = True,
    has_synced: bool = True,
) -> Connection:
    caller = Caller("u", "ann", Role.EDITOR, "s")
    connection = Connection(cast(WebSocket, socket), caller, role, wants_saved=wants_saved)
    if has_synced:
        connection.follow(None, b"")
    return connection


def broadcast(
    connection: Connection, message: bytes, vector: bytes, position: Position | None = None
) -> bool:
    """Broadcast a message to one client."""
    return connection.broadcast(message, encode_frame(message), vector, position)


async def received(connection: Connection, socket: SlowSocket) -> list[bytes]:
    """Return the messages of a client that has read all waiting messages."""
    writing = asyncio.create_task(connection.write())
    socket.accept(100)
    await connection.wait_until_sent()
    writing.cancel()
    return socket.messages


def role_of(connection: Connection) -> RoleState:
    """Return the role, in a form that mypy does not narrow across an await."""
    return connection.role


async def test_slow_client_gets_no_broadcasts_until_its_catch_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Beyond `SLOW_BYTES` in the queue, broadcasts are dropped. The catch-up starts from the kept state vector.

    Proves R-SYNC-10.
    """
    monkeypatch.setattr(module, "SLOW_BYTES", 10)
    socket = SlowSocket()
    connection = connect(socket)
    assert broadcast(connection, b"12345678", b"v1")
    assert not broadcast(connection, b"1234", b"v2")
    assert isinstance(connection.flow, Lagging)
    assert broadcast(connection, b"5678", b"v3"), "a lagging client needs no second catch-up"
    assert connection.flow.vector == b"v2"
    writing = asyncio.create_task(connection.write())
    socket.accept(10)
    await connection.wait_until_sent()
    writing.cancel()
    assert socket.messages == [b"12345678"]


async def test_joining_client_gets_the_broadcasts_that_its_sync_lacks() -> None:
    """A broadcast waits for the reply to the first sync, and is dropped if the reply includes it. Proves R-SYNC-17."""
    socket = SlowSocket()
    connection = connect(socket, has_synced=False)
    for number in (3, 4, 5):
        assert broadcast(connection, b"edit %d" % number, b"", Position("a", number))
    assert broadcast(connection, b"edit of b", b"", Position("b", 1))
    assert broadcast(connection, b"presence", b"")
    connection.send(b"reply")
    assert connection.follow(Position("a", 4), b"v")
    assert broadcast(connection, b"edit 6", b"", Position("a", 6))
    assert await received(connection, socket) == [
        b"presence",
        b"reply",
        b"edit 5",
        b"edit of b",
        b"edit 6",
    ]


async def test_joining_client_with_too_many_waiting_broadcasts_gets_a_catch_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Waiting broadcasts are bounded. The catch-up starts from the content of the sync. Proves R-SYNC-17, R-SYNC-10."""
    monkeypatch.setattr(module, "SLOW_BYTES", 10)
    socket = SlowSocket()
    connection = connect(socket, has_synced=False)
    for number in range(1, 5):
        assert broadcast(connection, b"12345", b"", Position("a", number))
    connection.send(b"reply")
    assert not connection.follow(Position("a", 1), b"v")
    assert connection.begin_catch_up() == b"v"
    assert await received(connection, socket) == [b"reply"]


@pytest.mark.parametrize("waits_before", [False, True], ids=["after the join", "before the join"])
async def test_message_is_written_at_once_unless_an_earlier_one_waits(
    *, waits_before: bool
) -> None:
    """A client that reads fast enough needs no queue. No message overtakes a message that waits in the queue."""
    socket, written = SlowSocket(), list[bytes]()
    keeps_up = True

    def write_frame(frame: bytes) -> bool:
        if keeps_up:
            written.append(frame)
        return keeps_up

    caller = Caller("u", "ann", Role.EDITOR, "s")
    connection = Connection(
        cast(WebSocket, socket),
        caller,
        CanvasRole.EDITOR,
        wants_saved=False,
        write_frame=write_frame,
    )
    if not waits_before:
        connection.follow(None, b"")
    writing = asyncio.create_task(connection.write())
    connection.send(b"a")
    keeps_up = False
    connection.send(b"b")
    keeps_up = True
    if waits_before:
        connection.follow(None, b"")
    assert broadcast(connection, b"c", b"v")
    assert written == [encode_frame(b"a")]
    # The socket takes "b" and "c" from the queue. Then the queue is empty, so "d" is written at once.
    socket.accept(2)
    await connection.wait_until_sent()
    connection.send(b"d")
    writing.cancel()
    assert (socket.messages, written) == ([b"b", b"c"], [encode_frame(b"a"), encode_frame(b"d")])


async def test_ended_connection_wakes_its_catch_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """The end of a connection empties its queue and wakes its catch-up. Proves R-SYNC-10."""
    monkeypatch.setattr(module, "SLOW_BYTES", 1)
    connection = connect(SlowSocket())
    broadcast(connection, b"frame", b"")
    assert not broadcast(connection, b"frame", b"")
    catching_up = asyncio.create_task(connection.wait_until_sent())
    writing = asyncio.create_task(connection.write())
    await asyncio.sleep(0)
    writing.cancel()
    async with asyncio.timeout(5):
        await catching_up
    assert isinstance(connection.flow, Ended)
    connection.send(b"more")
    async with asyncio.timeout(5):
        await connection.wait_until_sent()


async def test_catch_up_begins_only_for_a_lagging_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """A catch-up returns a lagging client to live delivery. Proves R-SYNC-10."""
    monkeypatch.setattr(module, "SLOW_BYTES", 1)
    connection = connect(SlowSocket())
    assert connection.begin_catch_up() is None
    broadcast(connection, b"frame", b"v1")
    broadcast(connection, b"frame", b"v2")
    assert connection.begin_catch_up() == b"v2"
    assert connection.flow == Live()


async def test_catch_up_does_not_begin_after_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """An ended connection gets no catch-up, even if it lagged. Proves R-SYNC-10."""
    monkeypatch.setattr(module, "SLOW_BYTES", 1)
    connection = connect(SlowSocket())
    broadcast(connection, b"frame", b"v1")
    broadcast(connection, b"frame", b"v2")
    writing = asyncio.create_task(connection.write())
    await asyncio.sleep(0)
    writing.cancel()
    await asyncio.gather(writing, return_exceptions=True)
    assert connection.begin_catch_up() is None
    assert connection.flow == Ended()


async def test_queue_beyond_the_hard_limit_closes_the_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A message closes the connection if a queue that is not empty would exceed `HARD_BYTES`. Proves R-SYNC-10."""
    monkeypatch.setattr(module, "HARD_BYTES", 10)
    connection = connect(SlowSocket())
    connection.send(b"a single frame may be large")
    connection.send(b"more")
    assert connection.closing.result().code is Close.OVERLOADED


async def test_lagging_beyond_the_time_limit_closes_the_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A client that lags for more than `LAGGING_SECONDS` is closed. Proves R-SYNC-10."""
    monkeypatch.setattr(module, "SLOW_BYTES", 1)
    monkeypatch.setattr(module, "LAGGING_SECONDS", 0.0)
    connection = connect(SlowSocket())
    for _ in range(3):
        broadcast(connection, b"frame", b"")
    assert connection.closing.result().code is Close.OVERLOADED


async def test_saved_count_is_sent_only_on_request() -> None:
    """Only a connection with `wants_saved` gets the number of saved messages. Proves R-SAVE-4."""
    socket = SlowSocket()
    subscribed, other = connect(socket), connect(socket, wants_saved=False)
    for connection in (subscribed, other):
        connection.send_saved(7, "epoch")
    writing = [asyncio.create_task(each.write()) for each in (subscribed, other)]
    socket.accept(2)
    await subscribed.wait_until_sent()
    await other.wait_until_sent()
    for task in writing:
        task.cancel()
    assert socket.messages == [protocol.encode_saved(7)]


async def test_quiet_connection_gets_a_heartbeat() -> None:
    """A heartbeat is sent if no message was sent since the last call of `send_heartbeat`. Proves R-AWARE-6."""
    socket = SlowSocket()
    connection = connect(socket)
    connection.send(b"frame")
    connection.send_heartbeat()
    connection.send_heartbeat()
    connection.send(b"more")
    connection.send_heartbeat()
    writing = asyncio.create_task(connection.write())
    socket.accept(4)
    await connection.wait_until_sent()
    writing.cancel()
    assert socket.messages == [b"frame", module.HEARTBEAT, b"more"]
    assert awareness.decode(module.HEARTBEAT[2:]) == []


def test_viewer_may_not_edit() -> None:
    """Owners and editors may edit, viewers may not. Proves R-ACCESS-5."""

    async def roles() -> dict[CanvasRole, bool]:
        return {role: connect(SlowSocket(), role).may_edit for role in CanvasRole}

    assert asyncio.run(roles()) == {
        CanvasRole.OWNER: True,
        CanvasRole.EDITOR: True,
        CanvasRole.VIEWER: False,
    }


async def test_edit_waits_until_the_newest_change_of_the_role_is_settled() -> None:
    """An edit keeps waiting when a second role change is announced right after the lookup for the first one.

    Proves R-ACCESS-6.
    """
    connection = connect(SlowSocket())
    connection.doubt_role()
    waiting = asyncio.create_task(connection.wait_for_known_role())
    await asyncio.sleep(0)
    assert not connection.settle_role(CanvasRole.EDITOR, doubt_count=1)
    connection.doubt_role()
    for _ in range(3):
        await asyncio.sleep(0)
    assert not waiting.done()
    assert not connection.settle_role(CanvasRole.EDITOR, doubt_count=1), "the answer is too old"
    assert role_of(connection) == RoleInDoubt(CanvasRole.EDITOR, doubt_count=2)
    connection.settle_role(CanvasRole.VIEWER, doubt_count=2)
    async with asyncio.timeout(5):
        await waiting
    assert role_of(connection) == KnownRole(CanvasRole.VIEWER, doubt_count=2)
    assert connection.settle_role(CanvasRole.EDITOR, doubt_count=2), "the client became an editor"


async def test_inflow_follows_the_role() -> None:
    """`is_viewer` of the inflow is true while the client is a viewer, because viewers share less memory.

    Proves R-SOCKET-3.
    """
    inflow = Inflow(InflowLimits(), LargeMessages(1_000_000))
    caller = Caller("u", "ann", Role.EDITOR, "s")
    connection = Connection(
        cast(WebSocket, SlowSocket()), caller, CanvasRole.VIEWER, wants_saved=False, inflow=inflow
    )
    assert inflow.is_viewer
    connection.doubt_role()
    connection.settle_role(CanvasRole.EDITOR, 1)
    assert not inflow.is_viewer


async def test_sent_bytes_grow_only_when_the_transport_sends() -> None:
    """Messages that wait in the queue or in the transport do not count as sent. Proves R-BOUND-7."""
    socket, waiting, writes = SlowSocket(), 0, True
    connection = Connection(
        cast(WebSocket, socket),
        Caller("u", "ann", Role.EDITOR, "s"),
        CanvasRole.EDITOR,
        wants_saved=True,
        write_frame=lambda _: writes,
        transport_bytes=lambda: waiting,
    )
    waiting = len(encode_frame(b"1234"))
    connection.send(b"1234")
    assert connection.sent_bytes == 0
    waiting, writes = 0, False
    assert connection.sent_bytes == len(encode_frame(b"1234"))
    connection.send(b"12345")
    assert connection.sent_bytes == len(encode_frame(b"1234"))
    writing = asyncio.create_task(connection.write())
    socket.accept(1)
    await connection.wait_until_sent()
    writing.cancel()
    assert connection.sent_bytes == len(encode_frame(b"1234")) + 5


async def test_long_queue_is_written_in_turns_with_other_tasks() -> None:
    """Proves R-SOCKET-9: thousands of queued messages of one client do not block other connections."""
    socket = SlowSocket()
    connection = connect(socket)
    count = 4 * module.TURN_MESSAGES
    for _ in range(count):
        connection.send(b"x")
    socket.accept(count)
    writing = asyncio.create_task(connection.write())
    turns = [0]
    while len(socket.messages) < count:
        await asyncio.sleep(0)
        turns.append(len(socket.messages))
    writing.cancel()
    largest = max(after - before for before, after in itertools.pairwise(turns))
    assert largest == module.TURN_MESSAGES
