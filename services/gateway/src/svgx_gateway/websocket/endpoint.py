"""The endpoints of WebSockets for one canvas: the checks of a WebSocket, and its connection until the close."""

import contextlib
import functools
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, MutableMapping

import structlog
from opentelemetry.trace import SpanContext
from starlette.requests import HTTPConnection
from starlette.websockets import WebSocket, WebSocketDisconnect

from svgx_common.contract.errors import (
    Forbidden,
    Overloaded,
    SvgxError,
    TooManyRequests,
)
from svgx_common.contract.policy import CanvasRole
from svgx_common.http.afterwards import serve_afterwards
from svgx_common.messaging.caller import Caller
from svgx_gateway.identity.identity import Identity
from svgx_gateway.observability.notes import note_canvas, note_user
from svgx_gateway.ratelimit.key import RateLimitKey
from svgx_gateway.websocket import handshake
from svgx_gateway.websocket.admission import REFUSED, Admission, CountContext
from svgx_gateway.websocket.connection import Closing, Connection, ConnectionOptions
from svgx_gateway.websocket.origins import AllowedOrigins
from svgx_gateway.websocket.sessions.reader import Reader
from svgx_gateway.websocket.sessions.session import Sessions, closing_of, run
from svgx_gateway.websocket.transport.protocol import INFLOW, UNSENT_BYTES, WRITE_FRAME
from svgx_yjs import protocol

log = structlog.get_logger(__name__)

MAX_REASON_BYTES = 120
"""Largest number of bytes of a close frame's reason (RFC 6455 allows 123). The rest is cut off."""


CountHandshake = Callable[
    [HTTPConnection, Caller | None, MutableMapping[str, str]], Awaitable[None]
]
"""A function that counts a handshake of a caller or, without a valid token, of an address.

It adds the rate-limit headers to the mapping, and raises `TooManyRequests`.
"""


class CanvasEndpoint(ABC):
    """A WebSocket endpoint for clients that join one canvas. It checks each socket in this order.

    1. The page's origin: 403 instead of the upgrade.
    2. The number of connections on the gateway: 503 instead of the upgrade.
    3. The rate of handshakes: 429 instead of the upgrade, after which clients try again. The handshake counts for the
       account that the token names. For an invalid token, it counts for the address. For a share link without an
       account, it counts for the address and for the link.
    4. The token, then the number of connections of the account, or of the address and the share link. A refused socket
       gets the upgrade and then a close code, because a page cannot read the status of a refused upgrade.
    5. After the upgrade, the caller's role on the canvas.
    """

    def __init__(
        self,
        sessions: Sessions,
        origins: AllowedOrigins,
        admission: Admission,
        *,
        count_handshake: CountHandshake,
    ) -> None:
        self._sessions = sessions
        self._origins = origins
        self._limits = admission.limits
        self._count_handshake = count_handshake
        self._admission = admission

    async def serve(self, websocket: WebSocket) -> None:
        """Check one WebSocket, and serve it until either side closes it.

        This method may return after the handshake. The server then serves the connection (see `serve_afterwards`).
        """
        try:
            counted = admit_to_gateway(websocket, self._origins, self._admission)
        except SvgxError as refusal:
            await handshake.refuse(websocket, refusal, {})
            return
        with counted:
            await self._serve_counted(websocket, counted)

    async def _serve_counted(self, websocket: WebSocket, counted: CountContext) -> None:
        """Check a socket and serve it. `counted` counts it until the end of the connection."""
        identity = await self._authenticate(websocket)
        caller = identity.caller if isinstance(identity, Identity) else None
        headers: dict[str, str] = {}
        try:
            await self._count_handshake(websocket, caller, headers)
            if isinstance(identity, TooManyRequests):
                raise identity  # too many unknown API keys or share links
        except TooManyRequests as error:
            REFUSED.labels("handshake_rate").inc()
            await handshake.refuse(websocket, error, headers)
            return
        if isinstance(identity, SvgxError):
            await _accept_and_close(websocket, headers, closing_of(identity))
            return
        note_user(websocket.scope, identity.caller.user_id)
        note_canvas(websocket.scope, self._canvas_id(websocket))
        key = RateLimitKey.of(websocket, identity.caller)
        if (inflow := websocket.scope.get(INFLOW)) is not None:
            inflow.account = key.key
        try:
            counted.include(self._admission.admit(key))
        except Overloaded as error:
            await _accept_and_close(websocket, headers, closing_of(error))
            return
        await handshake.accept(websocket, headers)
        serve = functools.partial(self._serve_accepted, websocket, identity)
        await serve_afterwards(websocket.scope, serve, counted.hand_over().end)

    async def _authenticate(self, websocket: WebSocket) -> Identity | SvgxError:
        """Return the identity, or the error of a wrong token, too many unknown keys, or an unavailable service.

        While a service does not answer, the upgrade waits (see `JoinRetries`).
        """
        sessions = self._sessions
        authenticate = functools.partial(sessions.authenticator.authenticate_websocket, websocket)
        try:
            return await sessions.join_retries.until_answered(authenticate)
        except SvgxError as error:
            return error

    async def _serve_accepted(self, websocket: WebSocket, identity: Identity) -> None:
        canvas_id = self._canvas_id(websocket)
        with structlog.contextvars.bound_contextvars(
            canvas_id=canvas_id, user_id=identity.caller.user_id
        ):
            try:
                closing = await self._join(websocket, identity, canvas_id)
            except SvgxError as error:
                closing = closing_of(error)
            except Exception as error:
                log.exception("a connection failed")
                closing = closing_of(error)
        await close_socket(websocket, closing)

    @abstractmethod
    def _canvas_id(self, websocket: WebSocket) -> str:
        """Return the id of the canvas in the request. It may be any text."""

    @abstractmethod
    async def _join(self, websocket: WebSocket, identity: Identity, canvas_id: str) -> Closing:
        """Join the canvas, and serve the client until one side ends the connection. Return the reason."""

    def _options(
        self, websocket: WebSocket, handshake_span: SpanContext | None
    ) -> ConnectionOptions:
        """Return the options of a connection that depend on its socket."""
        return {
            "inflow": websocket.scope.get(INFLOW),
            "write_frame": websocket.scope[WRITE_FRAME],
            "handshake": handshake_span,
            "outgoing": self._sessions.outgoing,
            "transport_bytes": websocket.scope.get(UNSENT_BYTES, lambda: 0),
        }


