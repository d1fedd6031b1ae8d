"""Messages of y-protocols: encoding and decoding."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from svgx_yjs import awareness, protocol
from svgx_yjs.lib0 import Malformed


def test_frames_have_the_bytes_of_y_protocols() -> None:
    """Proves R-SYNC-9: frames have the bytes of npm y-protocols 1.0 (sync.js, awareness.js)."""
    assert protocol.decode(bytes([0, 0, 1, 0])) == protocol.SyncStep1(b"\x00")
    assert protocol.decode(bytes([0, 1, 2, 0, 0])) == protocol.DocumentMessage(
        b"\x00\x00", whole=True
    )
    assert protocol.decode(bytes([0, 2, 2, 0, 0])) == protocol.DocumentMessage(
        b"\x00\x00", whole=False
    )
    assert protocol.decode(bytes([3])) == protocol.QueryAwareness()
    update = awareness.encode([awareness.State(5, 1, "{}")])
    assert update == bytes([1, 5, 1, 2]) + b"{}"
    assert protocol.decode(protocol.encode_awareness(update)) == protocol.AwarenessMessage(update)


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\x00",
        b"\x00\x00",
        b"\x00\x03",
        b"\x00\x02\x05\x00",
        b"\x09",
        b"\x01\x03\x01",
        b"\xff" * 12,
    ],
)
def test_malformed_frame_is_refused(frame: bytes) -> None:
    """Proves R-SYNC-8: a truncated or unknown message raises `Malformed` and no other error."""
    with pytest.raises(Malformed):
        protocol.decode(frame)


@given(st.binary(max_size=200))
def test_random_bytes_decode_or_raise_malformed(frame: bytes) -> None:
    """Proves R-SYNC-8: decoding raises no other error than `Malformed`."""
    try:
        protocol.decode(frame)
    except Malformed:
        pass


@given(st.binary(max_size=2000))
def test_encoded_messages_decode_to_the_same_content(content: bytes) -> None:
    """Proves R-SYNC-9: the server's messages are valid messages of y-protocols."""
    assert protocol.decode(protocol.encode_sync_step_1(content)) == protocol.SyncStep1(content)
    assert protocol.decode(protocol.encode_sync_step_2(content)) == protocol.DocumentMessage(
        content, whole=True
    )
    assert protocol.decode(protocol.encode_update(content)) == protocol.DocumentMessage(
        content, whole=False
    )
