"""HTTP/1.1 with limits that uvicorn does not have: on the size of the headers, their time, and waiting requests.

Without the size limit, one connection fills the memory with headers that never end. Without the time limit, a few
thousand silent connections use up the open files (Slowloris). Without the limit of waiting requests, one connection
fills the memory with requests that are sent faster than they are answered. The module `request_head` checks each head,
also that of a WebSocket handshake. The module `slow_readers` ends the connections of clients that read no responses.

Unused connections stay open for longer than proxies keep them, because a proxy must be the first to close them.
"""

import asyncio
from collections.abc import Sized
from typing import Any

from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from svgx_common.contract.errors import BadRequest, HeadersTooLarge, SvgxError
from svgx_common.http import refusals, request_head
from svgx_common.http.slow_readers import SlowReaderCheck, SlowReaders
from svgx_common.http.whole_responses import with_whole_responses

MAX_HEADER_BYTES = 64 * 1024
"""Limit of the request line and headers, in bytes.

It is checked after each read and at the end of the head, so the memory may hold one more read.
"""

HEADER_SECONDS = 10.0
"""Time limit for the headers, in seconds, from the connection or from the first byte of a later request."""

LINGER_SECONDS = 10.0
"""Time limit for the rest of a body after the response, in seconds. Closing immediately could lose the response."""

MAX_WAITING_REQUESTS = 32
"""Largest number of requests that wait for the response to an earlier request of their connection (pipelining).

Beyond it, the connection is closed after the response to the last waiting request. One read of a connection returns up
to 9,000 small requests, and each waiting request takes about 2 kB of memory.
"""

KEEP_ALIVE_SECONDS = 75
"""Lifetime of an unused connection, in seconds.

nginx, its ingress controller and the load balancers of clouds keep unused connections for 60 s. If a server closed a
connection earlier, a proxy might send a request on it at the same moment, and a POST would fail with 502.
"""

MANY_CONNECTIONS = 2000
"""With more connections than this in the process, including WebSockets, `SHORT_KEEP_ALIVE_SECONDS` applies.

The shorter time keeps a client that opens ever more connections from filling the memory.
"""

SHORT_KEEP_ALIVE_SECONDS = 5
"""Lifetime of an unused connection while there are more than `MANY_CONNECTIONS`, in seconds."""


class _FlowControl(FlowControl):
    """Flow control that reads nothing while requests wait, because each read could add further ones.

    uvicorn resumes the reading after each response, and when an application waits for a body.
    """

    def __init__(self, transport: asyncio.Transport, waiting: Sized) -> None:
        super().__init__(transport)
        self._waiting = waiting

    def resume_reading(self) -> None:
        """Read on, unless requests wait."""
        if not self._waiting:
            super().resume_reading()


