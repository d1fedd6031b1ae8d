"""The endpoint of `/runtime/hocuspocus`: one WebSocket with several canvases, each with a token of its own."""

import contextlib
import functools

from starlette.websockets import WebSocket

from svgx_common.contract.errors import Overloaded, SvgxError, TooManyRequests
from svgx_common.http.afterwards import serve_afterwards
from svgx_gateway.ratelimit.key import RateLimitKey
from svgx_gateway.websocket import handshake
from svgx_gateway.websocket.admission import REFUSED, Admission
from svgx_gateway.websocket.endpoint import CountHandshake, admit_to_gateway, close_socket
from svgx_gateway.websocket.hocuspocus.connection import NamedFrames
from svgx_gateway.websocket.hocuspocus.socket import HocuspocusSocket
from svgx_gateway.websocket.origins import AllowedOrigins
from svgx_gateway.websocket.sessions.session import Sessions
from svgx_gateway.websocket.transport.protocol import INFLOW


class HocuspocusEndpoint:
    """The WebSocket endpoint of Hocuspocus clients. It checks each socket in this order.

    1. The page's origin: 403 instead of the upgrade.
    2. The number of connections on the gateway: 503 instead of the upgrade.
    3. The rate of handshakes of the address, because a token comes only after the upgrade: 429 instead of the upgrade.
    4. The number of the address's sockets that have no document yet: 503 instead of the upgrade.
    5. For each document: the token, the rate and the number of connections of the account, and the role on the canvas.
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
        self._admission = admission
        self._count_handshake = count_handshake
        self._frames = NamedFrames()

    async def serve(self, websocket: WebSocket) -> None:
        """Check one WebSocket, and serve it until either side closes it.

        This method may return after the handshake. The server then serves the connection (see `serve_afterwards`).
        """
        headers: dict[str, str] = {}
        try:
            with contextlib.ExitStack() as counts:
                counts.enter_context(admit_to_gateway(websocket, self._origins, self._admission))
                await self._serve_counted(websocket, counts, headers)
        except SvgxError as refusal:
            await handshake.refuse(websocket, refusal, headers)

    async def _serve_counted(
        self, websocket: WebSocket, counts: contextlib.ExitStack, headers: dict[str, str]
    ) -> None:
        """Serve a counted socket. Raises `TooManyRequests` and `Overloaded` before the upgrade only.

        The socket counts as a connection until `counts` is closed at the end of the connection. The rate-limit headers
        are added to `headers`.
        """
        try:
            await self._count_handshake(websocket, None, headers)
        except TooManyRequests:
            REFUSED.labels("handshake_rate").inc()
            raise
        address = RateLimitKey.of(websocket, None).key
        address_count = self._admission.admit_account(address)
        if address_count is None:
            raise Overloaded("this address has too many connections without a document")
        without_document = counts.enter_context(contextlib.ExitStack())
        without_document.enter_context(address_count)
        if (inflow := websocket.scope.get(INFLOW)) is not None:
            inflow.account = address
        await handshake.accept(websocket, headers)
        socket = HocuspocusSocket(
            websocket,
            self._sessions,
            self._admission,
            self._frames,
            count_handshake=self._count_handshake,
            on_document_admitted=without_document.close,
        )
        serve = functools.partial(_serve_accepted, websocket, socket)
        await serve_afterwards(websocket.scope, serve, counts.pop_all().close)


async def _serve_accepted(websocket: WebSocket, socket: HocuspocusSocket) -> None:
    await close_socket(websocket, await socket.run())
