"""The time between two batches of a canvas on a link."""

SHORTEST = 0.012
"""Seconds between two batches of a canvas with few edits. The first batch after a pause is sent at once.

A batch may be early by `FLUSH_SLACK`. A canvas with many uncommitted batches waits longer (`Outbox`).
"""

LONGEST = 0.05
"""Seconds between two batches of a busy canvas: three display frames."""

LONGEST_IN_OVERLOAD = 0.1
"""Seconds between two batches of a canvas while batches wait long for their receipts."""

SHARE_OF_WAIT = 0.25
"""The interval is at least this share of the time for which a batch has waited for its receipt.

A receipt usually arrives within 48 ms, and then this changes nothing. It arrives later while a gateway, a replica or
the database is overloaded. Fewer and larger batches let them catch up.
"""

QUIET_RATE = 60.0
"""Edits in a second up to which the interval is `SHORTEST`: one user drags an element at 60 frames a second."""

BUSY_RATE = 90.0
"""Edits in a second from which the interval is `LONGEST`. Between the two rates, the interval grows evenly."""

MEMORY = 0.5
"""Seconds of the past that the rates are taken from. After a pause of this length, a canvas counts as quiet."""

MANY_EDITS = 40
"""Edits that the next batch may have. If more are expected, it is sent earlier, because merging them saves little."""

MANY_BYTES = 112 * 1024
"""Bytes of edits that the next batch may have. Most batches are then smaller than `MAX_BATCH`."""


class CanvasInterval:
    """The time between two batches of one canvas, by the rates of its edits and their bytes.

    The edits of a busy canvas go in fewer and larger batches. Each batch becomes one broadcast and one journal entry,
    and these cost more than the edits in them. In an overload, this holds for each canvas.
    """

    __slots__ = ("_byte_rate", "_edit_rate", "_sent_at")

    def __init__(self) -> None:
        self._sent_at = 0.0
        """Time of the last batch, in seconds of the monotonic clock."""
        self._edit_rate = 0.0
        """Edits in a second. Older batches count less and less."""
        self._byte_rate = 0.0
        """Bytes of edits in a second. Older batches count less and less."""

    def after(self, edits: int, size: int, now: float, unsaved_for: float = 0.0) -> float:
        """Return the seconds until the next batch, after a batch that is sent now. Its edits have `size` bytes.

        `unsaved_for` is the time in seconds for which the oldest batch has waited for its receipt.
        """
        elapsed, self._sent_at = now - self._sent_at, now
        if elapsed >= MEMORY:
            # The edits have just arrived after a pause, so they do not show how busy the canvas is.
            self._edit_rate = self._byte_rate = 0.0
            return SHORTEST
        kept = 1 - elapsed / MEMORY
        self._edit_rate = self._edit_rate * kept + edits / MEMORY
        self._byte_rate = self._byte_rate * kept + size / MEMORY
        busy = (self._edit_rate - QUIET_RATE) / (BUSY_RATE - QUIET_RATE)
        by_rate = min(LONGEST, SHORTEST + (LONGEST - SHORTEST) * busy)
        wanted = max(by_rate, min(LONGEST_IN_OVERLOAD, unsaved_for * SHARE_OF_WAIT))
        until_full = min(MANY_EDITS / self._edit_rate, MANY_BYTES / max(1.0, self._byte_rate))
        return max(SHORTEST, min(wanted, until_full))
