"""The endpoint of `/runtime/events/{canvas_id}`: the checks of a WebSocket, and its connection until the close."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import structlog
from pydantic import ValidationError
from starlette.requests import HTTPConnection
from starlette.types import Message
from starlette.websockets import WebSocket, WebSocketDisconnect

from svgx_common.contract.close_codes import Close, close_code
from svgx_common.contract.errors import (
    Forbidden,
    NotFound,
    Overloaded,
    SvgxError,
    TooManyRequests,
)
from svgx_common.contract.policy import CanvasRole
from svgx_common.contract.state import CanvasRequest
from svgx_common.messaging.caller import Caller
from svgx_gateway.http import problems
from svgx_gateway.http.tracing import handshake_of
from svgx_gateway.identity.authenticator import Authenticator
from svgx_gateway.identity.canvas_roles import CanvasRoles
from svgx_gateway.identity.identity import Identity
from svgx_gateway.memory.outgoing import Outgoing
from svgx_gateway.observability import socket_spans
from svgx_gateway.observability.notes import note_canvas, note_user
from svgx_gateway.quotas.enforcement import QuotaEnforcement
from svgx_gateway.ratelimit.key import RateLimitKey
from svgx_gateway.websocket import handshake
from svgx_gateway.websocket.admission import REFUSED, Admission, SocketLimits
from svgx_gateway.websocket.canvas import LiveCanvas
from svgx_gateway.websocket.connection import Closing, Connection
from svgx_gateway.websocket.documents import DocumentMessages
from svgx_gateway.websocket.live_canvases import LiveCanvases
from svgx_gateway.websocket.origins import AllowedOrigins
from svgx_gateway.websocket.token_expiry import TokenExpiry
from svgx_gateway.websocket.transport.protocol import INFLOW, UNSENT_BYTES, WRITE_FRAME
from svgx_yjs import protocol
from svgx_yjs.lib0 import Malformed

log = structlog.get_logger(__name__)

MAX_REASON_BYTES = 120
"""Bytes of a close frame's reason that are sent (RFC 6455 allows 123). The rest is cut off."""


CountHandshake = Callable[[HTTPConnection, Caller | None], Awaitable[None]]
"""Counts a handshake of a caller, or of an address without a valid token. Raises `TooManyRequests`."""


