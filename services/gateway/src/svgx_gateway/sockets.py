"""Limits of WebSockets: how many there are, whose, how much comes over one, and how long it may say nothing at first.

They stand in front of what the connections do, and know nothing of it.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import prometheus_client
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from svgx_common.contract.errors import Overloaded
from svgx_gateway import handshake, problems

REFUSED = prometheus_client.Counter(
    "svgx_engine_websocket_refused",
    "WebSockets refused or closed by a limit: connections, identity, rate or handshake.",
    ["limit"],
)

TOO_LATE, TOO_MANY = 4408, 4429
"""Close codes: nothing was said in time; too many connections of one identity, too many frames or bytes."""

MAX_REASON = 120

Identify = Callable[[WebSocket], Awaitable[str | None]]
"""Whose connection it is; None when nobody's: then it is refused further on."""


@dataclass(frozen=True, slots=True)
class SocketLimits:
    """`connections` and `per_identity` on this gateway; `frames` and `bytes` a second; `handshake` in seconds.

    A connection may send `burst_bytes` at once, however slowly it comes back; so one frame of the largest size passes.
    """

    connections: int
    per_identity: int
    frames: float
    bytes: float
    burst_bytes: float
    handshake: float


class Allowance:
    """A token bucket: `rate` a second, `burst` at once. `clock` gives seconds."""

    def __init__(
        self, rate: float, burst: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._left = burst
        self._at = clock()

    def take(self, amount: float) -> bool:
        """Whether so much was there; then it is gone."""
        now = self._clock()
        self._left = min(self._burst, self._left + (now - self._at) * self._rate)
        self._at = now
        if amount > self._left:
            return False
        self._left -= amount
        return True


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
            await socket.close(TOO_MANY, f"at most {self._limits.per_identity} connections")
            return
        self._by_identity[identity] += 1
        try:
            await self._app(scope, _Incoming(self._limits, receive, send).receive, send)
        finally:
            self._by_identity[identity] -= 1
            if not self._by_identity[identity]:
                del self._by_identity[identity]


class _Incoming:
    """What comes over one connection. Past a limit it is closed, and the application hears that it has ended."""

    def __init__(self, limits: SocketLimits, receive: Receive, send: Send) -> None:
        self._limits = limits
        self._receive = receive
        self._send = send
        # Two seconds' worth at once: a client that was held up sends what it has.
        self._frames = Allowance(limits.frames, 2 * limits.frames)
        self._bytes = Allowance(limits.bytes, limits.burst_bytes)
        self._heard = False

    async def receive(self) -> Message:
        if self._heard:
            message = await self._receive()
        else:
            try:
                async with asyncio.timeout(self._limits.handshake):
                    message = await self._receive()
            except TimeoutError:
                return await self._end("handshake", TOO_LATE, "nothing was said in time")
        if message["type"] != "websocket.receive":
            return message
        self._heard = True
        content = message.get("bytes") or message.get("text") or b""
        if not self._frames.take(1):
            return await self._end(
                "rate", TOO_MANY, f"at most {self._limits.frames:g} messages a second"
            )
        if not self._bytes.take(len(content)):
            return await self._end(
                "rate", TOO_MANY, f"at most {self._limits.bytes:g} bytes a second"
            )
        return message

    async def _end(self, limit: str, code: int, reason: str) -> Message:
        REFUSED.labels(limit).inc()
        await self._send({"type": "websocket.close", "code": code, "reason": reason[:MAX_REASON]})
        return {"type": "websocket.disconnect", "code": code, "reason": reason}
