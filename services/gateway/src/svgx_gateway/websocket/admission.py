"""Limits of WebSockets: how many there are, whose, and how long one may say nothing at first.

They stand in front of what the connections do, and know nothing of it. How much comes over one is counted where it is
parsed: `svgx_gateway.websocket.protocol`.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import prometheus_client
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from svgx_common.contract.close_codes import Close
from svgx_common.contract.errors import Overloaded
from svgx_gateway.http import problems
from svgx_gateway.websocket import handshake

REFUSED = prometheus_client.Counter(
    "svgx_engine_websocket_refused",
    "WebSockets refused or closed by a limit: connections, identity, rate or handshake.",
    ["limit"],
)

Identify = Callable[[WebSocket], Awaitable[str | None]]
"""Whose connection it is; None when nobody's: then it is refused further on."""


@dataclass(frozen=True, slots=True)
class SocketLimits:
    """`connections` and `per_identity` on this gateway; `handshake` in seconds."""

    connections: int
    per_identity: int
    handshake: float


class LimitedSockets:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp, limits: SocketLimits, identify: Identify) -> None:
        self._app = app
        self._limits = limits
        self._identify = identify
        self._open = 0
        self._by_identity: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "websocket":
            await self._app(scope, receive, send)
            return
        if self._open >= self._limits.connections:
            # Before the upgrade: the cheapest answer there is.
            REFUSED.labels("connections").inc()
            refusal = Overloaded("this gateway has all the connections it can serve")
            await WebSocket(scope, receive, send).send_denial_response(problems.response(refusal))
            return
        # At once: others come while somebody is asked whose this one is.
        self._open += 1
        try:
            await self._admitted(scope, receive, send)
        finally:
            self._open -= 1

    async def _admitted(self, scope: Scope, receive: Receive, send: Send) -> None:
        identity = await self._identify(WebSocket(scope, receive, send))
        if identity is None:
            await self._app(scope, _Incoming(self._limits, receive, send).receive, send)
            return
        if self._by_identity[identity] >= self._limits.per_identity:
            REFUSED.labels("identity").inc()
            # After the upgrade: a browser sees no other answer than a close code.
            socket = WebSocket(scope, receive, send)
            await handshake.accept(socket)
            await socket.close(Close.TOO_MANY, f"at most {self._limits.per_identity} connections")
            return
        self._by_identity[identity] += 1
        try:
            await self._app(scope, _Incoming(self._limits, receive, send).receive, send)
        finally:
            self._by_identity[identity] -= 1
            if not self._by_identity[identity]:
                del self._by_identity[identity]


class _Incoming:
    """What comes over one connection. When that is nothing at first, it is closed, and the application hears so."""

    def __init__(self, limits: SocketLimits, receive: Receive, send: Send) -> None:
        self._limits = limits
        self._receive = receive
        self._send = send
        self._heard = False

    async def receive(self) -> Message:
        if self._heard:
            return await self._receive()
        try:
            async with asyncio.timeout(self._limits.handshake):
                message = await self._receive()
        except TimeoutError:
            REFUSED.labels("handshake").inc()
            reason = "nothing was said in time"
            await self._send(
                {"type": "websocket.close", "code": Close.HANDSHAKE_TIMEOUT, "reason": reason}
            )
            return {
                "type": "websocket.disconnect",
                "code": Close.HANDSHAKE_TIMEOUT,
                "reason": reason,
            }
        self._heard = message["type"] == "websocket.receive"
        return message
