"""The socket of a Hocuspocus client: it reads the frames, and gives each frame to the document that the frame names."""

import asyncio
import contextlib
import functools
from collections.abc import Callable

import structlog
from opentelemetry.trace import SpanContext
from starlette.types import Message
from starlette.websockets import WebSocket
from uvicorn.protocols.utils import ClientDisconnected

from svgx_common.contract.close_codes import Close
from svgx_common.contract.errors import Overloaded, SvgxError, TooManyRequests
from svgx_common.contract.policy import CanvasRole
from svgx_gateway.identity.identity import Identity
from svgx_gateway.observability.notes import MAX_ID_LENGTH
from svgx_gateway.observability.socket_log import note_first_user
from svgx_gateway.ratelimit.key import RateLimitKey
from svgx_gateway.websocket.admission import REFUSED, Admission
from svgx_gateway.websocket.connection import Closing
from svgx_gateway.websocket.endpoint import CountHandshake
from svgx_gateway.websocket.hocuspocus.connection import HocuspocusConnection, NamedFrames
from svgx_gateway.websocket.hocuspocus.document import Document
from svgx_gateway.websocket.sessions.session import Sessions, closing_of
from svgx_gateway.websocket.transport.protocol import INFLOW, UNSENT_BYTES, WRITE_FRAME
from svgx_yjs import hocuspocus
from svgx_yjs.hocuspocus import Authenticate, Content, Leave, Writer
from svgx_yjs.lib0 import Malformed

log = structlog.get_logger(__name__)

LARGE_BYTES = 256 * 1024
"""Size of a message, in bytes, beyond which the socket is not read until the document has handled its messages.

By then, the memory of the messages is free. The messages for documents that the client has not joined yet count
together.
"""


