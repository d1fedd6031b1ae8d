"""The time between two batches of a canvas on a link."""

SHORTEST_SECONDS = 0.012
"""Seconds between two batches of a canvas with few edits. The first batch after a pause is sent at once.

A batch may be early by `replica_link.FLUSH_SLACK_SECONDS`. A canvas with many uncommitted batches waits longer
(`Outbox`).
"""

LONGEST_SECONDS = 0.05
"""Seconds between two batches of a busy canvas: three display frames."""

LONGEST_OVERLOAD_SECONDS = 0.1
"""Seconds between two batches of a canvas while batches wait long for their receipts."""

SHARE_OF_WAIT = 0.25
"""The interval is at least this share of the time for which a batch has waited for its receipt.

A receipt usually arrives within 48 ms, and then this share does not change the interval. Receipts arrive later while a
gateway, a replica or the database is overloaded. Fewer and larger batches then reduce the load.
"""

LOW_RATE = 60.0
"""Edits a second. At or below this rate, the interval is `SHORTEST_SECONDS`.

A user that drags an element sends an edit for each of 60 frames a second.
"""

HIGH_RATE = 90.0
"""Edits a second. At or above this rate, the interval is `LONGEST_SECONDS`.

Between `LOW_RATE` and `HIGH_RATE`, the interval grows evenly.
"""

WINDOW_SECONDS = 0.5
"""Length of the time window in which the rates are measured, in seconds.

After a pause of this length, the rates are 0.
"""

MANY_EDITS = 40
"""Target for the number of edits in a batch. If more edits are expected, the batch is sent earlier.

Merging more edits into one batch saves little.
"""

MANY_BYTES = 112 * 1024
"""Target for the size of the edits in a batch, in bytes. If more bytes are expected, the batch is sent earlier.

So most batches are smaller than `outgoing_batch.MAX_BATCH_BYTES`.
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
        """Return the seconds until the next batch.

        The batch that is sent now has `edits` edits, and their size is `size` bytes. `unsaved_for` is the time in
        seconds for which the oldest batch has waited for its receipt.
        """
        elapsed, self._sent_at = now - self._sent_at, now
        if elapsed >= WINDOW_SECONDS:
            # The edits have just arrived after a pause, so they do not show how busy the canvas is.
            self._edit_rate = self._byte_rate = 0.0
            return SHORTEST_SECONDS
        kept = 1 - elapsed / WINDOW_SECONDS
        self._edit_rate = self._edit_rate * kept + edits / WINDOW_SECONDS
        self._byte_rate = self._byte_rate * kept + size / WINDOW_SECONDS
        busy = (self._edit_rate - LOW_RATE) / (HIGH_RATE - LOW_RATE)
        by_rate = min(
            LONGEST_SECONDS, SHORTEST_SECONDS + (LONGEST_SECONDS - SHORTEST_SECONDS) * busy
        )
        wanted = max(by_rate, min(LONGEST_OVERLOAD_SECONDS, unsaved_for * SHARE_OF_WAIT))
        until_full = min(MANY_EDITS / self._edit_rate, MANY_BYTES / max(1.0, self._byte_rate))
        return max(SHORTEST_SECONDS, min(wanted, until_full))
