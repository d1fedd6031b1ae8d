"""HTTP/1.1 with limits that uvicorn does not have: how large headers may be, and how long they may take.

Without them one connection fills the memory with a header that never ends, and a few thousand that send nothing use up
the open files (Slowloris).
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEADERS = 64 * 1024
"""Bytes of request line and headers. A read may bring more at once; that is looked at when it is there."""

HEADER_SECONDS = 10.0
"""Time from the connection, or from a request's first byte, to the end of its headers."""

LINGER_SECONDS = 10.0
"""Time a client has for the rest of a body that was answered before its end: so long it can read the answer."""


class LimitedHttp(HttpToolsProtocol):
    """Closes connections whose headers are too large (after a 431) or take too long (without a word)."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._header_bytes = 0
        self._in_headers = True
        self._between = 0
        """Bytes since the last one of a body that are none: sizes of chunks, trailers."""
        self._late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """The clock runs: whoever connects wants something."""
        super().connection_made(transport)
        self._late = self.loop.call_later(HEADER_SECONDS, transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is left over."""
        self._in_time()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Hand on, and look whether the headers have ended, and whether anything but headers follows."""
        if self._in_headers:
            self._header_bytes += len(data)
        else:
            self._between += len(data)
        super().data_received(data)
        if self._between > MAX_HEADERS:
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
        """A request's first byte."""
        super().on_message_begin()
        self._in_headers = True
        if self._late is None:
            self._late = self.loop.call_later(HEADER_SECONDS, self.transport.close)

    def on_headers_complete(self) -> None:
        """In time, and small enough."""
        self._in_headers = False
        self._header_bytes = 0
        self._in_time()
        super().on_headers_complete()
        if self.parser.should_upgrade() and self._should_upgrade() and self._announces_body():
            # The upgrade would come after the body, and nobody counts the time until then.
            self.send_400_response("A handshake has no body.")

    def handle_websocket_upgrade(self) -> None:
        """Hand the connection over, unless an answer is still under way on it: that would be stuck for ever."""
        if not getattr(self.cycle, "response_complete", True):
            self.transport.close()
        if not self.transport.is_closing():
            super().handle_websocket_upgrade()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Trailers are dropped: nobody reads them, and uvicorn would keep them all."""
        if self._in_headers:
            super().on_header(name, value)

    def on_body(self, body: bytes) -> None:
        """The body goes on."""
        self._between = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """All of the request is here."""
        self._between = 0
        self._in_time()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Answered; whoever still sends the body does so for nothing, and not for ever."""
        unfinished = self.cycle.more_body
        super().on_response_complete()
        if unfinished and self._late is None:
            self._late = self.loop.call_later(LINGER_SECONDS, self.transport.close)

    def _announces_body(self) -> bool:
        return any(
            name == b"transfer-encoding" or (name == b"content-length" and value.strip(b"0"))
            for name, value in self.headers
        )

    def _in_time(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None
