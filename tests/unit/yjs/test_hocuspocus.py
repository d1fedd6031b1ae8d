"""Messages of Hocuspocus: malformed messages, names and sessions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from svgx_yjs import hocuspocus, protocol
from svgx_yjs.lib0 import Encoder, Malformed


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\x01",
        b"\x02\xff\xff\x03",
        Encoder().text("x" * 257).uint(7).finish(),
        b"\xff" * 12,
    ],
)
def test_message_without_a_readable_name_is_refused(frame: bytes) -> None:
    """Proves R-HOCUS-8: a truncated, long or undecodable name raises `Malformed`."""
    with pytest.raises(Malformed):
        hocuspocus.decode(frame)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00",
        b"\x00\x03\x00",
        b"\x00\x02\x05\xff",
        b"\x01\x05\x00",
        b"\x02",
        b"\x02\x00\x05a",
        b"\x0b",
        b"\x64\x01",
    ],
)
@pytest.mark.parametrize("name", ["", "a", "canvas\0session"])
def test_malformed_message_behind_a_name_keeps_its_name(name: str, content: bytes) -> None:
    """Proves R-HOCUS-8: a truncated message or an unknown type is malformed, and its document is known."""
    named = hocuspocus.decode(hocuspocus.Writer(name).named(content))
    assert isinstance(named, hocuspocus.NamedMessage)
    assert named.name == name
    assert isinstance(named.message, hocuspocus.MalformedMessage)
    assert named.message.reason


@given(st.binary(max_size=200))
def test_random_bytes_decode_or_raise_malformed(frame: bytes) -> None:
    """Proves R-HOCUS-8: decoding raises no other error than `Malformed`."""
    try:
        hocuspocus.decode(frame)
    except Malformed:
        pass


@pytest.mark.parametrize("name", ["", "x" * 256, "é" * 128, "canvas\0session"])
def test_message_of_y_protocols_keeps_its_content_behind_a_name(name: str) -> None:
    """Proves R-HOCUS-8: after the name, the bytes are a message of y-protocols."""
    message = protocol.encode_update(b"\x00\x00")
    named = hocuspocus.decode(hocuspocus.Writer(name).named(message))
    assert named == hocuspocus.NamedMessage(name, protocol.decode(message))


def test_session_is_no_part_of_the_document_name() -> None:
    """Proves R-HOCUS-4: the id of a session follows the first NUL."""
    assert hocuspocus.document_of("canvas\0a\0b") == "canvas"
    assert hocuspocus.document_of("canvas") == "canvas"