class YjsEndpoint:
    """The WebSocket endpoint of Yjs clients. It checks each socket in this order.

    1. The page's origin: 403 instead of the upgrade.
    2. The number of connections on the gateway: 503 instead of the upgrade.
    3. The rate of handshakes of the account that the token names, or of the address when the token is not valid or is
       that of a share link: 429 instead of the upgrade, after which clients try again.
    4. A wrong token, then the number of connections of the account, or of the address and the share link: the upgrade,
       then a close code, because a page can read the close code and its reason, and cannot read the status of a refused
       upgrade.
    5. After the upgrade, the caller's role on the canvas.
    """

    def __init__(
        self,
        live_canvases: LiveCanvases,
        authenticator: Authenticator,
        canvas_roles: CanvasRoles,
        origins: AllowedOrigins,
        limits: SocketLimits,
        *,
        count_handshake: CountHandshake,
        quotas: QuotaEnforcement,
        outgoing: Outgoing | None = None,
    ) -> None:
        self._outgoing = outgoing or Outgoing()
        self._live_canvases = live_canvases
        self._authenticator = authenticator
        self._canvas_roles = canvas_roles
        self._origins = origins
        self._limits = limits
        self._count_handshake = count_handshake
        self._admission = Admission(limits)
        self._quotas = quotas
        self._documents = DocumentMessages(quotas)

    async def serve(self, websocket: WebSocket) -> None:
        """Serve one WebSocket until either side closes it."""
        if not self._origins.allows(websocket.headers):
            refusal: SvgxError = Forbidden("pages of this origin may not connect", field="origin")
            await websocket.send_denial_response(problems.response(refusal))
            return
        counted = self._admission.admit_to_gateway()
        if counted is None:
            refusal = Overloaded("this gateway has reached its limit of connections")
            await websocket.send_denial_response(problems.response(refusal))
            return
        with counted:
            await self._serve_counted(websocket)

    async def _serve_counted(self, websocket: WebSocket) -> None:
        identity = await self._authenticate(websocket)
        caller = identity.caller if isinstance(identity, Identity) else None
        try:
            await self._count_handshake(websocket, caller)
            if isinstance(identity, TooManyRequests):
                raise identity  # too many invented API keys
        except TooManyRequests as error:
            REFUSED.labels("handshake_rate").inc()
            await websocket.send_denial_response(problems.response(error))
            return
        if isinstance(identity, SvgxError):
            await _refuse(websocket, Closing(close_code(identity), identity.detail))
            return
        note_user(websocket.scope, identity.caller.user_id)
        note_canvas(websocket.scope, websocket.path_params["canvas_id"])
        key = RateLimitKey.of(websocket, identity.caller)
        if (inflow := websocket.scope.get(INFLOW)) is not None:
            inflow.account = key.key
        if key.shared is None:
            counted = self._admission.admit_account(key.key)
        else:
            counted = self._admission.admit_visitor(key.key, key.shared)
        if counted is None:
            reason = f"at most {self._limits.per_identity} connections of one account"
            await _refuse(websocket, Closing(Close.OVERLOADED, reason))
            return
        with counted:
            await handshake.accept(websocket)
            await _close(websocket, await self._serve_accepted(websocket, identity))

    async def _authenticate(self, websocket: WebSocket) -> Identity | SvgxError:
        """Return the identity, or the error of a wrong token or of an unavailable auth service."""
        try:
            return await self._authenticator.authenticate_websocket(websocket)
        except SvgxError as error:
            return error

    async def _serve_accepted(self, websocket: WebSocket, identity: Identity) -> Closing:
        canvas_id = websocket.path_params["canvas_id"]
        with structlog.contextvars.bound_contextvars(
            canvas_id=canvas_id, user_id=identity.caller.user_id
        ):
            try:
                return await self._join(websocket, identity, canvas_id)
            except SvgxError as error:
                return Closing(close_code(error), error.detail)
            except Exception:
                log.exception("a connection failed")
                return Closing(Close.INTERNAL, "internal error")

    async def _join(self, websocket: WebSocket, identity: Identity, canvas_id: str) -> Closing:
        _check_id(canvas_id)
        options = websocket.query_params
        opening = handshake_of(websocket.scope)
        async with contextlib.AsyncExitStack() as joined:
            with socket_spans.join(canvas_id, identity.caller.user_id, opening):
                role = await self._canvas_roles.require(
                    identity.caller, canvas_id, CanvasRole.VIEWER
                )
                connection = Connection(
                    websocket,
                    identity.caller,
                    role,
                    wants_saved=options.get("saved") == "1",
                    wants_quota=options.get("quota") == "1",
                    inflow=websocket.scope.get(INFLOW),
                    write_frame=websocket.scope[WRITE_FRAME],
                    handshake=opening,
                    outgoing=self._outgoing,
                    transport_bytes=websocket.scope.get(UNSENT_BYTES, lambda: 0),
                )
                self._outgoing.add(connection)
                joined.callback(self._outgoing.remove, connection)
                if options.get("limits") == "1":
                    connection.send(protocol.encode_limits(self._limits.max_message_bytes))
                if connection.may_edit:
                    connection.tell_quota(self._quotas.most_used(identity.caller, canvas_id))
                joining = self._live_canvases.join(canvas_id, connection)
                canvas = await joined.enter_async_context(joining)
            # Check again: a revocation before this point did not reach the connection, because it had not joined.
            self._authenticator.check_not_revoked(identity)
            token_expiry = TokenExpiry(
                connection,
                self._authenticator,
                identity,
                wants_notice=options.get("renew") == "1",
            )
            reader = _Reader(
                websocket,
                connection,
                canvas,
                self._live_canvases,
                token_expiry,
                documents=self._documents,
                first_message_seconds=self._limits.handshake,
            )
            link_expiry = self._live_canvases.watch_link(
                connection, canvas, identity.link_expires_at
            )
            try:
                return await _run(connection, reader)
            finally:
                link_expiry.cancel()
                token_expiry.stop()