class YjsEndpoint(CanvasEndpoint):
    """The endpoint of Yjs clients, `/runtime/events/{canvas_id}`."""

    def _canvas_id(self, websocket: WebSocket) -> str:
        canvas_id: str = websocket.path_params["canvas_id"]
        return canvas_id

    async def _join(self, websocket: WebSocket, identity: Identity, canvas_id: str) -> Closing:
        options = websocket.query_params

        def connect(role: CanvasRole, handshake_span: SpanContext | None) -> Connection:
            connection = Connection(
                websocket,
                identity.caller,
                role,
                wants_saved=options.get("saved") == "1",
                wants_quota=options.get("quota") == "1",
                **self._options(websocket, handshake_span),
            )
            if options.get("limits") == "1":
                connection.send(protocol.encode_limits(self._limits.max_message_bytes))
            return connection

        renews = options.get("renew") == "1"
        async with self._sessions.join(
            websocket, identity, canvas_id, connect, wants_notice=renews
        ) as session:
            reader = Reader(
                websocket, session, first_message_seconds=self._limits.first_message_seconds
            )
            return await run(session.connection, reader.read())


def admit_to_gateway(
    websocket: WebSocket, origins: AllowedOrigins, admission: Admission
) -> CountContext:
    """Check the page's origin, and return a context that counts the socket as a connection of the gateway.

    Raises `Forbidden` and `Overloaded`. Enter the context before the next await.
    """
    if not origins.allows(websocket.headers):
        raise Forbidden("pages of this origin may not connect", field="origin")
    counted = admission.admit_to_gateway()
    if counted is None:
        raise Overloaded("this gateway has reached its limit of connections")
    return counted


async def _accept_and_close(
    websocket: WebSocket, headers: Mapping[str, str], closing: Closing
) -> None:
    """Complete the handshake and close the connection, so that a page can read the close code."""
    await handshake.accept(websocket, headers)
    await close_socket(websocket, closing)


async def close_socket(websocket: WebSocket, closing: Closing) -> None:
    """Send the close frame, unless the client has closed the connection already."""
    reason = closing.reason.encode()[:MAX_REASON_BYTES].decode(errors="ignore")
    with contextlib.suppress(RuntimeError, WebSocketDisconnect, OSError):
        await websocket.close(closing.code, reason)
