"""Headers every answer has, so that a browser makes nothing of it that it is not.

After OWASP's HTTP Headers and REST Security cheat sheets.
"""

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_ALWAYS = {
    "X-Content-Type-Options": "nosniff",
    # The WebSocket's token stands in a query string.
    "Referrer-Policy": "no-referrer",
    # Data: nothing in it is run, shown in a frame or fetched. Pages bring their own policy.
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    # Answers are somebody's own, and some are tokens.
    "Cache-Control": "no-store",
}


class SecurityHeaders:
    """ASGI middleware. What an answer says itself stays. `hsts_seconds`: 0 for no HSTS."""

    def __init__(self, app: ASGIApp, hsts_seconds: int) -> None:
        self._app = app
        self._hsts_seconds = hsts_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        # Over plain HTTP anybody on the way could have written it, so browsers ignore it there (RFC 6797, 8.1).
        tls = scope["scheme"] == "https"

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _ALWAYS.items():
                    headers.setdefault(name, value)
                if tls and self._hsts_seconds:
                    headers["Strict-Transport-Security"] = f"max-age={self._hsts_seconds}"
            await send(message)

        await self._app(scope, receive, with_headers)
