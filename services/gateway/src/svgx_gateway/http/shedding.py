"""Load shedding: when the event loop cannot keep up, new requests are refused, so that the old ones get done.

Health and metrics are not behind this: an overloaded gateway is alive, and has something to tell.
"""

import asyncio

from prometheus_client import Counter, Gauge
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from svgx_common.contract.errors import Overloaded
from svgx_gateway.http import problems

SHED = Counter("svgx_engine_shed", "Requests and connections refused while the loop lagged.")
LAG = Gauge("svgx_engine_loop_lag_seconds", "How late the event loop was at its last look.")

TICK = 0.05
"""Seconds between two looks."""

IN_A_ROW = 3
"""Late looks that make an overload: one alone is a pause, such as of the garbage collector or of the machine."""


class Lag:
    """How far behind the event loop is. `limit` is in seconds."""

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._late = 0
        self._handle: asyncio.TimerHandle | None = None

    @property
    def overloaded(self) -> bool:
        """Whether the loop has been late again and again."""
        return self._late >= IN_A_ROW

    def note(self, seconds: float) -> None:
        """The loop was so late."""
        LAG.set(seconds)
        self._late = self._late + 1 if seconds > self._limit else 0

    def start(self) -> None:
        """Look from now on."""
        loop = asyncio.get_running_loop()
        self._handle = loop.call_later(TICK, self._look, loop, loop.time() + TICK)

    def stop(self) -> None:
        """Look no more."""
        if self._handle is not None:
            self._handle.cancel()

    def _look(self, loop: asyncio.AbstractEventLoop, due: float) -> None:
        self.note(loop.time() - due)
        self.start()


class Shedding:
    """ASGI middleware: 503 for requests and WebSockets while the loop is overloaded."""

    def __init__(self, app: ASGIApp, lag: Lag) -> None:
        self._app = app
        self._lag = lag

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if not self._lag.overloaded or scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        SHED.inc()
        refusal = problems.response(Overloaded(retry_after=1.0))
        if scope["type"] == "websocket":
            await WebSocket(scope, receive, send).send_denial_response(refusal)
        else:
            await refusal(scope, receive, send)
