"""HTTP/1.1 with limits that uvicorn does not have: the size of the headers, and the time until they end.

Without the first limit, one connection fills the memory with headers that never end. Without the second, a few thousand
silent connections use up the open files (Slowloris).
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEADERS = 64 * 1024
"""Bytes of the request line and headers. They are counted after each read, so the last read may exceed the limit."""

HEADER_SECONDS = 10.0
"""Seconds from the connection, or from the first byte of a later request, to the end of the headers."""

LINGER_SECONDS = 10.0
"""Seconds the rest of a request body may take after the response was sent. Closing at once could lose the response."""


class LimitedHttp(HttpToolsProtocol):
    """An HTTP/1.1 connection with limits on its headers.

    Headers that are too large get a 431 response. Headers that take too long close the connection without a response.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._header_bytes = 0
        self._in_headers = True
        self._framing_bytes = 0
        """Bytes received since the last byte of the body, such as chunk sizes and trailers."""
        self._timeout: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the header timeout."""
        super().connection_made(transport)
        self._close_after(HEADER_SECONDS)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timeout."""
        self._cancel_timeout()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse the data. Close the connection when the headers, or the framing of the body, are too large."""
        if self._in_headers:
            self._header_bytes += len(data)
        else:
            self._framing_bytes += len(data)
        super().data_received(data)
        if self._framing_bytes > MAX_HEADERS:
            self.transport.close()
        if (
            self._in_headers
            and self._header_bytes > MAX_HEADERS
            and not self.transport.is_closing()
        ):
            self.transport.write(
                b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
                b"connection: close\r\ncontent-length: 0\r\n\r\n"
            )
            self.transport.close()

    def on_message_begin(self) -> None:
        """Start the header timeout of a later request."""
        super().on_message_begin()
        self._in_headers = True
        if self._timeout is None:
            self._close_after(HEADER_SECONDS)

    def on_headers_complete(self) -> None:
        """Stop the header timeout. Refuse a WebSocket handshake with a body."""
        self._in_headers = False
        self._header_bytes = 0
        self._cancel_timeout()
        super().on_headers_complete()
        if self.parser.should_upgrade() and self._should_upgrade() and self._announces_body():
            # The upgrade would wait for the body, and no timeout covers that time.
            self.send_400_response("A handshake has no body.")

    def handle_websocket_upgrade(self) -> None:
        """Upgrade the connection. Close it instead while an earlier request's response is unfinished.

        After an upgrade, the unfinished response would wait for ever.
        """
        if not getattr(self.cycle, "response_complete", True):
            self.transport.close()
        if not self.transport.is_closing():
            super().handle_websocket_upgrade()

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
        self._framing_bytes = 0
        self._cancel_timeout()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """The response was sent. Discard the rest of the request body, for a bounded time."""
        unfinished = self.cycle.more_body
        super().on_response_complete()
        if unfinished and self._timeout is None:
            self._close_after(LINGER_SECONDS)

    def _announces_body(self) -> bool:
        return any(
            name == b"transfer-encoding" or (name == b"content-length" and value.strip(b"0"))
            for name, value in self.headers
        )

    def _close_after(self, seconds: float) -> None:
        self._timeout = self.loop.call_later(seconds, self.transport.close)

    def _cancel_timeout(self) -> None:
        if self._timeout is not None:
            self._timeout.cancel()
            self._timeout = None