async def _run(connection: Connection, reader: "_Reader") -> Closing:
    """Read and write until one side ends the connection. Return the reason."""
    writing = asyncio.create_task(connection.write())
    reading = asyncio.create_task(reader.read())
    try:
        await asyncio.wait({reading, connection.closing}, return_when=asyncio.FIRST_COMPLETED)
        if connection.closing.done():
            return connection.closing.result()
        return await reading
    finally:
        for task in (reading, writing):
            task.cancel()
        await asyncio.gather(reading, writing, return_exceptions=True)


async def _refuse(websocket: WebSocket, closing: Closing) -> None:
    """Complete the handshake and close the connection, so that a page can read the close code."""
    await handshake.accept(websocket)
    await _close(websocket, closing)


async def _close(websocket: WebSocket, closing: Closing) -> None:
    reason = closing.reason.encode()[:MAX_REASON_BYTES].decode(errors="ignore")
    # The client may have closed the connection already.
    with contextlib.suppress(RuntimeError, WebSocketDisconnect, OSError):
        await websocket.close(closing.code, reason)


def _check_id(canvas_id: str) -> None:
    """Raise `NotFound` unless this is a canvas id. The id becomes part of NATS subjects."""
    try:
        CanvasRequest(canvas_id=canvas_id)
    except ValidationError:
        raise NotFound("there is no such canvas") from None


class _Reader:
    """The reader of one connection. The client has `first_message_seconds` to send its first message."""

    def __init__(
        self,
        websocket: WebSocket,
        connection: Connection,
        canvas: LiveCanvas,
        live_canvases: LiveCanvases,
        token_expiry: TokenExpiry,
        *,
        documents: DocumentMessages,
        first_message_seconds: float,
    ) -> None:
        self._websocket = websocket
        self._connection = connection
        self._canvas = canvas
        self._live_canvases = live_canvases
        self._token_expiry = token_expiry
        self._documents = documents
        self._first_message_seconds = first_message_seconds

    async def read(self) -> Closing:
        """Read until the client closes the connection or sends an invalid message. Return the reason of the close."""
        try:
            async with asyncio.timeout(self._first_message_seconds):
                event = await self._websocket.receive()
        except TimeoutError:
            REFUSED.labels("handshake").inc()
            return Closing(Close.OVERLOADED, "no message arrived in time")
        while (closing := await self._handle_event(event)) is None:
            event = await self._websocket.receive()
        return closing

    async def _handle_event(self, event: Message) -> Closing | None:
        """Handle one ASGI event. Return the reason of the close, or None to read on."""
        if event["type"] == "websocket.disconnect":
            return Closing(Close.NORMAL, "")
        frame = event.get("bytes")
        if frame is None:
            return Closing(Close.BAD_MESSAGE, "only binary frames are accepted")
        try:
            await self._handle_message(protocol.decode(frame))
        except Malformed as error:
            return Closing(Close.BAD_MESSAGE, f"malformed message: {error}")
        except SvgxError as error:
            return Closing(close_code(error), error.detail)
        return None

    async def _handle_message(self, message: protocol.Message) -> None:
        connection, canvas = self._connection, self._canvas
        match message:
            case protocol.SyncStep1(state_vector):
                user_id = connection.caller.user_id
                with socket_spans.sync(canvas.canvas_id, user_id, connection.handshake):
                    await canvas.sync(connection, state_vector)
            case protocol.DocumentMessage(update, whole):
                await self._documents.receive(connection, canvas.outbox, update, is_step_2=whole)
            case protocol.AwarenessMessage(update):
                await canvas.presence.receive(connection, update)
            case protocol.QueryAwareness():
                await canvas.send_awareness(connection)
            case protocol.TokenMessage(token):
                await self._token_expiry.renew(token, self._websocket)
                # The account's role in the fresh token may differ.
                await self._live_canvases.check_role(connection, canvas)
            case _:
                pass
