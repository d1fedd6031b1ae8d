"""The connection of a JSON client without a network, and the answer to the client's handshake."""

from collections.abc import Callable
from typing import cast

from starlette.websockets import WebSocket

from svgx_common.contract.live.json_messages import HandshakeAccepted
from svgx_common.contract.policy import CanvasRole, Role
from svgx_common.messaging.caller import Caller
from svgx_gateway.memory.outgoing import Outgoing
from svgx_gateway.websocket.json_clients.connection import JsonConnection

CLIENT = 7
"""The id of the client among the members."""


def json_connection(write_frame: Callable[[bytes], bool]) -> JsonConnection:
    """Return the connection of an editor. `write_frame` takes the frames, and returns False while the client lags."""
    return JsonConnection(
        cast(WebSocket, None),
        Caller("u", "ann", Role.EDITOR, "s"),
        CanvasRole.EDITOR,
        client=CLIENT,
        inflow=None,
        write_frame=write_frame,
        handshake=None,
        outgoing=Outgoing(),
        transport_bytes=lambda: 0,
    )


def handshake_answer(revision: int = 1) -> HandshakeAccepted:
    """Return the answer to the client's handshake, without other members."""
    return HandshakeAccepted(
        canvas_id="c",
        session_id=None,
        client=CLIENT,
        user_id="u",
        role="editor",
        revision=revision,
        members=[],
        locks=None,
    )
