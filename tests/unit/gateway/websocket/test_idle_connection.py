"""The parts of a connection that use little memory while the connection is idle: the writer and the event queue.

The writer of an idle connection has no task.
"""

import asyncio
from typing import Any, cast

import pytest
from starlette.websockets import WebSocket
from uvicorn._types import ASGIReceiveEvent

from svgx_common.contract.close_codes import Close
from svgx_common.contract.policy import CanvasRole, Role
from svgx_common.messaging.caller import Caller
from svgx_gateway.websocket.connection import Closing, Connection, Ended
from svgx_gateway.websocket.sessions.session import run
from svgx_gateway.websocket.transport.event_queue import EventQueue


class Socket:
    """A socket that takes frames directly while `keeps_up` is true. Other messages go through ASGI."""

    def __init__(self) -> None:
        self.keeps_up = True
        self.sent: list[bytes] = []
        self.arrived = asyncio.Event()

    def write_frame(self, frame: bytes) -> bool:
        """Take an encoded frame of a short message."""
        if self.keeps_up:
            self.sent.append(frame[2:])
        return self.keeps_up

    async def send_bytes(self, message: bytes) -> None:
        """Take a message."""
        self.sent.append(message)
        self.arrived.set()


def connect(socket: Socket) -> Connection:
    """Return the connection of an editor."""
    return Connection(
        cast(WebSocket, cast(Any, socket)),
        Caller("u", "ann", Role.EDITOR, "s"),
        CanvasRole.EDITOR,
        wants_saved=False,
        write_frame=socket.write_frame,
    )


def count_tasks() -> int:
    """Return the number of tasks of the event loop."""
    return len(asyncio.all_tasks())


async def receive_nothing() -> Closing:
    """Wait for messages of a client that sends none."""
    await asyncio.Event().wait()
    raise AssertionError


@pytest.mark.parametrize("queued_before", [False, True])
async def test_writer_task_starts_when_a_message_has_to_wait(*, queued_before: bool) -> None:
    """A client that reads fast enough has no task for writing, and messages keep their order. Proves R-SOCKET-7."""
    socket = Socket()
    connection = connect(socket)
    socket.keeps_up = not queued_before
    connection.send(b"a")
    before = count_tasks()
    running = asyncio.create_task(run(connection, receive_nothing()))
    await asyncio.sleep(0)
    assert count_tasks() == before + 1 + queued_before
    socket.keeps_up = False
    connection.send(b"b")
    await socket.arrived.wait()
    await connection.wait_until_sent()
    socket.keeps_up = True
    connection.send(b"c")
    assert socket.sent == [b"a", b"b", b"c"]
    connection.close(Close.NORMAL, "")
    assert await running == Closing(Close.NORMAL, "")
    assert connection.flow == Ended()
    assert count_tasks() == before


@pytest.mark.parametrize("closed", ["before", "at the end", "after"])
async def test_close_at_the_time_the_client_leaves_causes_no_error(closed: str) -> None:
    """The gateway may close a connection just before, while or after its client leaves. Proves R-SOCKET-7."""
    failures: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, failure: failures.append(failure))
    connection = connect(Socket())

    async def leave() -> Closing:
        if closed == "at the end":
            connection.close(Close.NORMAL, "closed")
        return Closing(Close.NORMAL, "left")

    if closed == "before":
        connection.close(Close.NORMAL, "closed")
    closing = await run(connection, leave())
    connection.close(Close.NORMAL, "closed")
    for _ in range(3):
        await asyncio.sleep(0)
    assert closing.reason in ("left", "closed")
    assert failures == []


async def test_events_keep_their_order_and_wake_the_reader() -> None:
    """An event that arrives before or during the wait is returned once. Proves R-SOCKET-7."""
    queue = EventQueue()
    events: list[ASGIReceiveEvent] = [
        {"type": "websocket.disconnect", "code": code} for code in range(3)
    ]
    abandoned = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    abandoned.cancel()
    await asyncio.gather(abandoned, return_exceptions=True)
    waiting = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    assert queue.empty()
    for event in events:
        queue.put_nowait(event)
    assert [await waiting, await queue.get(), await queue.get()] == events
    assert queue.empty()
