"""Load shedding: while the event loop is late, new requests are refused, so that running requests can finish.

The gateway's own health and metrics are never refused, because an overloaded gateway still has to report its state. The
health summary of all services may be refused.
"""

from prometheus_client import Counter
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from svgx_common.contract.errors import Overloaded
from svgx_gateway.http import problems
from svgx_gateway.observability.notes import note_failure

SHED = Counter("svgx_engine_shed", "Requests and connections refused while the loop lagged.")

LATE_CHECKS = 3
"""Number of late checks in a row that count as an overload.

A single late check may be a pause of the garbage collector.
"""


class LoopLag:
    """The lag of the event loop. A check is late when the lag is more than `limit` seconds."""

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._late_checks = 0

    @property
    def overloaded(self) -> bool:
        """True after `LATE_CHECKS` late checks in a row."""
        return self._late_checks >= LATE_CHECKS

    def record(self, seconds: float) -> None:
        """Record the lag that one check measured."""
        self._late_checks = self._late_checks + 1 if seconds > self._limit else 0


class LoadShedding:
    """ASGI middleware that refuses requests and WebSockets with 503 while the event loop is overloaded."""

    def __init__(self, app: ASGIApp, lag: LoopLag) -> None:
        self._app = app
        self._lag = lag

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse the request, or pass it on."""
        if not self._lag.overloaded or scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        SHED.inc()
        note_failure(scope, None, Overloaded.code)
        refusal = problems.response(Overloaded(retry_after=1.0))
        if scope["type"] == "websocket":
            await WebSocket(scope, receive, send).send_denial_response(refusal)
        else:
            await refusal(scope, receive, send)
