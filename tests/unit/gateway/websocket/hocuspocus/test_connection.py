"""The connection of a Hocuspocus client to one canvas, without a network."""

from collections.abc import Awaitable, Callable
from typing import cast

import pytest
from starlette.websockets import WebSocket

from svgx_common.contract.policy import CanvasRole, Role
from svgx_common.messaging.bus import Bus
from svgx_common.messaging.caller import Caller
from svgx_gateway.memory.outgoing import Outgoing
from svgx_gateway.websocket.connection import HEARTBEAT
from svgx_gateway.websocket.hocuspocus.connection import HocuspocusConnection, NamedFrames
from svgx_gateway.websocket.hocuspocus.status_counter import MAX_UNANSWERED
from svgx_gateway.websocket.live_presence import LivePresence
from svgx_gateway.websocket.transport.frames import encode_frame
from svgx_yjs import awareness
from svgx_yjs.awareness import State
from svgx_yjs.hocuspocus import Writer

NAME = "canvas"
STATUS = Writer(NAME).sync_status(applied=True)
STATUS_FRAME = encode_frame(STATUS)


def connect(
    frames: NamedFrames,
    write_frame: Callable[[bytes], bool] = lambda _: True,
    role: CanvasRole = CanvasRole.EDITOR,
) -> HocuspocusConnection:
    """Return a connection that has synced."""
    connection = HocuspocusConnection(
        cast(WebSocket, None),
        Caller("u", "ann", Role.EDITOR, "s"),
        role,
        writer=Writer(NAME),
        frames=frames,
        role_changed=lambda: None,
        wants_quota=False,
        inflow=None,
        write_frame=write_frame,
        handshake=None,
        outgoing=Outgoing(),
        transport_bytes=lambda: 0,
        socket_sent_bytes=lambda: 0,
    )
    connection.follow(None, b"")
    return connection


async def end_welcome(connection: HocuspocusConnection) -> None:
    """End the welcome of a client that has sent no state, as the timer does after the client has left."""
    presence = LivePresence(cast(Bus, None), NAME, {connection})
    presence.welcome(connection, awareness.encode([State(7, 1, "{}")]))
    connection.end()
    presence._end_welcome(connection)
    await presence.stop()


async def ask_for_edits(connection: HocuspocusConnection) -> None:
    """Ask a client that has left for its edits, as a task does that has waited for the holder."""
    connection.end()
    connection.ask_for_edits(b"\0", "epoch")


async def send_heartbeat(connection: HocuspocusConnection) -> None:
    """Send a heartbeat to a client that has left. The first call only notes that no message was sent."""
    connection.end()
    for _ in range(2):
        connection.send_heartbeat()


async def broadcast(connection: HocuspocusConnection) -> None:
    """Send a broadcast to a client that has left."""
    connection.end()
    connection.broadcast(HEARTBEAT, encode_frame(HEARTBEAT), b"")


@pytest.mark.parametrize("send_late", [end_welcome, ask_for_edits, send_heartbeat, broadcast])
async def test_message_to_a_client_that_has_left_stays_in_no_cache(
    send_late: Callable[[HocuspocusConnection], Awaitable[None]],
) -> None:
    """Proves R-SOCKET-8: nothing of a document stays in memory after its last client has left."""
    frames = NamedFrames()
    await send_late(connect(frames))
    assert not frames._newest


def save_edits(connection: HocuspocusConnection, count: int) -> None:
    """Let the client send edits, and save them together."""
    statuses = connection.statuses
    for _ in range(count):
        statuses.begin_message(b"\1edit", is_step_2=False)
        statuses.accept(is_step_2=False)
    connection.send_saved(statuses.arrived, "epoch")


async def test_statuses_of_many_saved_edits_are_sent_in_one_write() -> None:
    """Proves R-HOCUS-11: a client that keeps up gets all statuses that are due together in one write."""
    written: list[bytes] = []

    def write_frame(frame: bytes) -> bool:
        written.append(frame)
        return True

    connection = connect(NamedFrames(), write_frame)
    save_edits(connection, MAX_UNANSWERED)
    assert written == [STATUS_FRAME * MAX_UNANSWERED]
    assert connection.written_bytes == len(written[0])
    assert not connection.has_backlog
    connection.end()
    save_edits(connection, 2)
    assert len(written) == 1, "an ended connection gets nothing"


async def test_statuses_for_a_slow_client_wait_behind_its_messages() -> None:
    """Proves R-HOCUS-11: each status is a message of its own, because one message cannot have two."""
    connection = connect(NamedFrames(), lambda _: False)
    save_edits(connection, 3)
    assert connection.unsent_bytes == 3 * len(STATUS)
