"""The sessions of clients on canvases. A session is one connection that has joined its canvas."""

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

from opentelemetry.trace import SpanContext
from pydantic import ValidationError
from starlette.types import Message
from starlette.websockets import WebSocket

from svgx_common.contract.close_codes import Close, close_code
from svgx_common.contract.errors import NotFound, SvgxError
from svgx_common.contract.policy import CanvasRole
from svgx_common.contract.state import CanvasRequest
from svgx_gateway.http.tracing import handshake_of
from svgx_gateway.identity.authenticator import Authenticator
from svgx_gateway.identity.canvas_roles import CanvasRoles
from svgx_gateway.identity.identity import Identity
from svgx_gateway.identity.revocations import AccountChanged
from svgx_gateway.memory.outgoing import Outgoing
from svgx_gateway.observability import socket_spans
from svgx_gateway.observability.notes import notes_of
from svgx_gateway.quotas.enforcement import QuotaEnforcement
from svgx_gateway.websocket.admission import REFUSED
from svgx_gateway.websocket.canvas import LiveCanvas
from svgx_gateway.websocket.connection import Closing, Connection
from svgx_gateway.websocket.documents import DocumentMessages
from svgx_gateway.websocket.live_canvases import LiveCanvases
from svgx_gateway.websocket.sessions.join_retries import JoinRetries
from svgx_gateway.websocket.token_expiry import TokenExpiry
from svgx_yjs import protocol
from svgx_yjs.lib0 import Malformed

Connect = Callable[[CanvasRole, SpanContext | None], Connection]
"""A function that takes the client's role and the span of the handshake, and returns the client's connection."""


class Session:
    """The handler of one client's messages on its canvas."""

    def __init__(
        self,
        websocket: WebSocket,
        connection: Connection,
        canvas: LiveCanvas,
        *,
        live_canvases: LiveCanvases,
        token_expiry: TokenExpiry,
        documents: DocumentMessages,
    ) -> None:
        self.connection = connection
        self.canvas = canvas
        self._websocket = websocket
        self._live_canvases = live_canvases
        self._token_expiry = token_expiry
        self._documents = documents

    def handle_at_once(self, message: protocol.Message) -> bool:
        """Handle an edit if no step has to wait. Otherwise, change nothing and return False.

        Nearly all edits are handled here, without the coroutines of `handle`.
        """
        return (
            isinstance(message, protocol.DocumentMessage)
            and not self.connection.is_joining
            and self._documents.receive_at_once(
                self.connection, self.canvas.outbox, message.update, is_step_2=message.whole
            )
        )

    async def handle(self, message: protocol.Message) -> None:
        """Handle one message. Raises `Malformed`, or the `SvgxError` of the operation that the message asks for."""
        connection, canvas = self.connection, self.canvas
        if connection.is_joining and not isinstance(message, protocol.SyncStep1):
            canvas.follow_without_sync(connection)
        match message:
            case protocol.SyncStep1(state_vector):
                with socket_spans.request(
                    "sync",
                    connection.route,
                    canvas.canvas_id,
                    connection.caller.user_id,
                    connection.handshake,
                ):
                    await canvas.sync(connection, state_vector)
            case protocol.DocumentMessage(update, whole):
                await self._documents.receive(connection, canvas.outbox, update, is_step_2=whole)
            case protocol.AwarenessMessage(update):
                await canvas.presence.receive(connection, update)
            case protocol.QueryAwareness():
                await canvas.send_awareness(connection)
            case protocol.TokenMessage(token):
                await self._token_expiry.renew(token, self._websocket)
                # The fresh token may contain another role of the account.
                await self._live_canvases.check_role(connection, canvas)
            case _:
                pass


