"""WebSockets with limits that uvicorn does not have: how much comes over one, and how long its end may take.

uvicorn parses all that a read has brought, and answers each ping in it, before an application hears of anything. So
what a connection sends is counted where it is parsed: every frame, of whatever kind.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.exceptions import InvalidState, ProtocolError
from websockets.frames import CLOSE, PING, Frame
from websockets.http11 import Request
from websockets.protocol import CLOSING
from websockets.server import ServerProtocol

from svgx_common.contract.close_codes import Close

CLOSING_SECONDS = 2.0
"""Time the other side has for its close, after ours."""

LAST_SECONDS = 10.0
"""Time the other side has to read what was sent before the end."""

BAD_HANDSHAKE = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


@dataclass(frozen=True, slots=True)
class WebSocketLimits:
    """`max_bytes` a message; pings every `ping_interval` seconds, answered within `ping_timeout` seconds.

    `frames` and `bytes` a second, of one connection. It may send two seconds' worth of frames at once, and
    `burst_bytes` of payload; `refused` is called when it sends more.
    """

    max_bytes: int = 16 * 1024 * 1024
    ping_interval: float = 30.0
    ping_timeout: float = 10.0
    frames: float = 200.0
    bytes: float = 2 * 1024 * 1024
    burst_bytes: float = 16 * 1024 * 1024
    refused: Callable[[], None] = lambda: None


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


class LimitedWebSocket(WebSocketsSansIOProtocol):
    """Closes connections that send too much, and ends those that do not end by themselves."""

    limits = WebSocketLimits()

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.close_timeout = CLOSING_SECONDS
        self.conn: _CountedFrames = _CountedFrames(self.limits)
        self._last: asyncio.TimerHandle | None = None

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is left over."""
        if self._last is not None:
            self._last.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Hand on. What comes first is the handshake, all of it: what is none yet never will be."""
        try:
            super().data_received(data)
        except InvalidState:
            # uvicorn refuses a text after it has read the close that came with it.
            self.transport.close()
        if not self.handshake_initiated:
            # `websockets` has an answer to headers that are too large, and none to those that it cannot read.
            self.transport.write(b"".join(self.conn.data_to_send()) or BAD_HANDSHAKE)
            self.transport.close()

    def handle_connect(self, event: Request) -> None:
        """A handshake: whoever speaks before it is answered has to wait, and costs nothing."""
        super().handle_connect(event)
        self.transport.pause_reading()

    def start_keepalive(self) -> None:
        """The handshake is answered."""
        super().start_keepalive()
        self.transport.resume_reading()

    def pause_writing(self) -> None:
        """Whoever does not read gets no answers to pings either: they would fill the memory."""
        super().pause_writing()
        self.conn.answers_pings = False

    def resume_writing(self) -> None:
        """The client reads."""
        super().resume_writing()
        self.conn.answers_pings = True

    def handle_cont(self, event: Frame) -> None:
        """A message in parts is one piece of memory: a million empty parts cost as much as none."""
        whole: Any = self.frames[0]
        if not isinstance(whole, bytearray):
            whole = bytearray(whole)
        whole += event.data
        self.frames[0] = bytes(whole) if event.fin else whole
        if event.fin:
            self.send_receive_event_to_app()

    def handle_parser_exception(self) -> None:
        """Say why it ends, and read nothing more.

        It is not closed at once: with bytes unread that would be a reset, which may overtake the close code.
        """
        self.transport.pause_reading()
        # Or the application would have it go on.
        self.read_paused = False
        if self.close_sent:
            return
        self.close_sent = True
        sent = self.conn.close_sent
        assert sent is not None
        if sent.code == Close.TOO_MANY:
            self.limits.refused()
        self.queue.put_nowait(
            {"type": "websocket.disconnect", "code": sent.code, "reason": sent.reason}
        )
        self.transport.write(b"".join(self.conn.data_to_send()))
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.close_timer = self.loop.call_later(self.close_timeout, self.transport.close)

    def keepalive_timeout(self) -> None:
        """The client answers no ping."""
        super().keepalive_timeout()
        self._end_soon()

    def on_task_complete(self, task: asyncio.Task[None]) -> None:
        """The application is done with it."""
        super().on_task_complete(task)
        self._end_soon()

    def _end_soon(self) -> None:
        """A transport that is closed waits until all is read that was written; whoever reads nothing would stay."""
        if self._last is None and not self.disconnected:
            self._last = self.loop.call_later(LAST_SECONDS, self.transport.abort)


def limited(limits: WebSocketLimits) -> type[LimitedWebSocket]:
    """The protocol with these limits, as uvicorn takes it."""
    return type("LimitedWebSocket", (LimitedWebSocket,), {"limits": limits})


class _CountedFrames(ServerProtocol):
    """What `websockets` makes of the bytes. Past a limit it stops within a read, however much that has brought."""

    def __init__(self, limits: WebSocketLimits) -> None:
        super().__init__(max_size=limits.max_bytes, logger=logging.getLogger("uvicorn.error"))
        self._limits = limits
        # Two seconds' worth at once: a client that was held up sends what it has.
        self._frames = Allowance(limits.frames, 2 * limits.frames)
        self._bytes = Allowance(limits.bytes, limits.burst_bytes)
        self.answers_pings = True

    def recv_frame(self, frame: Frame) -> None:
        """A frame has come. After our close only the other side's counts."""
        if frame.opcode is not CLOSE:
            if not self._frames.take(1):
                self._end(f"at most {self._limits.frames:g} frames a second")
            if not self._bytes.take(len(frame.data)):
                self._end(f"at most {self._limits.bytes:g} bytes a second")
            if self._state is CLOSING:
                return
            if frame.opcode is PING and not self.answers_pings:
                return
        super().recv_frame(frame)

    def _end(self, reason: str) -> None:
        self.fail(Close.TOO_MANY, reason)
        raise ProtocolError(reason)  # what ends the parser
