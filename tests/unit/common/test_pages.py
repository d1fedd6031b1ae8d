"""Cursors come back as they were, and nothing else is one."""

from base64 import urlsafe_b64encode
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from svgx_common.contract.errors import Invalid
from svgx_common.pages import Cursor


@given(
    st.datetimes(timezones=st.just(UTC)),
    st.text("abcdefghijklmnopqrstuvwxyz0123456789-_ABC", min_size=1, max_size=64),
)
def test_round_trip(at: datetime, identifier: str) -> None:
    """Proves R-STATE-14."""
    cursor = Cursor(at, identifier)
    assert Cursor.decode(cursor.encode()) == cursor
    assert len(cursor.encode()) <= 256


@given(st.text(max_size=256))
def test_any_text_is_refused_or_is_a_cursor(text: str) -> None:
    """Proves R-STATE-15."""
    try:
        cursor = Cursor.decode(text)
    except Invalid:
        return
    assert cursor.encode() == text


@pytest.mark.parametrize(
    "content",
    [b"", b"x", b"1", b"1 ", b" a", b"+1 a", b"1_0 a", b"9" * 40 + b" a", b"1 \0", b"\xff 1"],
)
def test_what_decodes_but_was_not_made_here(content: bytes) -> None:
    """Proves R-STATE-15."""
    with pytest.raises(Invalid, match="cursor"):
        Cursor.decode(urlsafe_b64encode(content).decode().rstrip("="))
