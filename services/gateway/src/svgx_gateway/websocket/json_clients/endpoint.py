"""The endpoint of JSON clients, `/runtime/events`."""

import secrets

from opentelemetry.trace import SpanContext
from starlette.websockets import WebSocket

from svgx_common.contract.policy import CanvasRole
from svgx_common.messaging.bus import Bus
from svgx_gateway.identity.identity import Identity
from svgx_gateway.websocket.admission import Admission
from svgx_gateway.websocket.connection import Closing
from svgx_gateway.websocket.endpoint import CanvasEndpoint, CountHandshake
from svgx_gateway.websocket.json_clients.connection import JsonConnection
from svgx_gateway.websocket.json_clients.lock_pace import LockPace
from svgx_gateway.websocket.json_clients.reading_turns import ReadingTurns
from svgx_gateway.websocket.json_clients.session import JsonSession
from svgx_gateway.websocket.origins import AllowedOrigins
from svgx_gateway.websocket.sessions.session import Sessions, run

MAX_SESSION_ID_CHARACTERS = 128
"""Largest number of characters of a `session_id`. The rest is cut off."""


class JsonEndpoint(CanvasEndpoint):
    """The endpoint of JSON clients. The query names the canvas: `/runtime/events?canvas_id=…`."""

    def __init__(
        self,
        sessions: Sessions,
        origins: AllowedOrigins,
        admission: Admission,
        *,
        bus: Bus,
        count_handshake: CountHandshake,
    ) -> None:
        super().__init__(sessions, origins, admission, count_handshake=count_handshake)
        self._bus = bus
        self._turns = ReadingTurns()
        self._lock_pace = LockPace()

    def _canvas_id(self, websocket: WebSocket) -> str:
        return websocket.query_params.get("canvas_id", "")

    async def _join(self, websocket: WebSocket, identity: Identity, canvas_id: str) -> Closing:
        session_id = websocket.query_params.get("session_id")

        def connect(role: CanvasRole, handshake_span: SpanContext | None) -> JsonConnection:
            return JsonConnection(
                websocket,
                identity.caller,
                role,
                client=secrets.randbits(32),
                **self._options(websocket, handshake_span),
            )

        async with self._sessions.join(
            websocket, identity, canvas_id, connect, wants_notice=True
        ) as session:
            json_session = JsonSession(
                websocket,
                session,
                bus=self._bus,
                quotas=self._sessions.quotas,
                turns=self._turns,
                lock_pace=self._lock_pace,
                session_id=session_id and session_id[:MAX_SESSION_ID_CHARACTERS],
                first_message_seconds=self._limits.first_message_seconds,
            )
            return await run(session.connection, json_session.read())