class Sessions:
    """Opens the sessions of a gateway, and holds the parts that all sessions use."""

    def __init__(
        self,
        live_canvases: LiveCanvases,
        authenticator: Authenticator,
        canvas_roles: CanvasRoles,
        quotas: QuotaEnforcement,
        outgoing: Outgoing,
    ) -> None:
        self.authenticator = authenticator
        self.outgoing = outgoing
        self.join_retries = JoinRetries(lambda: live_canvases.is_draining)
        self._live_canvases = live_canvases
        self._canvas_roles = canvas_roles
        self.quotas = quotas
        self._documents = DocumentMessages(quotas)

    @contextlib.asynccontextmanager
    async def join(
        self,
        websocket: WebSocket,
        identity: Identity,
        canvas_id: str,
        connect: Connect,
        *,
        wants_notice: bool,
    ) -> AsyncIterator[Session]:
        """Join a canvas with the connection that `connect` returns, for the duration of the context.

        With `wants_notice`, the client gets a message when it is time for a fresh token.

        While a service does not answer, its request is repeated and the client waits (see `JoinRetries`). Raises
        `NotFound`, `Forbidden`, `Unauthenticated`, and the errors of the services.
        """
        _check_id(canvas_id)
        # Use no `AsyncExitStack`, because it would take 2 kB for each connection, and a connection lasts for hours.
        connection, canvas = await self._join_canvas(websocket, identity, canvas_id, connect)
        token_expiry = TokenExpiry(
            connection,
            self.authenticator,
            identity,
            wants_notice=wants_notice,
        )
        link_expiry = self._live_canvases.watch_share_link(
            connection, canvas, identity.link_expires_at
        )
        try:
            # Check again, because a revocation closes only connections that have joined a canvas.
            self.authenticator.check_not_revoked(identity)
            yield Session(
                websocket,
                connection,
                canvas,
                live_canvases=self._live_canvases,
                token_expiry=token_expiry,
                documents=self._documents,
            )
        finally:
            token_expiry.stop()
            if link_expiry is not None:
                link_expiry.cancel()
            try:
                await self._live_canvases.leave(canvas, connection)
            finally:
                self.outgoing.remove(connection)

    async def _join_canvas(
        self, websocket: WebSocket, identity: Identity, canvas_id: str, connect: Connect
    ) -> tuple[Connection, LiveCanvas]:
        """Look up the role, connect, and join the canvas. Return the connection and the canvas."""
        handshake_span = handshake_of(websocket.scope)
        route = notes_of(websocket.scope).route or ""
        with socket_spans.join(route, canvas_id, identity.caller.user_id, handshake_span):
            ask_role = functools.partial(
                self._canvas_roles.require, identity.caller, canvas_id, CanvasRole.VIEWER
            )
            role = await self.join_retries.until_answered(ask_role)
            connection = connect(role, handshake_span)
            self.outgoing.add(connection)
            try:
                if connection.may_edit:
                    connection.tell_quota(self.quotas.most_used(identity.caller, canvas_id))
                canvas = await self._live_canvases.join(canvas_id, connection)
            except BaseException:
                self.outgoing.remove(connection)
                raise
        return connection, canvas


async def receive_first(websocket: WebSocket, seconds: float) -> Message | Closing:
    """Return the first event of an accepted WebSocket, or the reason of its close if none arrives within `seconds`."""
    try:
        async with asyncio.timeout(seconds):
            return await websocket.receive()
    except TimeoutError:
        REFUSED.labels("handshake").inc()
        return Closing(Close.OVERLOADED, "no message arrived in time")


async def run(connection: Connection, messages: Coroutine[Any, Any, Closing]) -> Closing:
    """Run the coroutine that handles a client's messages, until one side ends the connection. Return the reason.

    The coroutine is cancelled when the connection is closed. It runs in the present task, because a task of its own
    would take 2 kB for hours. The task that writes queued messages begins when the client is behind for the first time.
    """
    writing: list[asyncio.Task[None]] = []
    connection.on_backlog(lambda: writing.append(asyncio.create_task(connection.write())))
    until_closed = asyncio.timeout(None)

    def cancel_messages(_: asyncio.Future[Closing]) -> None:
        with contextlib.suppress(RuntimeError):  # the coroutine has ended already
            until_closed.reschedule(0.0)

    connection.closing.add_done_callback(cancel_messages)
    try:
        async with until_closed:
            return await messages
    except Exception:
        if connection.closing.done():
            return connection.closing.result()
        raise
    finally:
        connection.end()
        for task in writing:
            task.cancel()
        await asyncio.gather(*writing, return_exceptions=True)


def closing_of(error: Exception) -> Closing:
    """Return the close code and reason for an error of a client's message or join.

    `AccountChanged` gives 1012, so that the client reconnects at once, and auth is asked about the API key again.
    """
    if isinstance(error, Malformed):
        return Closing(Close.BAD_MESSAGE, f"malformed message: {error}")
    if isinstance(error, AccountChanged):
        return Closing(Close.RESTARTING, error.detail)
    if isinstance(error, SvgxError):
        return Closing(close_code(error), error.detail)
    return Closing(Close.INTERNAL, "internal error")


def _check_id(canvas_id: str) -> None:
    """Raise `NotFound` unless this is a canvas id. The id becomes part of NATS subjects."""
    try:
        CanvasRequest(canvas_id=canvas_id)
    except ValidationError:
        raise NotFound("there is no such canvas") from None
