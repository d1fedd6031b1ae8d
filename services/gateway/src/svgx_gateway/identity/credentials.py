"""The access token, API key or share link in a request: in a subprotocol, a header or the query."""

from starlette.requests import HTTPConnection
from starlette.types import Scope

from svgx_gateway.request_fields import fields_of, text_of

BEARER_SUBPROTOCOL = "bearer."
"""Prefix of an offered subprotocol that carries a token.

Pages offer such a subprotocol because they cannot set the headers of a WebSocket. The server never selects it, and so
never sends the token back.
"""


def header_token(scope: Scope) -> str:
    """Return the bearer token in `Authorization`, or an empty string.

    Without the header `Authorization`, return the token in `X-API-Key`.
    """
    if b"authorization" not in fields_of(scope):
        return header_api_key(scope)
    scheme, _, token = text_of(scope, b"authorization").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def header_api_key(scope: Scope) -> str:
    """Return the text in `X-API-Key`, or an empty string."""
    return text_of(scope, b"x-api-key").strip()


def websocket_token(socket: HTTPConnection) -> str:
    """Return the token in a subprotocol, a header or the query, in this order, or an empty string."""
    token = _subprotocol_token(socket) or header_token(socket.scope)
    return token or socket.query_params.get("token", "")


def header_link(scope: Scope) -> str:
    """Return the token of the share link in `X-Share-Link`, or an empty string.

    A link in the query of an HTTP request is ignored, because proxies log queries and browsers keep them in their
    history.
    """
    return text_of(scope, b"x-share-link").strip()


def websocket_link(socket: HTTPConnection) -> str:
    """Return the token of the share link in a header or the query, or an empty string.

    Pages use the query because they cannot set the headers of a WebSocket. A page may also send the token of a link in
    place of an access token, in a subprotocol; `websocket_token` returns it.
    """
    return header_link(socket.scope) or socket.query_params.get("link", "")


def _subprotocol_token(socket: HTTPConnection) -> str:
    for offered in socket.scope.get("subprotocols", ()):
        if offered.startswith(BEARER_SUBPROTOCOL):
            return str(offered.removeprefix(BEARER_SUBPROTOCOL))
    return ""
