"""The opening handshake of a WebSocket, and the subprotocol that the server selects."""

from starlette.websockets import WebSocket

SUBPROTOCOL = "svgx"
"""The subprotocol of the server.

A browser that offers subprotocols fails the connection when the server selects none of them.
"""


async def accept(socket: WebSocket) -> None:
    """Complete the handshake. Select `SUBPROTOCOL` if the client offered it."""
    offered = socket.scope.get("subprotocols", ())
    await socket.accept(SUBPROTOCOL if SUBPROTOCOL in offered else None)
