"""The opening handshake of a WebSocket: the subprotocol that is agreed on, and the token beside it."""

from starlette.requests import HTTPConnection
from starlette.websockets import WebSocket

SUBPROTOCOL = "svgx"
"""What is agreed on. A browser gives up where the server picks none of the subprotocols that it offered."""

BEARER = "bearer."
"""Begins the subprotocol that is a token: a page can set no header. It is never picked, so it is never sent back."""


def offered_token(socket: HTTPConnection) -> str:
    """The access token or API key among the subprotocols; empty when there is none."""
    for offered in socket.scope.get("subprotocols", ()):
        if offered.startswith(BEARER):
            return str(offered.removeprefix(BEARER))
    return ""


async def accept(socket: WebSocket) -> None:
    """Complete it."""
    offered = socket.scope.get("subprotocols", ())
    await socket.accept(SUBPROTOCOL if SUBPROTOCOL in offered else None)
