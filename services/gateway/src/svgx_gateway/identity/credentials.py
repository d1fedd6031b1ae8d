"""The access token, API key or share link in a request: in a subprotocol, a header or the query."""

from starlette.datastructures import Headers
from starlette.requests import HTTPConnection

BEARER_SUBPROTOCOL = "bearer."
"""Prefix of an offered subprotocol that carries a token, because a page cannot set headers.

The server never selects such a subprotocol, so it never sends the token back.
"""


def header_token(headers: Headers) -> str:
    """Return the token in `Authorization`, or the one in `X-API-Key` without that header; else an empty string."""
    if (key := headers.get("x-api-key")) and "authorization" not in headers:
        return key.strip()
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def websocket_token(socket: HTTPConnection) -> str:
    """Return the token in a subprotocol, a header or the query, in this order, or an empty string."""
    offered = _subprotocol_token(socket) or header_token(socket.headers)
    return offered or socket.query_params.get("token", "")


def header_link(headers: Headers) -> str:
    """Return the token of the share link in `X-Share-Link`, or an empty string.

    A link in the query of an HTTP request is ignored, because proxies log queries and browsers keep them in their
    history.
    """
    return headers.get("x-share-link", "").strip()


def websocket_link(socket: HTTPConnection) -> str:
    """Return the token of the share link in a header or the query, or an empty string.

    A page cannot set headers, so a link may also come in the query or, like an access token, as a subprotocol.
    """
    return header_link(socket.headers) or socket.query_params.get("link", "")


def _subprotocol_token(socket: HTTPConnection) -> str:
    for offered in socket.scope.get("subprotocols", ()):
        if offered.startswith(BEARER_SUBPROTOCOL):
            return str(offered.removeprefix(BEARER_SUBPROTOCOL))
    return ""
