"""Headers every answer has, so that a browser makes nothing of it that it is not.

After OWASP's HTTP Headers and REST Security cheat sheets.
"""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

_ALWAYS: tuple[tuple[bytes, bytes], ...] = (
    (b"x-content-type-options", b"nosniff"),
    # The WebSocket's token stands in a query string.
    (b"referrer-policy", b"no-referrer"),
    # Data: nothing in it is run, shown in a frame or fetched. Pages bring their own policy.
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    # Answers are somebody's own, and some are tokens.
    (b"cache-control", b"no-store"),
)


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
        added = _ALWAYS
        # Over plain HTTP anybody on the way could have written it, so browsers ignore it there (RFC 6797, 8.1).
        if scope["scheme"] == "https" and self._hsts_seconds:
            added += ((b"strict-transport-security", b"max-age=%d" % self._hsts_seconds),)

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                said = {name for name, _ in message["headers"]}
                missing = [header for header in added if header[0] not in said]
                # A new list: the answer may be one that is given again.
                message["headers"] = [*message["headers"], *missing]
            await send(message)

        await self._app(scope, receive, with_headers)
