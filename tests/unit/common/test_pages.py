"""Cursors, and the division of queried rows into pages."""

from base64 import urlsafe_b64encode
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from svgx_common.contract.errors import Invalid
from svgx_common.pages import Cursor, page_of


@given(
    st.datetimes(timezones=st.just(UTC)),
    st.text("abcdefghijklmnopqrstuvwxyz0123456789-_ABC", min_size=1, max_size=64),
)
def test_encoded_cursor_is_decoded_to_the_same_cursor(at: datetime, identifier: str) -> None:
    """Proves R-STATE-14: the encoded text has at most 256 characters."""
    cursor = Cursor(at, identifier)
    assert Cursor.decode(cursor.encode()) == cursor
    assert len(cursor.encode()) <= 256


@given(st.text(max_size=256))
def test_text_that_is_not_an_encoded_cursor_is_refused(text: str) -> None:
    """Proves R-STATE-15: a text is accepted only if `encode` returns the same text for the decoded cursor."""
    try:
        cursor = Cursor.decode(text)
    except Invalid:
        return
    assert cursor.encode() == text


@pytest.mark.parametrize(
    "content",
    [b"", b"x", b"1", b"1 ", b" a", b"+1 a", b"1_0 a", b"9" * 40 + b" a", b"1 \0", b"\xff 1"],
)
def test_base64_of_anything_but_a_cursor_is_refused(content: bytes) -> None:
    """Proves R-STATE-15: the content lacks a number or an id, or has one that `encode` never writes."""
    with pytest.raises(Invalid, match="cursor"):
        Cursor.decode(urlsafe_b64encode(content).decode().rstrip("="))


def _position(number: int) -> Cursor:
    return Cursor(datetime(2026, 1, 1, tzinfo=UTC), str(number))


@pytest.mark.parametrize("count", [0, 1, 2])
def test_page_with_at_most_limit_rows_is_the_last(count: int) -> None:
    """Proves R-STATE-14: without a further row there is no next page."""
    rows = list(range(count))
    assert page_of(rows, 2, _position) == (rows, None)


def test_page_with_a_further_row_ends_at_the_limit_and_names_its_last_row() -> None:
    """Proves R-STATE-14: the next page starts after the last row of this one."""
    rows, cursor = page_of([1, 2, 3], 2, _position)
    assert rows == [1, 2]
    assert cursor is not None
    assert Cursor.decode(cursor) == _position(2)