class LimitedHttp(HttpToolsProtocol):
    """An HTTP/1.1 connection with limits on its headers and on the number of waiting requests.

    Headers that are too large get a 431 response. Headers that take too long close the connection without a response.
    A request that is not valid gets 400 or 501. Each refusal is a problem document and ends the connection. A request
    beyond `MAX_WAITING_REQUESTS` gets no response, and the connection is closed after the responses before it.
    """

    slow_readers = SlowReaders()
    """The bytes that wait for slow clients, of all connections of the process."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._header_bytes = 0
        self._in_headers = True
        self._head_begun = False
        """True from the first byte of a head to its end."""
        self._framing_bytes = 0
        """Bytes received since the last byte of the body, such as chunk sizes and trailers."""
        self._timeout: asyncio.TimerHandle | None = None
        self._slow_reader_check: SlowReaderCheck
        self._refusal: SvgxError | None = None
        """The reason why the request's head is refused; None for a valid head."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the header timeout."""
        super().connection_made(transport)
        self.flow = _FlowControl(transport, self.pipeline)
        self._slow_reader_check = SlowReaderCheck(transport, self.slow_readers)
        self._close_after(HEADER_SECONDS)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timeout and the check of the client's rate."""
        self._cancel_timeout()
        self._slow_reader_check.end()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Check the client's rate, also while a response is unfinished."""
        super().pause_writing()
        self._slow_reader_check.begin()

    def data_received(self, data: bytes) -> None:
        """Parse the data. Close the connection when the headers, or the framing of the body, are too large."""
        if self._in_headers:
            self._header_bytes += len(data)
        else:
            self._framing_bytes += len(data)
        super().data_received(data)
        if self._head_begun and self._timeout is None:
            # Most heads arrive in one read, and need no timeout.
            self._close_after(HEADER_SECONDS)
        if self._framing_bytes > MAX_HEADER_BYTES:
            self.transport.close()
        if (
            self._in_headers
            and self._header_bytes > MAX_HEADER_BYTES
            and not self.transport.is_closing()
        ):
            self._refuse(_headers_too_large())

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        """Start the application, and let it send each response in one write."""
        super()._start_asgi_task(cycle, with_whole_responses(app, cycle))  # type: ignore[arg-type]

    def on_message_begin(self) -> None:
        """Note the beginning of a head."""
        super().on_message_begin()
        self._in_headers = self._head_begun = True

    def on_headers_complete(self) -> None:
        """Stop the header timeout, and pass on a valid head. An exception here refuses the request."""
        self._header_bytes = 0
        self._head_begun = False
        self._cancel_timeout()
        try:
            if len(self.pipeline) >= MAX_WAITING_REQUESTS:
                raise BadRequest("too many requests wait", limit=MAX_WAITING_REQUESTS)
            self._check_head()
        except SvgxError as error:
            self._refusal = error
            raise
        super().on_headers_complete()
        self._in_headers = False

    def _check_head(self) -> None:
        # A read may bring a whole head that is larger than the limit.
        if request_head.size(self.url, self.headers) > MAX_HEADER_BYTES:
            raise _headers_too_large()
        request_head.check(self.parser.get_http_version(), self.url, self.headers)
        upgrades = self.parser.should_upgrade() and self._should_upgrade()
        if upgrades and request_head.announces_body(self.headers):
            # The upgrade would wait for the body, and no timeout covers that time.
            raise BadRequest("a WebSocket handshake has no body", field="body")

    def _should_upgrade(self) -> bool:
        """Return whether the request becomes a WebSocket. HTTP/1.0 has no upgrade (RFC 9110, 7.8)."""
        return self.parser.get_http_version() == "1.1" and super()._should_upgrade()

    def _unsupported_upgrade_warning(self) -> None:
        """Log nothing, because any client can ask for an upgrade. The request is answered without it."""

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002  # the problem document says more
        """Refuse a request that the parser does not accept."""
        self._refuse(self._refusal or BadRequest("the request is not valid HTTP/1.1"))

    def _refuse(self, error: SvgxError) -> None:
        """Answer with a problem document, and close the connection.

        A fault in a body gets no document after the response has begun. A fault in a head gets none while the response
        to an earlier request is unfinished. In this case, the connection closes after that response.
        """
        self._head_begun = False
        unfinished = not getattr(self.cycle, "response_complete", True)
        if unfinished and self._in_headers:
            # Responses have the order of their requests, so a refusal cannot precede the earlier request's response.
            # That response closes the connection, without a refusal after it.
            self.cycle.keep_alive = False
            self._cancel_timeout()
            self.flow.pause_reading()
            return
        if self._in_headers or (unfinished and not self.cycle.response_started):
            self.transport.write(refusals.encode(error))
            self._slow_reader_check.begin()
        self.transport.close()

    def handle_websocket_upgrade(self) -> None:
        """Upgrade the connection. Close it instead while an earlier request's response is unfinished.

        After an upgrade, the unfinished response would wait for ever.
        """
        if not getattr(self.cycle, "response_complete", True):
            self.transport.close()
        if not self.transport.is_closing():
            self._slow_reader_check.end()
            super().handle_websocket_upgrade()
            # The parser refers to this object, and would keep it in memory until the next garbage collection.
            self.parser = None  # type: ignore[assignment]

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header. Drop a trailer: no application reads trailers, and uvicorn would add them to the headers."""
        if self._in_headers:
            super().on_header(name, value)

    def on_body(self, body: bytes) -> None:
        """Pass on a piece of the body."""
        self._framing_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Stop the timeout, because the whole request has arrived."""
        self._in_headers = True
        self._framing_bytes = 0
        self._cancel_timeout()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Discard the rest of the request body, or wait for the next request, for a bounded time."""
        # The response may be that of an earlier request, while the body of the last request arrives.
        unfinished = self.cycle.response_complete and self.cycle.more_body
        is_crowded = len(self.connections) > MANY_CONNECTIONS
        self.timeout_keep_alive = SHORT_KEEP_ALIVE_SECONDS if is_crowded else KEEP_ALIVE_SECONDS
        super().on_response_complete()
        self._slow_reader_check.begin()
        if unfinished and self._timeout is None:
            self._close_after(LINGER_SECONDS)

    def _close_after(self, seconds: float) -> None:
        self._timeout = self.loop.call_later(seconds, self._time_out, seconds)

    def _time_out(self, seconds: float) -> None:
        """Close the connection, or restart the timeout while the connection is not read."""
        if self.flow.read_paused:
            self._close_after(seconds)
        else:
            self.transport.close()

    def _cancel_timeout(self) -> None:
        if self._timeout is not None:
            self._timeout.cancel()
            self._timeout = None


def _headers_too_large() -> HeadersTooLarge:
    detail = f"headers: at most {MAX_HEADER_BYTES} bytes"
    return HeadersTooLarge(detail, field="headers", limit=MAX_HEADER_BYTES)
