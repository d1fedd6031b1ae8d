"""The opening handshake of a WebSocket: its refusal, and the subprotocol that the server selects."""

from collections.abc import Mapping

from starlette.datastructures import Headers
from starlette.websockets import WebSocket

from svgx_common.contract.errors import (
    BadRequest,
    Forbidden,
    HeadersTooLarge,
    Internal,
    MethodNotAllowed,
    SvgxError,
    Unavailable,
)
from svgx_gateway.http import problems

SUBPROTOCOL = "svgx"
"""The subprotocol of the server.

A browser that offers subprotocols fails the connection when the server selects none of them.
"""

MAX_DETAIL_LENGTH = 200
"""Largest number of characters of the reason why a handshake is refused. The rest is cut off."""


async def accept(socket: WebSocket, headers: Mapping[str, str]) -> None:
    """Complete the handshake with these headers. Select `SUBPROTOCOL` if the client offered it."""
    offered = socket.scope.get("subprotocols", ())
    await socket.accept(SUBPROTOCOL if SUBPROTOCOL in offered else None, Headers(headers).raw)


async def refuse(socket: WebSocket, error: SvgxError, headers: Mapping[str, str]) -> None:
    """Answer the handshake with the problem document of an error and these headers, in place of the upgrade."""
    response = problems.response(error)
    response.headers.update(headers)
    await socket.send_denial_response(response)


def refusal(status: int, text: str) -> SvgxError:
    """Return the error of a handshake that `websockets` or uvicorn refuses with this HTTP status and text.

    The text may quote a long header, so it is cut off after `MAX_DETAIL_LENGTH` characters.
    """
    detail = text.strip()[:MAX_DETAIL_LENGTH]
    match status:
        case 403:
            return Forbidden(detail)
        case 405:
            return MethodNotAllowed("a WebSocket handshake is a GET request")
        case 414 | 431:
            return HeadersTooLarge(detail)
        case 500:
            return Internal()
        case 503:
            return Unavailable("the service is stopping; try again")
        case _:
            return BadRequest(detail)
