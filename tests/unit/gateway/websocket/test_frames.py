"""Messages are encoded as WebSocket frames."""

import pytest
from websockets.frames import Frame, Opcode

from svgx_gateway.websocket.transport.frames import encode_frame


@pytest.mark.parametrize("length", [0, 1, 125, 126, 127, 65535, 65536, 100_000])
def test_encoded_frame_equals_the_frame_of_the_websockets_library(length: int) -> None:
    """The length field has one, three or nine bytes (RFC 6455, 5.2)."""
    message = bytes(length)
    assert encode_frame(message) == Frame(Opcode.BINARY, message).serialize(mask=False)
