"""The frames of WebSocket messages (RFC 6455, 5.2): the server's encoder, and a decoder of the most common frames."""

from websockets.speedups import apply_mask

_FINAL_BINARY, _FINAL_TEXT = 0x82, 0x81
"""Values of the first byte: the last frame of a message, with binary data or with text."""

_LENGTH_16, _LENGTH_64 = 126, 127
"""Values of the second byte: the length follows in two or in eight bytes."""

_MASKED = 0x80
_SHORT_HEAD = 6
"""Bytes before the payload of a short frame of a client: two bytes, and the mask of four bytes."""


def encode_frame(message: bytes) -> bytes:
    """Return the frame of a binary message. A server masks nothing, so all clients get the same bytes."""
    return _encode(_FINAL_BINARY, message)


def encode_text_frame(message: bytes) -> bytes:
    """Return the frame of a text message, which is UTF-8."""
    return _encode(_FINAL_TEXT, message)


def _encode(first: int, message: bytes) -> bytes:
    length = len(message)
    if length < _LENGTH_16:
        return bytes((first, length)) + message
    if length < 1 << 16:
        return bytes((first, _LENGTH_16)) + length.to_bytes(2) + message
    return bytes((first, _LENGTH_64)) + length.to_bytes(8) + message


def read_frame(data: bytes, position: int, max_bytes: int) -> tuple[bytes, int] | None:
    """Return the message of the frame at `position`, and the position after the frame.

    Return None unless the frame is complete and is the only frame of a binary message, with at most `max_bytes` and at
    most 65,535 bytes. The parser of `websockets` reads all other bytes.
    """
    start = position + _SHORT_HEAD
    if start > len(data) or data[position] != _FINAL_BINARY:
        return None
    # A client sets the highest bit, because it masks its frames.
    length = data[position + 1] - _MASKED
    if length < 0 or length > _LENGTH_16:
        return None
    if length == _LENGTH_16:
        start += 2
        length = int.from_bytes(data[position + 2 : position + 4])
        if length < _LENGTH_16:
            return None
    end = start + length
    if end > len(data) or length > max_bytes:
        return None
    return apply_mask(data[start:end], data[start - 4 : start]), end
