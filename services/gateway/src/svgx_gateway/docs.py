"""`/docs`: the OpenAPI document for people. Swagger UI comes from a wheel; no other host is asked for anything."""

from collections.abc import Callable
from functools import partial
from importlib.resources import files
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from svgx_gateway.compression import compress_large

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
_SCRIPT = "text/javascript"
_KEEP = "public, max-age=86400"


def routes(document: dict[str, Any]) -> list[Route]:
    """The page, what it is made of, and the document."""
    assets = files("fastapi_offline") / "static"
    parts = {
        "/docs/swagger-ui-bundle.js": ((assets / "swagger-ui-bundle.js").read_bytes(), _SCRIPT),
        "/docs/swagger-ui.css": ((assets / "swagger-ui.css").read_bytes(), "text/css"),
        "/docs/start.js": (_START.encode(), _SCRIPT),
    }
    return [
        Route("/openapi.json", _page(lambda: JSONResponse(document))),
        *(Route(path, _page(_html)) for path in ("/docs", "/docs/")),
        *(
            Route(path, _page(partial(_asset, content, media_type)))
            for path, (content, media_type) in parts.items()
        ),
    ]


def _html() -> Response:
    return HTMLResponse(_PAGE, headers={"Content-Security-Policy": _POLICY})


def _asset(content: bytes, media_type: str) -> Response:
    return Response(content, media_type=media_type, headers={"Cache-Control": _KEEP})


def _page(make: Callable[[], Response]) -> Any:
    """A new answer each time: those on its way out write into its headers."""

    async def page(request: Request) -> Response:
        response = make()
        await compress_large(response, request.headers)
        return response

    return page
