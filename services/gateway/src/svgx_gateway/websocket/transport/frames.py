"""The encoding of a WebSocket message as one frame of the server (RFC 6455, 5.2)."""

_FINAL_BINARY = 0x82
"""The first byte: the last frame of a message, with binary data."""

_LENGTH_16, _LENGTH_64 = 126, 127
"""Values of the second byte: the length follows in two or in eight bytes."""


def encode_frame(message: bytes) -> bytes:
    """Return the frame of a binary message. A server masks nothing, so all clients get the same bytes."""
    length = len(message)
    if length < _LENGTH_16:
        return bytes((_FINAL_BINARY, length)) + message
    if length < 1 << 16:
        return bytes((_FINAL_BINARY, _LENGTH_16)) + length.to_bytes(2) + message
    return bytes((_FINAL_BINARY, _LENGTH_64)) + length.to_bytes(8) + message
