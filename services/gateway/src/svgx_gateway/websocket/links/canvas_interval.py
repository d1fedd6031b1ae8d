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

A receipt usually arrives within 48 ms, and then this share does not change the interval. Receipts arrive later while a
gateway, a replica or the database is overloaded. Fewer and larger batches then reduce the load.
"""

LOW_RATE = 60.0
"""Edits a second up to which the interval is `SHORTEST`: one user drags an element at 60 frames a second."""

HIGH_RATE = 90.0
"""Edits a second from which the interval is `LONGEST`. Between the two rates, the interval grows evenly."""

MEMORY = 0.5
"""Seconds of the past over which the rates are measured. After a pause of this length, a canvas counts as quiet."""

MANY_EDITS = 40
"""Edits that the next batch may have. If more are expected, the batch is sent earlier.

Merging more edits into one batch saves little.
"""

MANY_BYTES = 112 * 1024
"""Bytes of edits that the next batch may have. If more are expected, the batch is sent earlier.

So most batches are smaller than `MAX_BATCH`.
"""


class CanvasInterval:
    """The time between two batches of one canvas, by the rates of its edits and their bytes.

    The edits of a busy canvas go in fewer and larger batches, because each batch becomes one broadcast and one journal
    entry, and these cost more than the edits in them. In an overload, the edits of every canvas go in larger batches.
    """

    __slots__ = ("_byte_rate", "_edit_rate", "_sent_at")

    def __init__(self) -> None:
        self._sent_at = 0.0
        """Time of the last batch, in seconds of the monotonic clock."""
        self._edit_rate = 0.0
        """Edits a second. The older a batch, the less its edits count."""
        self._byte_rate = 0.0
        """Bytes of edits a second. The older a batch, the less its bytes count."""

    def after(self, edits: int, size: int, now: float, unsaved_for: float = 0.0) -> float:
        """Return the seconds from a batch that is sent now, with `edits` edits of `size` bytes, until the next batch.

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
        busy = (self._edit_rate - LOW_RATE) / (HIGH_RATE - LOW_RATE)
        by_rate = min(LONGEST, SHORTEST + (LONGEST - SHORTEST) * busy)
        wanted = max(by_rate, min(LONGEST_IN_OVERLOAD, unsaved_for * SHARE_OF_WAIT))
        until_full = min(MANY_EDITS / self._edit_rate, MANY_BYTES / max(1.0, self._byte_rate))
        return max(SHORTEST, min(wanted, until_full))
