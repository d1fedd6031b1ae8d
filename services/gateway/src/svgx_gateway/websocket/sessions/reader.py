"""The reader of one connection: it handles the client's messages in their order."""

import asyncio
import contextvars
import functools
from collections.abc import Callable, Coroutine, Generator
from typing import Any

import structlog
from starlette.types import Message
from starlette.websockets import WebSocket

from svgx_common.contract.close_codes import Close
from svgx_common.contract.errors import SvgxError
from svgx_gateway.websocket.connection import Closing
from svgx_gateway.websocket.sessions.session import Session, closing_of, receive_first
from svgx_gateway.websocket.transport.protocol import HAND_OVER, TakeMessage
from svgx_yjs import protocol
from svgx_yjs.lib0 import Malformed

log = structlog.get_logger(__name__)

_CALLBACK_TYPES = (protocol.DocumentMessage, protocol.AwarenessMessage)
"""The types of the messages that `Reader.take` handles in the socket's callback."""


class Reader:
    """The reader of one connection. The client has `first_message_seconds` to send its first message.

    After the first message, the WebSocket protocol gives each message to `take`. `take` handles edits and presence at
    once, in the socket's callback. A message that has to wait for something is finished in a task. Messages that `take`
    does not handle come through ASGI, which does not read the socket while a message is handled.
    """

    def __init__(
        self, websocket: WebSocket, session: Session, *, first_message_seconds: float
    ) -> None:
        self._websocket = websocket
        self._session = session
        self._first_message_seconds = first_message_seconds
        self._hand_over: Callable[[TakeMessage | None], None] = websocket.scope.get(
            HAND_OVER, lambda _: None
        )
        self._context = contextvars.copy_context()
        self._is_busy = True
        """True while a message from ASGI is handled."""
        self._unfinished: asyncio.Task[None] | None = None
        """The task that finishes a message which `take` has begun."""

    async def read(self) -> Closing:
        """Read until the client closes the connection or sends an invalid message. Return the reason of the close."""
        event = await receive_first(self._websocket, self._first_message_seconds)
        if isinstance(event, Closing):
            return event
        try:
            while (closing := await self._handle_event(event)) is None:
                self._is_busy = False
                self._hand_over(self.take)
                event = await self._websocket.receive()
                self._is_busy = True
            return closing
        finally:
            self._hand_over(None)
            if self._unfinished is not None:
                self._unfinished.cancel()
                await asyncio.gather(self._unfinished, return_exceptions=True)

    def take(self, frame: bytes) -> bool:
        """Handle an edit or presence at once. Return False when it has to wait for an earlier message.

        Return False also for invalid messages and messages of other kinds, which `read` handles.
        """
        if self._is_busy or self._unfinished is not None:
            return False
        try:
            message = protocol.decode(frame)
        except Malformed:
            return False
        if not isinstance(message, _CALLBACK_TYPES):
            return False
        if not self._session.connection.closing.done():
            self._handle(message)
        return True

    def _handle(self, message: protocol.Message) -> None:
        """Handle a message at once if no step has to wait. Otherwise, finish the message in a task."""
        try:
            is_handled = self._context.run(self._session.handle_at_once, message)
        except Exception as error:
            log.exception("handling a message failed")
            self._close(error)
        else:
            if not is_handled:
                self._begin(self._session.handle(message))

    def _begin(self, handling: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine until it waits for something. A task then finishes the coroutine."""
        try:
            awaited = self._context.run(handling.send, None)
        except StopIteration:
            return
        except (Malformed, SvgxError) as error:
            self._close(error)
        except Exception as error:
            log.exception("handling a message failed")
            self._close(error)
        else:
            rest = self._finish(_StartedCoroutine(handling, awaited))
            self._unfinished = asyncio.get_running_loop().create_task(rest, context=self._context)

    async def _finish(self, handling: "_StartedCoroutine") -> None:
        try:
            await handling
        except (Malformed, SvgxError) as error:
            self._close(error)
        except Exception as error:
            log.exception("handling a message failed")
            self._close(error)
        finally:
            self._unfinished = None

    def _close(self, error: Exception) -> None:
        """Close the connection because a message caused this error."""
        closing = closing_of(error)
        self._session.connection.close(closing.code, closing.reason)

    async def _handle_event(self, event: Message) -> Closing | None:
        """Handle one ASGI event. Return the reason of the close, or None to read on."""
        if self._unfinished is not None:
            await asyncio.wait({self._unfinished})
        if event["type"] == "websocket.disconnect":
            return Closing(Close.NORMAL, "")
        frame = event.get("bytes")
        if frame is None:
            return Closing(Close.BAD_MESSAGE, "only binary frames are accepted")
        try:
            await self._session.handle(protocol.decode(frame))
        except (Malformed, SvgxError) as error:
            return closing_of(error)
        return None


class _StartedCoroutine:
    """A coroutine that has been started outside a task. `await` continues it.

    `awaited` is the first value that the coroutine has yielded, usually a future.
    """

    def __init__(self, coroutine: Coroutine[Any, Any, None], awaited: Any) -> None:
        self._coroutine = coroutine
        self._awaited = awaited

    def __await__(self) -> Generator[Any, Any, None]:
        """Wait as the coroutine does, until it ends."""
        awaited = self._awaited
        while True:
            resume: Callable[[], Any]
            try:
                value = yield awaited
            except BaseException as error:  # noqa: BLE001  # the coroutine handles it
                resume = functools.partial(self._coroutine.throw, error)
            else:
                resume = functools.partial(self._coroutine.send, value)
            try:
                awaited = resume()
            except StopIteration:
                return
