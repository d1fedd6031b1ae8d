"""Cross-origin resource sharing (CORS): the web pages that may read responses."""

from collections.abc import Sequence

from fastapi.middleware.cors import CORSMiddleware
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from svgx_common.contract.errors import BadRequest
from svgx_gateway.http import problems

_REQUEST_HEADERS = [
    *("Authorization", "X-API-Key", "X-Share-Link"),
    *("Content-Type", "Idempotency-Key", "traceparent", "tracestate"),
]
_RESPONSE_HEADERS = [
    "traceresponse",
    "Content-Disposition",
    "Retry-After",
    "WWW-Authenticate",
    "Allow",
    "Accept-Encoding",
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
    """CORS middleware without credentials. Clients send their tokens in a header, not in cookies.

    `allowed` are origins in lower case, or `*`.
    """

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
        # `Vary` is not needed, because `Cache-Control: no-store` keeps responses out of caches. Caches keep only the
        # scripts and styles of `/docs`, which no other origin needs.
        if any(name == b"origin" for name, _ in scope["headers"]):
            await super().__call__(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    def is_allowed_origin(self, origin: str) -> bool:
        """Return whether an origin is allowed. Upper and lower case are equal, as for WebSockets."""
        return super().is_allowed_origin(origin.lower())

    def preflight_response(self, request_headers: Headers) -> Response:
        """Return the response to a preflight request. A refusal is a problem document that names the refused part."""
        response = super().preflight_response(request_headers)
        if response.status_code < 400:
            return response
        refusal = problems.response(BadRequest(bytes(response.body).decode()))
        for name, value in response.headers.items():
            refusal.headers.setdefault(name, value)
        return refusal
