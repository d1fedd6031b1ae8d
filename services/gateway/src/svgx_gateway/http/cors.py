"""Cross-origin resource sharing (CORS): the web pages that may read responses."""

from collections.abc import Sequence

from fastapi.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

_REQUEST_HEADERS = [
    *("Authorization", "X-API-Key", "X-Share-Link"),
    *("Content-Type", "Idempotency-Key", "traceparent"),
]
_RESPONSE_HEADERS = [
    "traceresponse",
    "Content-Disposition",
    "Retry-After",
    "Idempotency-Replayed",
    "Svgx-Left-Out",
    "Svgx-Quota",
    "RateLimit",
    "RateLimit-Policy",
    "X-RateLimit-Limit",
    "X-RateLimit-Remaining",
    "X-RateLimit-Reset",
]


class Cors(CORSMiddleware):
    """CORS middleware without credentials. Clients send their tokens in a header, not in cookies."""

    def __init__(self, app: ASGIApp, allowed: Sequence[str]) -> None:
        super().__init__(
            app,
            allow_origins=allowed,
            allow_methods=["*"],
            allow_headers=_REQUEST_HEADERS,
            expose_headers=_RESPONSE_HEADERS,
            allow_credentials=False,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle requests with an `Origin` header. Pass on all others, without `Vary: Origin`."""
        # `Vary` is not needed, because `Cache-Control: no-store` keeps responses out of caches.
        if any(name == b"origin" for name, _ in scope["headers"]):
            await super().__call__(scope, receive, send)
        else:
            await self.app(scope, receive, send)
