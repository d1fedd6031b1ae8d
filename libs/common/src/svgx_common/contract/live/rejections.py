"""Rejections of edits: the reason, the close code and the text for the client.

A receipt has one number for each rejected edit. The number packs the edit's index in the batch, the reason and an
amount. The number of a malformed edit is its index, because its reason and amount are 0.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Self

from svgx_common.contract.close_codes import Close

INDEX_BITS = 20
REASON_BITS = 4
AMOUNT_BITS = 29
"""The three parts have 53 bits together, like an integer of lib0.

An amount that needs more than `AMOUNT_BITS` is sent as the largest amount that fits.
"""


class Reason(IntEnum):
    """The reasons of rejections. `{amount}` in a text stands for the rejection's amount."""

    code: Close
    text: str

    def __new__(cls, value: int, code: Close, text: str) -> Self:
        """Create a member with its close code and its text."""
        member = int.__new__(cls, value)
        member._value_ = value
        member.code = code
        member.text = text
        return member

    MALFORMED = 0, Close.BAD_MESSAGE, "not a Yjs update"
    TOO_SLOW = (
        1,
        Close.TOO_LARGE,
        "an edit takes more than {amount} ms to integrate; load the page again",
    )
    ACCOUNT_TIME = (
        2,
        Close.OVERLOADED,
        "your edits take too long to integrate; try again in {amount} s",
    )
    EDIT_CLIENTS = 3, Close.TOO_LARGE, "an edit may add at most {amount} Yjs clients"
    ACCOUNT_CLIENTS = (
        4,
        Close.OVERLOADED,
        "your edits add too many Yjs clients; try again in {amount} s",
    )
    CANVAS_CLIENTS = (
        5,
        Close.TOO_LARGE,
        "a canvas may have at most {amount} Yjs clients; use a new canvas",
    )
    CANVAS_STRUCTS = (
        6,
        Close.TOO_LARGE,
        "a canvas may have at most {amount} structs; use a new canvas",
    )
    OTHERS_CLIENT = (
        7,
        Close.OVERLOADED,
        "another user's Yjs client has this edit's client id; load the page again",
    )
    CANVAS_WAITING = (
        8,
        Close.OVERLOADED,
        "too many edits wait for edits that are missing (at most {amount} bytes); load the page again",
    )
    CONTRADICTION = (
        9,
        Close.OVERLOADED,
        "an edit that waits for missing edits contradicts another edit; load the page again",
    )


_REASONS = {int(each): each for each in Reason}


@dataclass(frozen=True, slots=True)
class Rejection:
    """The rejection of the edit at `index` of a batch."""

    index: int
    reason: Reason = Reason.MALFORMED
    amount: int = 0
    """The limit, or the seconds until the client may try again; 0 for a reason without an amount."""

    def pack(self) -> int:
        """Return the rejection as one number."""
        amount = min(self.amount, (1 << AMOUNT_BITS) - 1)
        return ((amount << REASON_BITS) + self.reason << INDEX_BITS) + self.index

    @classmethod
    def unpack(cls, number: int) -> Self:
        """Return the rejection with this number. An unknown reason counts as malformed."""
        rest, index = divmod(number, 1 << INDEX_BITS)
        amount, reason = divmod(rest, 1 << REASON_BITS)
        return cls(index, _REASONS.get(reason, Reason.MALFORMED), amount)

    @property
    def code(self) -> Close:
        """Return the close code with which the client's connection is closed."""
        return self.reason.code

    @property
    def text(self) -> str:
        """Return the close reason for the client."""
        return self.reason.text.format(amount=self.amount)
