"""One document on the socket of a Hocuspocus client: its messages, in their order, until it ends."""

import asyncio
from collections.abc import Awaitable, Callable

from svgx_common.contract.close_codes import Close
from svgx_common.contract.errors import SvgxError
from svgx_gateway.websocket.connection import Closing
from svgx_gateway.websocket.hocuspocus.connection import HocuspocusConnection
from svgx_gateway.websocket.sessions.session import Session, closing_of, run
from svgx_yjs import protocol
from svgx_yjs.hocuspocus import Authenticate, Content, IgnoredMessage, Leave, MalformedMessage
from svgx_yjs.lib0 import Malformed

MAX_QUEUED = 32
"""Largest number of messages of a document that wait.

Beyond it, the socket is not read, and other documents wait too.
"""


class Document:
    """A document that a client has opened.

    `serve` is called with the document and its token. `serve` authenticates the client, joins the canvas, and returns
    the reason for the document's end.
    """

    def __init__(self, name: str, serve: "Callable[[Document, str], Awaitable[Closing]]") -> None:
        self.name = name
        self.connection: HocuspocusConnection | None = None
        """The connection; None until the client's role on the canvas is known."""
        self.has_joined = False
        """True once the client has joined the canvas."""
        self.has_left = False
        """True once the client has left the document. Messages that were sent before may still wait."""
        self.queued_bytes = 0
        """The size of the messages that wait."""
        self._serve = serve
        self._messages: asyncio.Queue[tuple[Content, int]] = asyncio.Queue(MAX_QUEUED)
        self._has_ended = False

    async def put(self, message: Content, size: int, *, until_handled: bool) -> None:
        """Add a message of `size` bytes, and wait while the queue is full.

        With `until_handled`, wait until all messages of the queue are handled.

        After the end of the document, drop the message and return.
        """
        await self._messages.put((message, size))
        self.queued_bytes += size
        if self._has_ended:
            self._drop_queued()
        elif until_handled:
            await self._messages.join()

    def connect(self, connection: HocuspocusConnection) -> None:
        """Adopt the connection, and tell the client whether it may edit."""
        self.connection = connection
        if self.has_left:
            connection.end()
        connection.send_scope()

    def leave(self) -> None:
        """Send the client nothing more, because it may open a document with the same name at once.

        The client would count a status of an earlier edit as a status of a later one. The edits that wait are still
        handled.
        """
        self.has_left = True
        if self.connection is not None:
            self.connection.end()

    async def run(self, token: str) -> Closing:
        """Serve the document until it ends, and return the reason."""
        return await self._serve(self, token)

    async def run_session(self, session: Session, connection: HocuspocusConnection) -> Closing:
        """Handle the client's messages, and send the messages for the client, until one side ends the document.

        Return the reason of the end.
        """
        self.has_joined = True
        return await run(connection, self._handle_all(session, connection))

    async def _handle_all(self, session: Session, connection: HocuspocusConnection) -> Closing:
        while True:
            message, size = await self._messages.get()
            try:
                if isinstance(message, Leave):
                    return Closing(Close.NORMAL, "")
                await _handle(message, session, connection)
            except (Malformed, SvgxError) as error:
                return closing_of(error)
            finally:
                self.queued_bytes -= size
                self._messages.task_done()

    def drop_messages(self) -> None:
        """Drop the queued messages and all later ones, so that the socket is read again."""
        self._has_ended = True
        self._drop_queued()

    def _drop_queued(self) -> None:
        while not self._messages.empty():
            _, size = self._messages.get_nowait()
            self.queued_bytes -= size
            self._messages.task_done()


async def _handle(message: Content, session: Session, connection: HocuspocusConnection) -> None:
    match message:
        case Authenticate(token):
            # An empty token stands for the token of the handshake, which cannot be renewed.
            if token:
                await session.handle(protocol.TokenMessage(token))
        case IgnoredMessage() | Leave():
            pass
        case MalformedMessage(reason):
            raise Malformed(reason)
        case protocol.SyncStep1():
            connection.statuses.begin_sync()
            await session.handle(message)
        case protocol.DocumentMessage(update, whole):
            connection.statuses.begin_message(update, is_step_2=whole)
            await session.handle(message)
        case _:
            await session.handle(message)
