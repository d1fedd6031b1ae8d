"""The pages `/docs` and `/openapi.json`. `/` redirects to `/docs`.

Swagger UI comes from a Python package, so the page loads nothing from other hosts.
"""

import gzip
import json
from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files
from typing import Any

from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from svgx_gateway.http.compression import accepts_gzip

_PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>SVGX Engine</title>
<link rel="stylesheet" href="/docs/swagger-ui.css">
</head>
<body>
<div id="swagger-ui"></div>
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script>
</body>
</html>
"""
# A separate file, because the content security policy forbids scripts inside the page.
_START_SCRIPT = (
    "SwaggerUIBundle({ url: '/openapi.json', dom_id: '#swagger-ui', deepLinking: true })\n"
)
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HTML, _SCRIPT = "text/html; charset=utf-8", "text/javascript; charset=utf-8"
_CACHED = {"Cache-Control": "public, max-age=86400"}

MAX_UNCOMPRESSED_BYTES = 500
"""Largest content, in bytes, that is never compressed, because compression would gain nothing."""


class StaticPage:
    """An ASGI application with one response.

    The content is compressed once, at the start, because compression for each request would let any client use up
    processor time.
    """

    def __init__(
        self, content: bytes, media_type: str, headers: Mapping[str, str] | None = None
    ) -> None:
        self._headers = {"Content-Type": media_type, "Vary": "Accept-Encoding", **(headers or {})}
        self._content = content
        self._compressed = gzip.compress(content) if len(content) > MAX_UNCOMPRESSED_BYTES else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the content, compressed if the client accepts gzip."""
        accepted = Headers(scope=scope).get("accept-encoding", "")
        if self._compressed is not None and accepts_gzip(accepted):
            headers = {**self._headers, "Content-Encoding": "gzip"}
            response = Response(self._compressed, headers=headers)
        else:
            response = Response(self._content, headers=self._headers)
        await response(scope, receive, send)


async def _redirect_to_docs(_: Request) -> Response:
    """Redirect a browser that opens the gateway's address."""
    return RedirectResponse("/docs")


def docs_routes(document: dict[str, Any], middleware: Sequence[Middleware]) -> list[Route]:
    """Return the routes of the page, of its scripts and styles, of the OpenAPI `document`, and of `/`."""
    assets = files("fastapi_offline") / "static"
    bundle = (assets / "swagger-ui-bundle.js").read_bytes()
    style = (assets / "swagger-ui.css").read_bytes()
    pages = {
        "/docs": StaticPage(_PAGE.encode(), _HTML, {"Content-Security-Policy": _POLICY}),
        "/docs/swagger-ui-bundle.js": StaticPage(bundle, _SCRIPT, _CACHED),
        "/docs/swagger-ui.css": StaticPage(style, "text/css", _CACHED),
        "/docs/start.js": StaticPage(_START_SCRIPT.encode(), _SCRIPT, _CACHED),
        "/openapi.json": StaticPage(json.dumps(document).encode(), "application/json"),
    }
    endpoints: dict[str, Callable[..., Any]] = {"/": _redirect_to_docs, **pages}
    return [
        Route(path, endpoint, methods=["GET"], name=path, middleware=middleware)
        for path, endpoint in endpoints.items()
    ]
