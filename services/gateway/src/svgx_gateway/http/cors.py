"""Which web pages may read answers (CORS)."""

from collections.abc import Sequence

from fastapi.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

_SENT = ["Authorization", "X-API-Key", "Content-Type", "Idempotency-Key", "traceparent"]
_READ = [
    "traceresponse",
    "Retry-After",
    "Idempotency-Replayed",
    "RateLimit",
    "RateLimit-Policy",
    "X-RateLimit-Limit",
    "X-RateLimit-Remaining",
    "X-RateLimit-Reset",
]


class Cors(CORSMiddleware):
    """ASGI middleware. `*` never comes together with credentials; tokens travel in a header, so none are needed."""

    def __init__(self, app: ASGIApp, allowed: Sequence[str]) -> None:
        super().__init__(
            app,
            allow_origins=allowed,
            allow_methods=["*"],
            allow_headers=_SENT,
            expose_headers=_READ,
            allow_credentials=False,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI. Who says no `Origin` gets no `Vary: Origin` either: no cache keeps what a page could ask for."""
        if any(name == b"origin" for name, _ in scope["headers"]):
            await super().__call__(scope, receive, send)
        else:
            await self.app(scope, receive, send)
