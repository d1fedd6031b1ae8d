"""The access token, API key or share link in a request: in a subprotocol, a header or the query."""

from starlette.requests import HTTPConnection
from starlette.types import Scope

from svgx_gateway.request_fields import fields_of, text_of

BEARER_SUBPROTOCOL = "bearer."
"""Prefix of an offered subprotocol that carries a token, because a page cannot set headers.

The server never selects such a subprotocol, so it never sends the token back.
"""


def header_token(scope: Scope) -> str:
    """Return the token in `Authorization`, or the one in `X-API-Key` without that header; else an empty string."""
    if b"authorization" not in fields_of(scope):
        return text_of(scope, b"x-api-key").strip()
    scheme, _, token = text_of(scope, b"authorization").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def websocket_token(socket: HTTPConnection) -> str:
    """Return the token in a subprotocol, a header or the query, in this order, or an empty string."""
    offered = _subprotocol_token(socket) or header_token(socket.scope)
    return offered or socket.query_params.get("token", "")


def header_link(scope: Scope) -> str:
    """Return the token of the share link in `X-Share-Link`, or an empty string.

    A link in the query of an HTTP request is ignored, because proxies log queries and browsers keep them in their
    history.
    """
    return text_of(scope, b"x-share-link").strip()


def websocket_link(socket: HTTPConnection) -> str:
    """Return the token of the share link in a header or the query, or an empty string.

    A page cannot set headers, so a link may also come in the query or, like an access token, as a subprotocol.
    """
    return header_link(socket.scope) or socket.query_params.get("link", "")


def _subprotocol_token(socket: HTTPConnection) -> str:
    for offered in socket.scope.get("subprotocols", ()):
        if offered.startswith(BEARER_SUBPROTOCOL):
            return str(offered.removeprefix(BEARER_SUBPROTOCOL))
    return ""
