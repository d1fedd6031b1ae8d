"""The opening handshake of a WebSocket: the agreed subprotocol, and the token that a client may offer beside it."""

from starlette.requests import HTTPConnection
from starlette.websockets import WebSocket

SUBPROTOCOL = "svgx"
"""The subprotocol of the server.

A browser that offers subprotocols fails the connection when the server selects none of them.
"""

BEARER = "bearer."
"""Prefix of an offered subprotocol that carries a token, because a page cannot set headers.

The server never selects such a subprotocol, so it never sends the token back.
"""


def offered_token(socket: HTTPConnection) -> str:
    """Return the access token or API key among the offered subprotocols, or an empty string."""
    for offered in socket.scope.get("subprotocols", ()):
        if offered.startswith(BEARER):
            return str(offered.removeprefix(BEARER))
    return ""


async def accept(socket: WebSocket) -> None:
    """Complete the handshake. Select `SUBPROTOCOL` if the client offered it."""
    offered = socket.scope.get("subprotocols", ())
    await socket.accept(SUBPROTOCOL if SUBPROTOCOL in offered else None)
