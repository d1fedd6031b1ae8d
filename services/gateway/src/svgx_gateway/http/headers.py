"""The security headers of every response of the gateway."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from svgx_common.http.security_headers import SECURITY_HEADERS

_RESPONSE_STARTS = ("http.response.start", "websocket.http.response.start")
"""The messages that begin a response. The second message refuses a WebSocket."""


class SecurityHeaders:
    """ASGI middleware that adds the security headers that a response does not have yet.

    With `hsts_seconds` 0, it adds no HSTS header.
    """

    def __init__(self, app: ASGIApp, hsts_seconds: int) -> None:
        self._app = app
        self._hsts_seconds = hsts_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Add the headers to HTTP responses, also to the refusal of a WebSocket."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        added = SECURITY_HEADERS
        # Browsers ignore the HSTS header over plain HTTP, where an attacker could have added it (RFC 6797, 8.1).
        if scope["scheme"] in ("https", "wss") and self._hsts_seconds:
            added += ((b"strict-transport-security", b"max-age=%d" % self._hsts_seconds),)

        async def send_with_headers(message: Message) -> None:
            if message["type"] in _RESPONSE_STARTS:
                present = {name for name, _ in message["headers"]}
                missing = [header for header in added if header[0] not in present]
                # Make a new list, because the old one belongs to the response.
                message["headers"] = [*message["headers"], *missing]
            await send(message)

        await self._app(scope, receive, send_with_headers)
