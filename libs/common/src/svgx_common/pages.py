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
    """The last item of a page: what the next page starts after."""

    at: datetime
    id: str

    def encode(self) -> str:
        """As clients see it."""
        text = f"{(self.at - _EPOCH) // _MICROSECOND} {self.id}"
        return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")

    @classmethod
    def decode(cls, text: str) -> "Cursor":
        """Inverse of `encode`; raises `Invalid` on what it did not make."""
        try:
            padded = text + "=" * (-len(text) % 4)
            moment, _, identifier = (
                base64.b64decode(padded, altchars=b"-_", validate=True).decode().partition(" ")
            )
            cursor = cls(_EPOCH + int(moment) * _MICROSECOND, identifier)
        except (binascii.Error, ValueError, OverflowError):
            cursor = None
        # Comparing with what `encode` makes refuses everything unusual, such as spaces or signs in the number.
        if cursor is None or cursor.encode() != text or not cursor.id or "\x00" in cursor.id:
            raise Invalid("cursor: is not the `next` of a page", field="cursor")
        return cursor


def page_of(
    rows: Sequence[Row], limit: int, position: Callable[[Row], Cursor]
) -> tuple[Sequence[Row], str | None]:
    """Split `limit + 1` queried rows into the page's rows and the cursor of the next page, or None on the last page.

    `position` returns the cursor that names a row.
    """
    if len(rows) <= limit:
        return rows, None
    return rows[:limit], position(rows[limit - 1]).encode()
