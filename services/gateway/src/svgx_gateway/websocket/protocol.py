"""The WebSocket protocol of the gateway: uvicorn's, with limits on incoming frames and bytes and on the closing time.

The limits are applied where frames are parsed and count every frame, because uvicorn parses all the bytes of one read,
and answers each ping among them, before the application gets the first message.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.datastructures import Headers
from websockets.exceptions import InvalidState, ProtocolError
from websockets.frames import CLOSE, PING, Frame
from websockets.http11 import Request, Response
from websockets.protocol import CLOSING
from websockets.server import ServerProtocol
from websockets.typing import StatusLike

from svgx_common.contract.close_codes import Close
from svgx_common.contract.errors import BadRequest
from svgx_common.http import refusals
from svgx_gateway.websocket import handshake

CLOSING_SECONDS = 2.0
"""Seconds that the client has to answer a close frame. After this time the connection is closed."""

FLUSH_SECONDS = 10.0
"""Seconds that the client has to read the data sent before the close. After this time the connection is aborted."""


@dataclass(frozen=True, slots=True)
class WebSocketLimits:
    """The limits of one connection. Beyond a rate it is closed with `TOO_MANY`."""

    max_bytes: int = 16 * 1024 * 1024
    """Bytes of one message."""
    ping_interval: float = 30.0
    """Seconds between two pings to the client."""
    ping_timeout: float = 10.0
    """Seconds that the client has to answer a ping."""
    frames: float = 200.0
    """Frames a second. The client may send the frames of two seconds at once."""
    bytes: float = 2 * 1024 * 1024
    """Bytes of payload a second."""
    burst_bytes: float = 16 * 1024 * 1024
    """Bytes of payload that the client may send at once."""
    refused: Callable[[], None] = lambda: None
    """Called when a connection is closed because it exceeds a rate."""


class TokenBucket:
    """A token bucket that refills with `rate` tokens a second and holds at most `burst`. `clock` returns seconds."""

    def __init__(
        self, rate: float, burst: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._tokens = burst
        self._updated_at = clock()

    def take(self, tokens: float) -> bool:
        """Take tokens and return True, or take none and return False when the bucket has fewer."""
        now = self._clock()
        self._tokens = min(self._burst, self._tokens + (now - self._updated_at) * self._rate)
        self._updated_at = now
        if tokens > self._tokens:
            return False
        self._tokens -= tokens
        return True


class LimitedWebSocket(WebSocketsSansIOProtocol):
    """A connection that is closed when it exceeds a limit, and aborted when the client does not complete the close."""

    limits = WebSocketLimits()

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.close_timeout = CLOSING_SECONDS
        self.conn: _LimitedServerProtocol = _LimitedServerProtocol(self.limits)
        self._abort_timer: asyncio.TimerHandle | None = None

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the abort timer."""
        if self._abort_timer is not None:
            self._abort_timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse incoming bytes. Answer 400 and close the connection unless the first call has a complete handshake."""
        try:
            super().data_received(data)
        except InvalidState:
            # uvicorn rejects an invalid text after it has handled a close frame from the same read.
            self.transport.close()
        if not self.handshake_initiated:
            # `websockets` has a response for too large headers, and none for headers that it cannot parse.
            refusal = refusals.encode(BadRequest("the WebSocket handshake cannot be read"))
            self.transport.write(b"".join(self.conn.data_to_send()) or refusal)
            self.transport.close()

    def handle_connect(self, event: Request) -> None:
        """Start the application, and read nothing more until the handshake is answered.

        Frames that arrive earlier wait in the socket's buffer, so they are neither parsed nor kept in memory.
        """
        super().handle_connect(event)
        self.transport.pause_reading()

    def start_keepalive(self) -> None:
        """Read again, because the handshake is answered."""
        super().start_keepalive()
        self.transport.resume_reading()

    def pause_writing(self) -> None:
        """Answer no pings while the client does not read, because the queued pongs would fill the memory."""
        super().pause_writing()
        self.conn.answers_pings = False

    def resume_writing(self) -> None:
        """Answer pings again, because the client reads."""
        super().resume_writing()
        self.conn.answers_pings = True

    def handle_cont(self, event: Frame) -> None:
        """Append a continuation frame to the message.

        The message is kept as one byte array, so that a million empty fragments use no memory.
        """
        message: Any = self.frames[0]
        if not isinstance(message, bytearray):
            message = bytearray(message)
        message += event.data
        self.frames[0] = bytes(message) if event.fin else message
        if event.fin:
            self.send_receive_event_to_app()

    def handle_parser_exception(self) -> None:
        """Send the close frame, end the application's stream of messages, and read nothing more.

        The connection stays open for `CLOSING_SECONDS`: closing it with unread bytes resets it, and the reset may
        overtake the close frame.
        """
        self.transport.pause_reading()
        # Otherwise the application's next `receive` resumes reading.
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
        """Close the connection, because the client did not answer a ping in time."""
        super().keepalive_timeout()
        self._start_abort_timer()

    def on_task_complete(self, task: asyncio.Task[None]) -> None:
        """Close the connection after the application has returned."""
        super().on_task_complete(task)
        self._start_abort_timer()

    def _start_abort_timer(self) -> None:
        """Abort the connection in `FLUSH_SECONDS`.

        A closed transport stays until the client has read all written data, and the client may never read them.
        """
        if self._abort_timer is None and not self.disconnected:
            self._abort_timer = self.loop.call_later(FLUSH_SECONDS, self.transport.abort)


def limited(limits: WebSocketLimits) -> type[LimitedWebSocket]:
    """Return a protocol class with these limits, for uvicorn's `ws` option."""
    return type("LimitedWebSocket", (LimitedWebSocket,), {"limits": limits})


class _LimitedServerProtocol(ServerProtocol):
    """The frame parser of `websockets`, with rate limits. Beyond a limit it ignores the rest of the bytes of a read."""

    def __init__(self, limits: WebSocketLimits) -> None:
        super().__init__(max_size=limits.max_bytes, logger=logging.getLogger("uvicorn.error"))
        self._limits = limits
        # The bucket holds the frames of two seconds, because a delayed client sends its queued frames together.
        self._frames = TokenBucket(limits.frames, 2 * limits.frames)
        self._bytes = TokenBucket(limits.bytes, limits.burst_bytes)
        self.answers_pings = True

    def reject(self, status: StatusLike, text: str) -> Response:
        """Return the refusal of a handshake as a problem document."""
        error = handshake.refusal(int(status), text)
        body = refusals.problem_body(error)
        headers = Headers({**refusals.HEADERS, "content-length": str(len(body))})
        return Response(error.status, HTTPStatus(error.status).phrase, headers, body)

    def recv_frame(self, frame: Frame) -> None:
        """Count and handle an incoming frame. After the server's close frame only a close frame is handled."""
        if frame.opcode is not CLOSE:
            if not self._frames.take(1):
                self._fail(f"at most {self._limits.frames:g} frames a second")
            if not self._bytes.take(len(frame.data)):
                self._fail(f"at most {self._limits.bytes:g} bytes a second")
            if self._state is CLOSING:
                return
            if frame.opcode is PING and not self.answers_pings:
                return
        super().recv_frame(frame)

    def _fail(self, reason: str) -> None:
        """Send a close frame, and raise `ProtocolError` to stop the parser."""
        self.fail(Close.TOO_MANY, reason)
        raise ProtocolError(reason)
