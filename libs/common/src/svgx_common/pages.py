"""Pages of lists that are ordered by time and id, and their opaque cursors."""

import base64
import binascii
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from svgx_common.contract.errors import Invalid

Row = TypeVar("Row")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Cursor:
    """The position of the last item of a page. The next page starts after it."""

    at: datetime
    id: str

    def encode(self) -> str:
        """Return the cursor as clients see it: the time in microseconds and the id, in URL-safe base64."""
        text = f"{(self.at - _EPOCH) // _MICROSECOND} {self.id}"
        return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")

    @classmethod
    def decode(cls, text: str) -> "Cursor":
        """Read a cursor that `encode` wrote. Raise `Invalid` for any other text."""
        try:
            padded = text + "=" * (-len(text) % 4)
            microseconds, _, identifier = (
                base64.b64decode(padded, altchars=b"-_", validate=True).decode().partition(" ")
            )
            cursor = cls(_EPOCH + int(microseconds) * _MICROSECOND, identifier)
        except (binascii.Error, ValueError, OverflowError):
            cursor = None
        # `int` also accepts spaces, signs and underscores, so compare the text with the one that `encode` writes.
        if cursor is None or cursor.encode() != text or not cursor.id or "\x00" in cursor.id:
            raise Invalid("cursor: is not the `next` of a page", field="cursor")
        return cursor


def page_of(
    rows: Sequence[Row], limit: int, position: Callable[[Row], Cursor]
) -> tuple[Sequence[Row], str | None]:
    """Split `limit + 1` queried rows into the page's rows and the cursor of the next page, or None on the last page.

    `position` returns the cursor of a row.
    """
    if len(rows) <= limit:
        return rows, None
    return rows[:limit], position(rows[limit - 1]).encode()
