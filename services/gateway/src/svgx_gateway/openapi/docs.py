"""`/docs`: the OpenAPI document for people. Swagger UI comes from a wheel; no other host is asked for anything."""

import gzip
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Self

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from svgx_gateway.http import problems
from svgx_gateway.http.compression import reads_gzip

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
# A script of its own: the policy lets nothing run that stands in the page.
_START = "SwaggerUIBundle({ url: '/openapi.json', dom_id: '#swagger-ui', deepLinking: true })\n"
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HTML, _SCRIPT = "text/html; charset=utf-8", "text/javascript; charset=utf-8"
SMALL = 500
"""Bytes up to which compressing gains nothing."""
_KEPT = {"Cache-Control": "public, max-age=86400"}


@dataclass(frozen=True, slots=True)
class _Page:
    """An answer that is always the same, and the same compressed."""

    content: bytes
    compressed: bytes | None
    headers: Mapping[str, str]

    @classmethod
    def of(cls, content: bytes, media_type: str, headers: Mapping[str, str] | None = None) -> Self:
        """Compress it, once: for everybody who asks it would be work that anybody can cause."""
        compressed = gzip.compress(content) if len(content) > SMALL else None
        said = {"Content-Type": media_type, "Vary": "Accept-Encoding", **(headers or {})}
        return cls(content, compressed, said)

    def answer(self, request: Request) -> Response:
        """For those who read gzip, or as it is."""
        accepted = request.headers.get("accept-encoding", "")
        if self.compressed is not None and reads_gzip(accepted):
            return Response(self.compressed, headers={**self.headers, "Content-Encoding": "gzip"})
        return Response(self.content, headers=self.headers)


class Docs:
    """ASGI middleware: the page, what it is made of, and the document."""

    def __init__(self, app: ASGIApp, document: dict[str, Any]) -> None:
        self._app = app
        assets = files("fastapi_offline") / "static"
        page = _Page.of(_PAGE.encode(), _HTML, {"Content-Security-Policy": _POLICY})
        bundle = (assets / "swagger-ui-bundle.js").read_bytes()
        style = (assets / "swagger-ui.css").read_bytes()
        self._pages = {
            "/docs": page,
            "/docs/": page,
            "/docs/swagger-ui-bundle.js": _Page.of(bundle, _SCRIPT, _KEPT),
            "/docs/swagger-ui.css": _Page.of(style, "text/css", _KEPT),
            "/docs/start.js": _Page.of(_START.encode(), _SCRIPT, _KEPT),
            "/openapi.json": _Page.of(json.dumps(document).encode(), "application/json"),
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        page = self._pages.get(scope["path"]) if scope["type"] == "http" else None
        if page is None:
            await self._app(scope, receive, send)
        elif scope["method"] not in ("GET", "HEAD"):
            await problems.not_allowed(("GET", "HEAD"))(scope, receive, send)
        else:
            await page.answer(Request(scope))(scope, receive, send)
