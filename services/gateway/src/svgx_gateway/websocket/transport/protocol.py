"""The gateway's WebSocket protocol: uvicorn's protocol, with limits on incoming frames and bytes and on closing.

The limits are applied in the parser and count every frame. A check in the application would come too late, because
uvicorn parses all the bytes of one read, and answers each ping among them, before the application gets the first
message. Beyond a limit, the parser stops, and the connection is not read until the client may send again.
"""

import asyncio
import functools
import logging
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from uvicorn._types import ASGIReceiveEvent
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.datastructures import Headers
from websockets.exceptions import InvalidState
from websockets.frames import CLOSE, DATA_OPCODES, PING, CloseCode, Frame
from websockets.http11 import Request, Response
from websockets.protocol import CLOSING, OPEN
from websockets.server import ServerProtocol
from websockets.streams import StreamReader
from websockets.typing import StatusLike

from svgx_common.contract.close_codes import Close
from svgx_common.contract.errors import BadRequest
from svgx_common.http import afterwards, refusals
from svgx_gateway.websocket import handshake
from svgx_gateway.websocket.transport.event_queue import EventQueue
from svgx_gateway.websocket.transport.frames import read_frame
from svgx_gateway.websocket.transport.inflow import (
    RETRY_SECONDS,
    Inflow,
    InflowLimits,
    LargeMessages,
)

CLOSING_SECONDS = 2.0
"""Time limit for the client's answer to a close frame, in seconds. Beyond it, the connection is closed."""

FLUSH_SECONDS = 10.0
"""Time limit for the client to read the data sent before the close, in seconds.

Beyond it, the connection is aborted.
"""

MEASURE_SECONDS = 1.0
"""Seconds between two measurements of the rate at which a large message arrives."""

INFLOW = "svgx.inflow"
"""The key of a connection's `Inflow` in the ASGI scope. The application sets the account of the `Inflow`."""

UNSENT_BYTES = "svgx.unsent_bytes"
"""The key of a function in the ASGI scope. It returns the bytes that the transport has taken and not sent."""

WRITE_FRAME = "svgx.write_frame"
"""The key of a connection's `write_frame` in the ASGI scope."""

HAND_OVER = "svgx.hand_over"
"""The key of a connection's `hand_over` in the ASGI scope."""

TakeMessage = Callable[[bytes], bool]
"""A function that handles a message and returns True, or returns False when the message has to go through ASGI."""


@dataclass(frozen=True, slots=True)
class WebSocketLimits:
    """The limits of one connection, and the memory for large messages that all connections share."""

    max_bytes: int = 32 * 1024 * 1024
    """Maximum size of one message, in bytes. A larger message closes the connection with `TOO_LARGE`."""
    ping_interval: float = 30.0
    """Seconds between two pings to the client."""
    ping_timeout: float = 10.0
    """Time limit after a ping, in seconds.

    The connection is closed if the client has neither sent nor read bytes by then.
    """
    inflow: InflowLimits = field(default_factory=InflowLimits)
    """The rates of one connection. Beyond a rate, the connection is read more slowly."""
    large_messages: LargeMessages = field(default_factory=lambda: LargeMessages(64 * 1024 * 1024))
    """The memory for large messages."""
    on_slowed: Callable[[float], None] = lambda _: None
    """Called with the seconds for which a connection is not read because of a limit."""
    on_refused: Callable[[], None] = lambda: None
    """Called when a connection is closed because of its rate of frames or a large message."""


