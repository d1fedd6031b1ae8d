"""The reader of one connection, with a session that waits while the test keeps a gate closed."""

import asyncio
from collections.abc import Callable
from typing import cast

import pytest
from starlette.types import Message
from starlette.websockets import WebSocket

from svgx_common.contract.close_codes import Close
from svgx_common.contract.errors import QuotaExceeded
from svgx_gateway.websocket.connection import Closing
from svgx_gateway.websocket.sessions.reader import Reader
from svgx_gateway.websocket.sessions.session import Session
from svgx_gateway.websocket.transport.protocol import HAND_OVER, TakeMessage
from svgx_yjs import protocol
from svgx_yjs.lib0 import Malformed


class Client:
    """A fake that is the WebSocket, the connection and the session of a reader at once. `send` acts for the client."""

    def __init__(self) -> None:
        self.scope = {"type": "websocket", HAND_OVER: self._hand_over}
        self.events: asyncio.Queue[Message] = asyncio.Queue()
        self.take: TakeMessage | None = None
        self.handed_over = asyncio.Event()
        self.handled: list[bytes] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.error: Exception | None = None
        self.awaited: asyncio.Future[None] | None = None
        """A future that the session awaits in place of the gate."""
        self.continues = False
        """True when the session handles a message also after its awaited future failed or was cancelled."""
        self.handles_at_once = False
        """True when the session handles each message without a coroutine."""
        self.connection = self
        self.closing: asyncio.Future[Closing] = asyncio.get_running_loop().create_future()
        self.reader = Reader(
            cast("WebSocket", self), cast("Session", self), first_message_seconds=30
        )

    def _hand_over(self, take: TakeMessage | None) -> None:
        self.take = take
        self.handed_over.set()

    async def receive(self) -> Message:
        """Return the next ASGI event."""
        return await self.events.get()

    def close(self, code: Close, reason: str) -> None:
        """Note the reason of the close."""
        self.closing.set_result(Closing(code, reason))

    def handle_at_once(self, message: protocol.Message) -> bool:
        """Handle a message of the session without a coroutine, if `handles_at_once` is set."""
        if self.handles_at_once:
            if self.error is not None:
                raise self.error
            assert isinstance(message, protocol.DocumentMessage)
            self.handled.append(message.update)
        return self.handles_at_once

    async def handle(self, message: protocol.Message) -> None:
        """Handle a message of the session, once the gate is open."""
        if not self.gate.is_set():
            await asyncio.sleep(0)
        try:
            await (self.gate.wait() if self.awaited is None else self.awaited)
        except (asyncio.CancelledError, KeyError):
            if not self.continues:
                raise
        if self.error is not None:
            raise self.error
        assert isinstance(message, protocol.DocumentMessage)
        self.handled.append(message.update)

    def send(self, content: bytes) -> None:
        """Deliver an update as the transport does: to `take` if it accepts the frame, else as an ASGI event."""
        frame = protocol.encode_update(content)
        if self.take is None or not self.events.empty() or not self.take(frame):
            self.events.put_nowait({"type": "websocket.receive", "bytes": frame})

    def leave(self) -> None:
        """End the connection."""
        self.events.put_nowait({"type": "websocket.disconnect"})


async def start_reader() -> tuple[Client, "asyncio.Task[Closing]"]:
    """Start a reader, and handle its first message. Return the client and the task of the reader."""
    client = Client()
    reading = asyncio.create_task(client.reader.read())
    client.send(b"first")
    await client.handed_over.wait()
    assert client.handled == [b"first"]
    return client, reading


@pytest.mark.parametrize("at_once", [False, True])
async def test_edit_is_handled_in_the_callback_of_the_socket(at_once: bool) -> None:
    """A message that waits for nothing is handled before the callback returns, without a task. Proves R-SOCKET-6."""
    client, reading = await start_reader()
    client.handles_at_once = at_once
    client.send(b"a")
    assert client.handled == [b"first", b"a"]
    client.leave()
    assert (await reading).code == Close.NORMAL
    assert client.take is None


async def test_messages_after_a_waiting_message_keep_their_order() -> None:
    """A message that waits is finished first, in a task. Proves R-SOCKET-6."""
    client, reading = await start_reader()
    client.gate.clear()
    for content in (b"a", b"b", b"c"):
        client.send(content)
    assert client.handled == [b"first"]
    client.gate.set()
    client.leave()
    await reading
    assert client.handled == [b"first", b"a", b"b", b"c"]


@pytest.mark.parametrize("waits", [False, True])
@pytest.mark.parametrize(
    ("error", "code"),
    [
        (lambda: Malformed("x"), Close.BAD_MESSAGE),
        (lambda: QuotaExceeded("x", limit=1, retry_after=1), Close.OVERLOADED),
        (lambda: KeyError("x"), Close.INTERNAL),
    ],
)
async def test_error_of_a_message_closes_the_connection(
    error: Callable[[], Exception], code: Close, *, waits: bool
) -> None:
    """An error closes the connection, whether the message had to wait or not. Proves R-SOCKET-6."""
    client, reading = await start_reader()
    client.error = error()
    if waits:
        client.gate.clear()
    client.send(b"a")
    client.gate.set()
    assert (await client.closing).code == code
    client.send(b"b")
    assert client.handled == [b"first"]
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)


@pytest.mark.parametrize("is_cancelled", [False, True])
@pytest.mark.parametrize("continues", [False, True])
async def test_waiting_message_gets_the_error_of_its_future(
    is_cancelled: bool, continues: bool
) -> None:
    """The session gets the failure or cancellation of an awaited future, and may catch it. Proves R-SOCKET-6.

    Only an uncaught failure closes the connection.
    """
    client, reading = await start_reader()
    client.awaited = asyncio.get_running_loop().create_future()
    client.continues = continues
    client.send(b"a")
    if is_cancelled:
        client.awaited.cancel()
    else:
        client.awaited.set_exception(KeyError("x"))
    client.leave()
    assert (await reading).code == Close.NORMAL
    assert client.handled == ([b"first", b"a"] if continues else [b"first"])
    assert client.closing.done() is not (continues or is_cancelled)


async def test_error_of_an_edit_that_is_handled_at_once_closes_the_connection() -> None:
    """An error without a coroutine has the same effect as one within a coroutine. Proves R-SOCKET-6."""
    client, reading = await start_reader()
    client.handles_at_once = True
    client.error = KeyError("x")
    client.send(b"a")
    assert (await client.closing).code == Close.INTERNAL
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)


async def test_end_of_the_connection_cancels_a_waiting_message() -> None:
    """Nothing of the connection runs after its end. Proves R-SOCKET-6."""
    before = asyncio.all_tasks()
    client, reading = await start_reader()
    client.gate.clear()
    client.send(b"a")
    await asyncio.sleep(0)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    client.gate.set()
    assert asyncio.all_tasks() <= before
    assert client.handled == [b"first"]
