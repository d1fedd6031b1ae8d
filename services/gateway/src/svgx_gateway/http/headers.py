"""Security headers of every response, after OWASP's HTTP Headers and REST Security cheat sheets."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

_ALWAYS: tuple[tuple[bytes, bytes], ...] = (
    (b"x-content-type-options", b"nosniff"),
    # The query of a WebSocket's URL may contain an access token, which must not reach other sites in `Referer`.
    (b"referrer-policy", b"no-referrer"),
    # Responses are data, not documents: nothing in them is run, framed or fetched. Pages set their own policy.
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    # Responses are personal, and some contain tokens.
    (b"cache-control", b"no-store"),
)


class SecurityHeaders:
    """ASGI middleware that adds the headers a response does not have yet. `hsts_seconds`: 0 for no HSTS."""

    def __init__(self, app: ASGIApp, hsts_seconds: int) -> None:
        self._app = app
        self._hsts_seconds = hsts_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Add the headers to HTTP responses."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        added = _ALWAYS
        # Browsers ignore the HSTS header over plain HTTP, where an attacker could have added it (RFC 6797, 8.1).
        if scope["scheme"] == "https" and self._hsts_seconds:
            added += ((b"strict-transport-security", b"max-age=%d" % self._hsts_seconds),)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                present = {name for name, _ in message["headers"]}
                missing = [header for header in added if header[0] not in present]
                # Make a new list, because the old one belongs to the response.
                message["headers"] = [*message["headers"], *missing]
            await send(message)

        await self._app(scope, receive, send_with_headers)
