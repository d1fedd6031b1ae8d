"""The cache of messages that are encoded with the name of their document."""

import pytest

from svgx_gateway.websocket.hocuspocus.connection import CACHED_BYTES, NamedFrames
from svgx_gateway.websocket.transport.frames import encode_frame
from svgx_yjs.hocuspocus import Writer


@pytest.mark.parametrize(("size", "is_kept"), [(CACHED_BYTES, True), (CACHED_BYTES + 1, False)])
def test_only_small_messages_are_kept(size: int, is_kept: bool) -> None:
    """A large sync reply does not stay in memory after it was sent."""
    frames, writer, message = NamedFrames(), Writer("a"), bytes(size)
    first, second = (frames.named(writer, message) for _ in range(2))
    named = writer.named(message)
    assert first == second == (named, encode_frame(named))
    assert (first[1] is second[1]) is is_kept