class HocuspocusSocket:
    """The socket of one client. `on_document_admitted` is called when a document counts as a connection of its account.

    A document ends without the socket when its client leaves or a final condition arises (docs/spec.md, R-SOCKET-1).
    After a final condition, the client gets a refusal for this document. A temporary condition ends the whole
    socket, because the client then connects again and opens all its documents.
    """

    def __init__(
        self,
        websocket: WebSocket,
        sessions: Sessions,
        admission: Admission,
        frames: NamedFrames,
        *,
        count_handshake: CountHandshake,
        on_document_admitted: Callable[[], None],
    ) -> None:
        self._websocket = websocket
        self._sessions = sessions
        self._admission = admission
        self._frames = frames
        self._count_handshake = count_handshake
        self._on_document_admitted = on_document_admitted
        self._inflow = websocket.scope.get(INFLOW)
        self._documents: dict[str, Document] = {}
        self._served: set[Document] = set()
        """The documents that have not ended, also those that the client has left."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing: asyncio.Future[Closing] = asyncio.get_running_loop().create_future()
        """A future for the close code and reason of the socket. Only the first reason becomes its result."""
        self._unsent: Callable[[], int] = websocket.scope.get(UNSENT_BYTES, lambda: 0)
        """Returns the bytes that the transport has taken and not sent."""
        self._connections: set[HocuspocusConnection] = set()
        self._written_before = 0
        """Bytes that the transport has taken from the connections of closed documents."""
        self._admitted = 0
        """Number of open documents that count as connections of their accounts."""
        self._idle_timer: asyncio.TimerHandle | None = None
        self._start_idle_timer()

    async def run(self) -> Closing:
        """Read until the socket ends, then leave all its documents. Return the reason."""
        reading = asyncio.create_task(self._read())
        try:
            await asyncio.wait({reading, self._closing}, return_when=asyncio.FIRST_COMPLETED)
            if not self._closing.done():
                self._closing.set_result(await reading)
            return self._closing.result()
        finally:
            tasks = [reading, *self._tasks]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            # Stop the timer, because the end of the last document has started it again.
            self._stop_idle_timer()

    async def _read(self) -> Closing:
        while (closing := await self._handle_event(await self._websocket.receive())) is None:
            pass
        return closing

    async def _handle_event(self, event: Message) -> Closing | None:
        """Handle one ASGI event. Return the reason of the close, or None to read on."""
        if event["type"] == "websocket.disconnect":
            return Closing(Close.NORMAL, "")
        frame = event.get("bytes")
        if frame is None:
            return Closing(Close.BAD_MESSAGE, "only binary frames are accepted")
        try:
            named = hocuspocus.decode(frame)
        except Malformed as error:
            return closing_of(error)
        match named:
            case hocuspocus.NamedMessage(name, message):
                await self._handle_message(name, message, len(frame))
            case hocuspocus.Ping():
                await self._send(hocuspocus.PONG_MESSAGE)
            case None:
                pass
        return None

    async def _handle_message(self, name: str, message: Content, size: int) -> None:
        document = self._documents.get(name)
        if document is not None:
            if isinstance(message, Leave):
                # A token that follows opens the document again.
                del self._documents[name]
                document.leave()
            await document.put(message, size, until_handled=self._is_large(size))
        elif isinstance(message, Authenticate):
            document = self._documents[name] = Document(name, self._serve)
            self._served.add(document)
            self._limit_viewer()
            task = asyncio.create_task(self._run_document(document, message.token))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        # Messages of a document without a token are ignored, because the client repeats them after its token.

    def _is_large(self, size: int) -> bool:
        """Return whether a message is large, alone or together with the messages that wait in all documents."""
        return size + sum(each.queued_bytes for each in self._served) > LARGE_BYTES

    async def _run_document(self, document: Document, token: str) -> None:
        """Serve a document. End the socket when a temporary condition ended the document."""
        try:
            closing = await document.run(token)
        except SvgxError as error:
            closing = closing_of(error)
        except Exception as error:
            log.exception("serving a document failed")
            closing = closing_of(error)
        finally:
            if self._documents.get(document.name) is document:
                del self._documents[document.name]
            self._limit_viewer()
            document.drop_messages()
            self._served.discard(document)
        if closing.code.is_final:
            await self._refuse(document, closing)
        elif closing.code is not Close.NORMAL and not self._closing.done():
            self._closing.set_result(closing)

    async def _serve(self, document: Document, token: str) -> Closing:
        """Authenticate, count and join a document, then serve it. Return the reason of its end."""
        canvas_id = hocuspocus.document_of(document.name)
        identity = await self._authenticate(token)
        key = RateLimitKey.of(self._websocket, identity.caller)
        with contextlib.ExitStack() as counted:
            self._admit(counted, key)
            if self._inflow is not None and not self._admitted:
                self._inflow.account = key.key
            self._begin_document()
            counted.callback(self._end_document)
            user_id = identity.caller.user_id
            note_first_user(self._websocket.scope, user_id)
            with structlog.contextvars.bound_contextvars(
                canvas_id=canvas_id[:MAX_ID_LENGTH], user_id=user_id
            ):
                return await self._serve_admitted(document, identity, canvas_id)

    async def _serve_admitted(
        self, document: Document, identity: Identity, canvas_id: str
    ) -> Closing:
        """Join an admitted document and serve it. Log its opening and its end."""
        log.info("document opened")
        closing = Closing(Close.INTERNAL, "internal error")
        try:
            closing = await self._join(document, identity, canvas_id)
        except SvgxError as error:
            closing = closing_of(error)
        except asyncio.CancelledError:
            # The socket has ended. Without a reason, the server has cancelled it.
            if self._closing.done():
                closing = self._closing.result()
            raise
        finally:
            log.info("document closed", close_code=int(closing.code), reason=closing.reason)
        return closing

    async def _authenticate(self, token: str) -> Identity:
        """Return the identity of a token, and count the attempt as a handshake of its account or of the address."""
        try:
            authenticate = functools.partial(
                self._sessions.authenticator.authenticate_message, token, self._websocket
            )
            identity = await self._sessions.join_retries.until_answered(authenticate)
        except SvgxError as error:
            await self._count_attempt(None)
            if isinstance(error, TooManyRequests):
                REFUSED.labels("handshake_rate").inc()  # too many unknown API keys or share links
            raise
        await self._count_attempt(identity)
        return identity

    async def _count_attempt(self, identity: Identity | None) -> None:
        try:
            caller = None if identity is None else identity.caller
            await self._count_handshake(self._websocket, caller, {})
        except TooManyRequests:
            REFUSED.labels("handshake_rate").inc()
            raise

    def _admit(self, counted: contextlib.ExitStack, key: RateLimitKey) -> None:
        """Count a document as a connection of its account. Raises `Overloaded` at a limit.

        The socket already counts as a connection of the gateway, so each document after the first counts as one
        more.
        """
        if self._admitted:
            on_gateway = self._admission.admit_to_gateway()
            if on_gateway is None:
                raise Overloaded("this gateway has reached its limit of connections")
            counted.enter_context(on_gateway)
        counted.enter_context(self._admission.admit(key))

    async def _join(self, document: Document, identity: Identity, canvas_id: str) -> Closing:
        writer = Writer(document.name)

        def connect(role: CanvasRole, handshake_span: SpanContext | None) -> HocuspocusConnection:
            connection = HocuspocusConnection(
                self._websocket,
                identity.caller,
                role,
                writer=writer,
                frames=self._frames,
                role_changed=self._limit_viewer,
                wants_quota=self._websocket.query_params.get("quota") == "1",
                inflow=self._inflow,
                write_frame=self._websocket.scope[WRITE_FRAME],
                handshake=handshake_span,
                outgoing=self._sessions.outgoing,
                transport_bytes=self._transport_bytes,
                socket_sent_bytes=self._sent_bytes,
            )
            self._connections.add(connection)
            document.connect(connection)
            self._limit_viewer()
            return connection

        try:
            async with self._sessions.join(
                self._websocket,
                identity,
                canvas_id,
                connect,
                wants_notice=True,
            ) as session:
                connection = document.connection
                assert connection is not None
                return await document.run_session(session, connection)
        finally:
            if document.connection is not None:
                # A failed join leaves the connection open, and a task of the canvas may still send to it.
                document.connection.end()
                self._connections.discard(document.connection)
                self._written_before += document.connection.written_bytes
            document.connection = None
            self._frames.forget(writer)

    async def _refuse(self, document: Document, closing: Closing) -> None:
        """Tell the client why its document has ended, unless the client has left it."""
        if document.has_left:
            return
        writer = Writer(document.name)
        await self._send(writer.permission_denied(f"{closing.code:d} {closing.reason}"))
        if document.has_joined:
            await self._send(writer.close(closing.reason))

    async def _send(self, message: bytes) -> None:
        """Send a message about the socket, or about a document that has ended."""
        with contextlib.suppress(RuntimeError, ClientDisconnected):
            await self._websocket.send_bytes(message)

    def _limit_viewer(self) -> None:
        """Treat the socket as a viewer's while it has documents, their roles are known, and none may be edited."""
        if self._inflow is not None:
            connections = [each.connection for each in self._documents.values()]
            self._inflow.is_viewer = bool(connections) and all(
                each is not None and not each.may_edit for each in connections
            )

    def _transport_bytes(self) -> int:
        """Return one document's share of the bytes that the transport has taken and not sent."""
        return self._unsent() // max(1, self._admitted)

    def _sent_bytes(self) -> int:
        """Return the bytes of all documents, also closed ones, that the transport has sent so far."""
        written = sum(each.written_bytes for each in self._connections)
        return self._written_before + written - self._unsent()

    def _begin_document(self) -> None:
        self._admitted += 1
        self._stop_idle_timer()
        self._on_document_admitted()

    def _end_document(self) -> None:
        self._admitted -= 1
        if not self._admitted:
            self._start_idle_timer()

    def _start_idle_timer(self) -> None:
        seconds = self._admission.limits.first_message_seconds
        self._idle_timer = asyncio.get_running_loop().call_later(seconds, self._end_idle)

    def _stop_idle_timer(self) -> None:
        if self._idle_timer is not None:
            self._idle_timer.cancel()
            self._idle_timer = None

    def _end_idle(self) -> None:
        """Close the socket, because it has had no document for too long."""
        REFUSED.labels("handshake").inc()
        if not self._closing.done():
            self._closing.set_result(Closing(Close.OVERLOADED, "no document was opened in time"))
