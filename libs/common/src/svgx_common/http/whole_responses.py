"""Responses that are sent in one write.

uvicorn writes the head and the body of a response one after the other. Each write needs a system call and sends a
packet. The two writes take a tenth of a request's time.
"""

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

_CONTROL_CHARACTERS = bytes({*range(0x20), 0x7F} - {0x09})
"""The bytes that no header value may have (RFC 9110, 5.5)."""

_NOT_IN_NAMES = bytes({*range(0x21), *range(0x7F, 0x100), *b'()<>@,;:\\[]={}"', *range(0x41, 0x5B)})
"""Bytes that the services use in no header name: controls, separators, capital letters, and bytes from 0x7F on."""

_HOP_BY_HOP_HEADERS = (b"connection", b"transfer-encoding")
_STATUSES_WITHOUT_BODY = (204, 304)

MAX_COPIED_BYTES = 64 * 1024
"""Maximum size in bytes of a body that is copied into one buffer with its head.

Up to this size, a copy takes less time than writing a second buffer.
"""


class WholeResponse:
    """The `send` of one request. It holds the head back until the body follows.

    ASGI requires that a server sends nothing before the first part of the body. Some responses are left to uvicorn,
    such as those with a body in parts, those to HEAD requests, and those with a header that changes the connection
    (`connection: close`).
    """

    __slots__ = ("_cycle", "_head")

    def __init__(self, cycle: RequestResponseCycle) -> None:
        self._cycle = cycle
        self._head: Message | None = None

    async def __call__(self, message: Message) -> None:
        """Send one message of the response (ASGI)."""
        head = self._head
        if head is None:
            if message["type"] == "http.response.start" and not self._cycle.response_started:
                self._head = message
            else:
                await self._cycle.send(message)  # type: ignore[arg-type]  # uvicorn's own ASGI types
            return
        self._head = None
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            body: bytes = message.get("body", b"")
            encoded_head = self._encode_head(head, body)
            if encoded_head is not None:
                self._finish(encoded_head, body)
                return
        await self._cycle.send(head)  # type: ignore[arg-type]
        await self._cycle.send(message)  # type: ignore[arg-type]

    def _encode_head(self, head: Message, body: bytes) -> bytes | None:
        """Return the bytes of the head, or None if uvicorn has to send the response."""
        cycle, status = self._cycle, head["status"]
        if cycle.flow.write_paused or cycle.disconnected or cycle.access_log:
            return None
        if cycle.scope["method"] == "HEAD":
            return None
        headers = [*cycle.default_headers, *head.get("headers", ())]
        fields = dict(headers)
        length = None if status in _STATUSES_WITHOUT_BODY and not body else b"%d" % len(body)
        if fields.get(b"content-length") != length or any(
            name in fields for name in _HOP_BY_HOP_HEADERS
        ):
            return None
        names = b"".join(fields)
        values = b"".join([value for _, value in headers])
        if len(names.translate(None, _NOT_IN_NAMES)) != len(names):
            return None
        if len(values.translate(None, _CONTROL_CHARACTERS)) != len(values):
            return None
        lines = [b"%b: %b\r\n" % header for header in headers]
        if not cycle.keep_alive:
            lines.append(b"connection: close\r\n")
        return b"%b%b\r\n" % (STATUS_LINE[status], b"".join(lines))

    def _finish(self, head: bytes, body: bytes) -> None:
        """Write the response, and end the request as uvicorn does."""
        cycle = self._cycle
        cycle.response_started = cycle.response_complete = True
        cycle.waiting_for_100_continue = False
        if len(body) <= MAX_COPIED_BYTES:
            cycle.transport.write(head + body)
        else:
            cycle.transport.writelines((head, body))
        cycle.message_event.set()
        if not cycle.keep_alive:
            cycle.transport.close()
        cycle.on_response()


def with_whole_responses(app: ASGIApp, cycle: RequestResponseCycle) -> ASGIApp:
    """Return `app` for one request, with responses that are sent in one write where possible."""

    async def respond(scope: Scope, receive: Receive, _: Send) -> None:
        await app(scope, receive, WholeResponse(cycle))

    return respond
