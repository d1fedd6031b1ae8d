"""Lists, their cursors, and the division of queried rows into pages."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from svgx_common.contract import OPERATIONS
from svgx_common.contract.api_keys import LIST_API_KEYS, ListApiKeysRequest
from svgx_common.contract.audit import LIST_AUDIT, ListAuditRequest
from svgx_common.contract.auth import (
    LIST_SESSIONS,
    LIST_USERS,
    ListSessionsRequest,
    ListUsersRequest,
)
from svgx_common.contract.errors import Invalid
from svgx_common.contract.fields.patterns import MAX_KEY_CHARACTERS
from svgx_common.contract.state import LIST_CANVASES, ListCanvasesRequest
from svgx_common.pages import Cursor, Listing

MOMENT = datetime(2026, 1, 1, 12, tzinfo=UTC)
LISTING = Listing.of(LIST_USERS, ListUsersRequest())

LISTS: dict[str, Listing] = {
    "users": LISTING,
    "users by name": Listing.of(LIST_USERS, ListUsersRequest(search="a")),
    "users by another name": Listing.of(LIST_USERS, ListUsersRequest(search="b")),
    "users by a name in capitals": Listing.of(LIST_USERS, ListUsersRequest(search="A")),
    "users with the name None": Listing.of(LIST_USERS, ListUsersRequest(search="None")),
    "deleted users": Listing.of(LIST_USERS, ListUsersRequest(deleted=True)),
    "audit": Listing.of(LIST_AUDIT, ListAuditRequest()),
    "audit of an account": Listing.of(LIST_AUDIT, ListAuditRequest(user_id="a")),
    "audit of an address": Listing.of(LIST_AUDIT, ListAuditRequest(address="a")),
    "audit since": Listing.of(LIST_AUDIT, ListAuditRequest(since=MOMENT)),
    "audit until": Listing.of(LIST_AUDIT, ListAuditRequest(until=MOMENT)),
    "audit since later": Listing.of(
        LIST_AUDIT, ListAuditRequest(since=MOMENT + timedelta(microseconds=1))
    ),
    "sessions of a": Listing.of(LIST_SESSIONS, ListSessionsRequest(), "a"),
    "sessions of b": Listing.of(LIST_SESSIONS, ListSessionsRequest(), "b"),
    "keys of a": Listing.of(LIST_API_KEYS, ListApiKeysRequest(user_id="a")),
    "keys of b": Listing.of(LIST_API_KEYS, ListApiKeysRequest(user_id="b")),
    "canvases of a": Listing.of(LIST_CANVASES, ListCanvasesRequest(), "a"),
    "canvases of b": Listing.of(LIST_CANVASES, ListCanvasesRequest(), "b"),
    "canvases without a name": Listing.of(LIST_CANVASES, ListCanvasesRequest(name=""), "a"),
    "canvases by name": Listing.of(LIST_CANVASES, ListCanvasesRequest(name="a"), "a"),
}
"""Different lists and queries, many of which differ in one point only."""


@given(
    st.datetimes(timezones=st.just(UTC)),
    st.text("abcdefghijklmnopqrstuvwxyz.~:@-_ABC", min_size=1, max_size=MAX_KEY_CHARACTERS),
)
@example(datetime.max.replace(tzinfo=UTC), "a" * MAX_KEY_CHARACTERS)
def test_encoded_cursor_is_decoded_to_the_same_cursor(at: datetime, identifier: str) -> None:
    """Proves R-STATE-14: a request accepts the encoded text, also after the longest id, a key of 200 characters."""
    cursor = Cursor(at, identifier)
    request = ListUsersRequest(cursor=LISTING.encode(cursor))
    assert LISTING.decode(request.cursor) == cursor


def test_missing_cursor_is_decoded_to_none() -> None:
    """Proves R-STATE-14: a request without a cursor gets the first page."""
    assert LISTING.decode(None) is None


@pytest.mark.parametrize("name", LISTS)
def test_cursor_of_one_list_or_query_is_refused_by_every_other(name: str) -> None:
    """Proves R-STATE-15: a page after the position of another list would leave out items."""
    cursor = Cursor(MOMENT, "5")
    text = LISTS[name].encode(cursor)
    assert LISTS[name].decode(text) == cursor
    for other in LISTS.keys() - {name}:
        with pytest.raises(Invalid, match="another") as refusal:
            LISTS[other].decode(text)
        assert refusal.value.field == "cursor"


def test_size_of_the_page_and_spelling_of_a_time_are_no_part_of_the_query() -> None:
    """Proves R-STATE-15: a client may ask for a larger next page, and may write the same moment in another zone."""
    same_moment = MOMENT.astimezone(timezone(timedelta(hours=5)))
    first = Listing.of(LIST_AUDIT, ListAuditRequest(since=MOMENT, limit=1))
    assert first == Listing.of(
        LIST_AUDIT, ListAuditRequest(since=same_moment, limit=200, cursor="x")
    )


@pytest.mark.parametrize(
    "operation",
    [each for each in OPERATIONS if "cursor" in each.request.model_fields],
    ids=lambda each: each.name,
)
def test_every_filter_of_every_list_is_a_part_of_its_query(operation: Any) -> None:
    """Proves R-STATE-15: this test also covers lists and filters that are added later."""
    fields = operation.request.model_fields
    plain = operation.request(**{name: "a" for name in fields if fields[name].is_required()})
    for name in fields.keys() - {"cursor", "limit"}:
        filtered = plain.model_copy(update={name: "other"})
        assert Listing.of(operation, filtered) != Listing.of(operation, plain), name


@given(st.text(max_size=512))
def test_text_that_is_not_an_encoded_cursor_is_refused(text: str) -> None:
    """Proves R-STATE-15: a text is accepted only if `encode` returns the same text for the decoded cursor."""
    try:
        cursor = LISTING.decode(text)
    except Invalid:
        return
    assert cursor is not None
    assert LISTING.encode(cursor) == text


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"x",
        b"1",
        b"1 ",
        b" a",
        b"1 a",
        b"1 MARK",
        b"1 MARK ",
        b"MARK 1 a",
        b"+1 MARK a",
        b"1_0 MARK a",
        b" 1 MARK a",
        b"01 MARK a",
        b"9" * 40 + b" MARK a",
        b"1 MARK \0",
        b"\xff MARK 1",
        b"1  a",
        b"1 mark a",
    ],
)
def test_base64_of_anything_but_a_cursor_is_refused(content: bytes) -> None:
    """Proves R-STATE-15: the content lacks a part, or has a part that `encode` never writes."""
    text = content.replace(b"MARK", LISTING.mark.encode())
    with pytest.raises(Invalid, match="cursor"):
        LISTING.decode(urlsafe_b64encode(text).decode().rstrip("="))


def test_cursor_with_padding_or_another_alphabet_is_refused() -> None:
    """Proves R-STATE-15: each position has exactly one encoded text."""
    text = LISTING.encode(Cursor(MOMENT, "id"))
    assert urlsafe_b64decode(text + "=" * (-len(text) % 4))
    for wrong in (text + "=", text + "\n", " " + text, text[:-1]):
        with pytest.raises(Invalid, match="cursor"):
            LISTING.decode(wrong)
    other = replace(LISTING, mark="?>?>?>?>?>?")
    standard = other.encode(Cursor(MOMENT, "i")).replace("-", "+").replace("_", "/")
    with pytest.raises(Invalid, match="must be the value `next` of a page"):
        other.decode(standard)


def _position(number: int) -> Cursor:
    return Cursor(datetime(2026, 1, 1, tzinfo=UTC), str(number))


@pytest.mark.parametrize("count", [0, 1, 2])
def test_page_with_at_most_limit_rows_is_the_last(count: int) -> None:
    """Proves R-STATE-14: without a further row there is no next page."""
    rows = list(range(count))
    assert LISTING.page_of(rows, 2, _position) == (rows, None)


def test_page_with_a_further_row_ends_at_the_limit_and_names_its_last_row() -> None:
    """Proves R-STATE-14: the next page starts after the last row of this page."""
    rows, cursor = LISTING.page_of([1, 2, 3], 2, _position)
    assert rows == [1, 2]
    assert cursor is not None
    assert LISTING.decode(cursor) == _position(2)