class LimitedWebSocket(WebSocketsSansIOProtocol):
    """A connection with limits.

    Beyond a rate, the connection is read more slowly. When the client does not slow down, the connection is closed.
    When the client does not complete the close, the connection is aborted.
    """

    limits = WebSocketLimits()

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.queue: Any = EventQueue()
        self.app = functools.partial(afterwards.run, self.app)
        self.close_timeout = CLOSING_SECONDS
        self._inflow = Inflow(self.limits.inflow, self.limits.large_messages)
        self.conn: _LimitedServerProtocol = _LimitedServerProtocol(self.limits, self._inflow)
        self._abort_timer: asyncio.TimerHandle | None = None
        self._hold_timer: asyncio.TimerHandle | None = None
        """The timer that ends the present pause of reading. None while the connection is within its limits."""
        self._measure_timer: asyncio.TimerHandle | None = None
        """The timer of the next measurement of a large message. None while no such message arrives."""
        self._progress = False
        """True when the client has sent bytes since the last ping or check."""
        self._unsent_bytes = 0
        """Bytes that waited for the client at the last check."""
        self._take_message: TakeMessage | None = None

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the timers, and release the memory of an unfinished message."""
        for timer in (self._abort_timer, self._hold_timer, self._measure_timer):
            if timer is not None:
                timer.cancel()
        self._inflow.release()
        super().connection_lost(exc)
        self.conn.end()

    def data_received(self, data: bytes) -> None:
        """Parse incoming bytes. Answer 400 and close the connection if the first bytes are not a complete handshake."""
        self._progress = True
        if self._take_message is not None and self._reads_directly():
            data = self._read_directly(data, self._take_message)
            if not data:
                return
        try:
            super().data_received(data)
        except InvalidState:
            # uvicorn raises this for an invalid text frame that follows a close frame in the same read.
            self.transport.close()
        self._hold()
        if not self.handshake_initiated:
            # `websockets` has a response for headers that are too large, but none for headers that it cannot parse.
            refusal = refusals.encode(BadRequest("the WebSocket handshake cannot be read"))
            self.transport.write(b"".join(self.conn.data_to_send()) or refusal)
            self.transport.close()

    def handle_connect(self, event: Request) -> None:
        """Start the application, and read nothing more until the handshake is answered.

        Frames that arrive earlier wait in the socket's buffer, so they are neither parsed nor kept in memory.
        """
        super().handle_connect(event)
        if hasattr(self, "scope"):
            scope: Any = self.scope
            scope[INFLOW] = self._inflow
            scope[WRITE_FRAME] = self.write_frame
            scope[HAND_OVER] = self.hand_over
            scope[UNSENT_BYTES] = self.transport.get_write_buffer_size
        self.transport.pause_reading()

    def write_frame(self, frame: bytes) -> bool:
        """Write an encoded frame, without ASGI. Return False while the client is behind, and when the connection ends.

        Call this only while no message that was sent through ASGI is queued, because the frame would overtake the
        message.
        """
        if not self.handshake_complete or self.close_sent or self.disconnected:
            return False
        if not self.writable.is_set() or self.transport.is_closing():
            return False
        self.transport.write(frame)
        return True

    def hand_over(self, take_message: TakeMessage | None) -> None:
        """Give each further message to `take_message`, without ASGI and without waking a task.

        When `take_message` returns False, this message and the following ones go through ASGI, until the application
        has received all of them. Three other kinds of messages also go through ASGI: messages of several frames,
        messages of more than 65,535 bytes, and messages of clients at a limit.
        """
        self._take_message = take_message

    def _reads_directly(self) -> bool:
        """Return whether the next bytes begin a frame, and no earlier frame, message or limit delays this frame."""
        return (
            self.conn.is_between_messages
            and not self.read_paused
            and not self.close_sent
            and self._hold_timer is None
            and self.queue.empty()
            and not self.disconnected
        )

    def _read_directly(self, data: bytes, take_message: TakeMessage) -> bytes:
        """Handle the complete messages at the beginning of `data`, and return the rest."""
        inflow, position = self._inflow, 0
        while frame := read_frame(data, position, self.limits.max_bytes):
            if inflow.seconds_to_wait():
                break
            message, position = frame
            inflow.count(len(message))
            if not take_message(message):
                self.curr_msg_data_type = "bytes"
                self.frames = [message]
                self.send_receive_event_to_app()
                break
        return data[position:]

    async def receive(self) -> ASGIReceiveEvent:
        """Return the next message, and read on. After a large message, read on only when the message was handled."""
        if self.queue.empty() and self._inflow.release_handled():
            self._resume()
        message: ASGIReceiveEvent = await self.queue.get()
        if self.queue.empty() and not self._inflow.is_complete:
            self._resume()
        return message

    def _resume(self) -> None:
        """Read on, because the application has taken all messages."""
        if self.read_paused:
            self.read_paused = False
            if self._hold_timer is None:
                self._read_on()

    def _hold(self) -> None:
        """Pause reading while the parser is held by a limit. Close a client that does not slow down."""
        seconds, inflow = self.conn.held_seconds, self._inflow
        if self.transport.is_closing():
            return
        if self.close_sent or self.disconnected:
            if seconds:
                self.conn.stop_parsing()
        elif inflow.is_flooding:
            limit = self.limits.inflow
            self._close(f"more than {limit.frames:g} frames a second for {limit.flood_seconds:g} s")
        elif inflow.is_starved:
            self._close("a large message waited too long for memory, or took too long to arrive")
        elif seconds and self._hold_timer is None:
            self.limits.on_slowed(seconds)
            self.transport.pause_reading()
            self._hold_timer = self.loop.call_later(seconds, self._end_hold)
        self._start_measuring()

    def _start_measuring(self) -> None:
        """Measure a large message in `MEASURE_SECONDS`, also when no byte of it arrives until then."""
        if self._inflow.is_arriving and self._measure_timer is None and not self.close_sent:
            self._measure_timer = self.loop.call_later(MEASURE_SECONDS, self._measure)

    def _measure(self) -> None:
        self._measure_timer = None
        if self.transport.is_closing() or not self._inflow.is_arriving:
            return
        is_read = not self.read_paused and self._hold_timer is None
        self._inflow.measure(self.conn.arrived_bytes, is_read=is_read)
        if self._inflow.is_starved:
            self._hold()
        else:
            self._start_measuring()

    def _close(self, reason: str) -> None:
        """Close the connection with `OVERLOADED`, after which the client may reconnect later."""
        self.limits.on_refused()
        self.conn.fail(Close.OVERLOADED, reason)
        self.handle_parser_exception()

    def _end_hold(self) -> None:
        self._hold_timer = None
        if not self.read_paused:
            self._read_on()

    def _read_on(self) -> None:
        """Parse the bytes that were held back, then read further bytes."""
        if self.disconnected or self.transport.is_closing():
            return
        try:
            self.conn.parse_on()
            if self.conn.parser_exc is not None:
                self.handle_parser_exception()
                return
            self.handle_events()
        except InvalidState:
            self.transport.close()
        self._hold()
        if self._hold_timer is None and not self.read_paused:
            self.transport.resume_reading()

    def start_keepalive(self) -> None:
        """Read again, because the handshake is answered."""
        super().start_keepalive()
        # The headers take 4 kB, and have been copied into the ASGI scope. The suspended parser keeps the request, so
        # clear the headers of the request too.
        if self.request is not None:
            self.request.headers.clear()
        self.request: Any = None
        self.response: Any = None
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
        # With the value True, the application's next `receive` would resume reading.
        self.read_paused = False
        if self.close_sent:
            return
        self.close_sent = True
        sent = self.conn.close_sent
        assert sent is not None
        self.queue.put_nowait(
            {"type": "websocket.disconnect", "code": sent.code, "reason": sent.reason}
        )
        self.transport.write(b"".join(self.conn.data_to_send()))
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.close_timer = self.loop.call_later(self.close_timeout, self.transport.close)

    def shutdown(self) -> None:
        """Close the connection because the gateway stops. A handshake that is not answered yet is refused with 503."""
        self.conn.is_stopping = True
        super().shutdown()

    def send_keepalive_ping(self) -> None:
        """Send a ping, and begin to watch whether the client sends or reads bytes."""
        self._progress = False
        super().send_keepalive_ping()
        self._unsent_bytes = self.transport.get_write_buffer_size()

    def keepalive_timeout(self) -> None:
        """Close the connection if the client has neither sent nor read bytes since the last check.

        Otherwise, check again after `ping_timeout` seconds.

        The answer to a ping may be late for three reasons: the gateway does not read at present, the answer follows a
        long message, or the ping follows a long message that the client still reads.
        """
        unsent_bytes = self.transport.get_write_buffer_size()
        is_held = self.read_paused or self._hold_timer is not None
        if self._progress or is_held or unsent_bytes < self._unsent_bytes:
            self._progress = False
            self._unsent_bytes = unsent_bytes
            assert self.ping_timeout is not None
            self.pong_timer = self.loop.call_later(self.ping_timeout, self.keepalive_timeout)
            return
        super().keepalive_timeout()
        self._start_abort_timer()

    def on_task_complete(self, task: asyncio.Task[None]) -> None:
        """Close the connection after the application has returned."""
        super().on_task_complete(task)
        # The scope has functions of this object, and would keep this object until the next garbage collection.
        self.scope: Any = None
        if self._hold_timer is not None:
            # Read the rest of the bytes, because closing with unread bytes resets the connection.
            self._hold_timer.cancel()
            self._hold_timer = None
            self.conn.stop_parsing()
            if not self.transport.is_closing():
                self.transport.resume_reading()
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
    """The frame parser of `websockets`. It stops before a frame or a payload until the inflow lets it go on."""

    def __init__(self, limits: WebSocketLimits, inflow: Inflow) -> None:
        super().__init__(max_size=limits.max_bytes, logger=logging.getLogger("uvicorn.error"))
        self._limits = limits
        self._inflow = inflow
        self._discards = False
        free_bytes = limits.large_messages.threshold
        self._held_reader = _HeldReader(inflow, free_bytes)
        self.reader = self._held_reader
        self.parser = self.parse()
        next(self.parser)  # start the parser, as `ServerProtocol` did with its own reader
        self.answers_pings = True
        self.is_stopping = False
        """True when the gateway stops. uvicorn then refuses a handshake with 500, and this class with 503."""

    def reject(self, status: StatusLike, text: str) -> Response:
        """Return the refusal of a handshake as a problem document."""
        if self.is_stopping:
            status = HTTPStatus.SERVICE_UNAVAILABLE
        error = handshake.refusal(int(status), text)
        headers, body = refusals.headers_and_body(error)
        return Response(error.status, HTTPStatus(error.status).phrase, Headers(headers), body)

    def send_response(self, response: Response) -> None:
        """Send the response to a handshake, unless one was sent before.

        A gateway that stops may refuse the handshake before the application does.
        """
        if not self.eof_sent:
            super().send_response(response)

    @property
    def is_between_messages(self) -> bool:
        """Return whether an open connection waits for the first byte of a message."""
        return (
            self._held_reader.is_between_frames
            and self.current_size is None  # 0 after an empty first fragment
            and self._state is OPEN
        )

    @property
    def held_seconds(self) -> float:
        """Return the seconds until the parser may go on; 0 when it waits for bytes."""
        return self._held_reader.held_seconds

    @property
    def arrived_bytes(self) -> int:
        """Return the bytes of the unfinished message that have arrived."""
        return (self.current_size or 0) + len(self._held_reader.buffer)

    def receive_data(self, data: bytes | bytearray) -> None:
        """Parse bytes."""
        if not self._discards:
            super().receive_data(data)

    def parse_on(self) -> None:
        """Parse the bytes that were held back."""
        if not self._discards and self._held_reader.held_seconds:
            next(self.parser)

    def stop_parsing(self) -> None:
        """Discard the bytes that were held back, and all further bytes."""
        self._discards = True
        self._held_reader.held_seconds = 0.0
        self.reader.discard()

    def recv_frame(self, frame: Frame) -> None:
        """Count and handle an incoming frame. After the server's close frame only a close frame is handled."""
        if frame.opcode is not CLOSE:
            self._inflow.count(len(frame.data))
            if self._state is CLOSING:
                return
            if frame.opcode is PING and not self.answers_pings:
                return
            if frame.fin and frame.opcode in DATA_OPCODES:
                self._inflow.complete((self.current_size or 0) + len(frame.data))
        super().recv_frame(frame)
        self._held_reader.message_bytes = self.current_size or 0

    def end(self) -> None:
        """End the parser, because it refers to this object and would keep it until the next garbage collection."""
        self.parser.close()

    def fail(self, code: int, reason: str = "") -> None:
        """Close the connection. For a message that is too large, use the code `TOO_LARGE`, which stops retries."""
        if code == CloseCode.MESSAGE_TOO_BIG:
            code, reason = Close.TOO_LARGE, f"a message has at most {self._limits.max_bytes} bytes"
        super().fail(code, reason)


