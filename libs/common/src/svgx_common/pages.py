"""Pages of lists that are ordered by time and id, and their opaque cursors."""

import base64
import binascii
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from svgx_common.contract.errors import Invalid
from svgx_common.contract.operation import Operation, RequestModel

Row = TypeVar("Row")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

MARK_BYTES = 8
"""Number of bytes of the mark in a cursor. The mark is a hash that identifies the list and the query.

A forged mark does no harm, because a list shows only items that its caller may see.
"""


@dataclass(frozen=True, slots=True)
class Cursor:
    """The position of the last item of a page. The next page starts after it."""

    at: datetime
    id: str


@dataclass(frozen=True, slots=True)
class Listing:
    """One query on a list. It writes and reads the cursors of its pages, and refuses all other cursors.

    A cursor of another list names a position that this list does not have. With such a cursor, a page would skip items.
    """

    mark: str
    """The part of a cursor that identifies the list and the query."""

    @classmethod
    def of(
        cls, operation: Operation[Any, Any], request: RequestModel, owner: str | None = None
    ) -> "Listing":
        """Return the list that a request asks for. `owner` is the account, if each account has a list of its own.

        All fields of the request make up the query, except for the cursor and the size of the page.
        """
        names = sorted(type(request).model_fields.keys() - {"cursor", "limit"})
        query = [f"{name}={_canonical(getattr(request, name))}" for name in names]
        text = "\0".join([operation.name, owner or "", *query])
        digest = hashlib.sha256(text.encode()).digest()[:MARK_BYTES]
        return cls(base64.urlsafe_b64encode(digest).decode().rstrip("="))

    def encode(self, cursor: Cursor) -> str:
        """Return a cursor as clients see it: time in microseconds, mark and id, in URL-safe base64."""
        text = f"{(cursor.at - _EPOCH) // _MICROSECOND} {self.mark} {cursor.id}"
        return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")

    def decode(self, text: str | None) -> Cursor | None:
        """Return the cursor that `encode` wrote as `text`, or None for None. Raise `Invalid` for any other text."""
        if text is None:
            return None
        try:
            padded = text + "=" * (-len(text) % 4)
            content = base64.b64decode(padded, altchars=b"-_", validate=True).decode()
            microseconds, mark, identifier = content.split(" ", 2)
            cursor = Cursor(_EPOCH + int(microseconds) * _MICROSECOND, identifier)
        except (binascii.Error, ValueError, OverflowError):
            raise invalid_cursor() from None
        # `int` also accepts spaces, signs and underscores, so compare the text with the one that `encode` writes.
        written = replace(self, mark=mark).encode(cursor)
        if written != text or not cursor.id or "\x00" in cursor.id:
            raise invalid_cursor()
        if mark != self.mark:
            raise Invalid("cursor: belongs to another list or to another query", field="cursor")
        return cursor

    def page_of(
        self, rows: Sequence[Row], limit: int, position: Callable[[Row], Cursor]
    ) -> tuple[Sequence[Row], str | None]:
        """Return the rows of a page, and the cursor of the next page or None.

        `rows` are the queried rows. There is a next page if there are more rows than `limit`. `position` returns the
        cursor of a row.
        """
        if len(rows) <= limit:
            return rows, None
        return rows[:limit], self.encode(position(rows[limit - 1]))


def _canonical(value: object) -> str:
    """Return the same text for equal values, such as one time in two time zones."""
    if isinstance(value, datetime):
        value = value.astimezone(UTC)
    return repr(value)


def invalid_cursor() -> Invalid:
    """Return the error for a text that is not a cursor of any page."""
    return Invalid("cursor: must be the value `next` of a page", field="cursor")