class _HeldReader(StreamReader):
    """The reader of a connection's bytes. It gives the parser no bytes while the inflow makes it wait.

    A message of at most `free_bytes` bytes reserves no memory.
    """

    def __init__(self, inflow: Inflow, free_bytes: int) -> None:
        super().__init__()
        self._inflow = inflow
        self._free_bytes = free_bytes
        self.message_bytes = 0
        """Payload bytes of the unfinished message, in the frames that were read completely."""
        self.held_seconds = 0.0
        self.is_between_frames = False
        """True while the reader waits for the first byte of a frame."""

    def at_eof(self) -> Generator[None, None, bool]:
        """Wait until the next frame may be read. Return True when there are no more bytes."""
        self.is_between_frames = True
        at_eof = yield from super().at_eof()
        self.is_between_frames = False
        while not at_eof and (seconds := self._inflow.seconds_to_wait()):
            self.held_seconds = seconds
            yield
        self.held_seconds = 0.0
        return at_eof

    def read_exact(self, n: int) -> Generator[None, None, bytearray]:
        """Read `n` bytes. Wait for memory before each step of a large payload."""
        bytes_before = self.message_bytes
        while bytes_before + n > self._free_bytes:
            arrived = min(n, len(self.buffer))
            if not self._inflow.reserve_ahead(bytes_before + arrived, bytes_before + n):
                self.held_seconds = RETRY_SECONDS
            else:
                self.held_seconds = 0.0
                if arrived == n or self.eof:
                    break
            yield
        return (yield from super().read_exact(n))
