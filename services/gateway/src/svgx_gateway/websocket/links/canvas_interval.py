"""The time between two batches of a canvas on a link."""

SHORTEST = 0.012
"""Seconds from a batch with one edit to the next batch. The first batch after a pause is sent at once.

A batch may be early by `FLUSH_SLACK`. A canvas with many uncommitted batches waits longer (`Outbox`).
"""

LONGEST = 0.05
"""Seconds from a batch with several edits to the next batch, at most: three display frames."""

PER_EDIT = 0.008
"""Seconds that each edit after the first one of a batch adds to the time until the next batch."""

MANY_EDITS = 40
"""Edits that the next batch may have. If more are expected, it is sent earlier, because merging them saves little."""

MANY_BYTES = 32 * 1024
"""Bytes of edits that the next batch may have: half of a batch that still fits into a message."""


def interval_after(edits: int, size: int, seconds: float) -> float:
    """Return the seconds from a batch of a canvas to its next batch.

    The batch's edits have `size` bytes, and arrived in this number of seconds. Several edits in one batch show that the
    canvas is busy. Its edits then go in fewer and larger batches. Each batch becomes one broadcast and one journal
    entry, and these cost more than the edits in them.
    """
    until_full = seconds * min(MANY_EDITS / edits, MANY_BYTES / max(1, size))
    return max(SHORTEST, min(LONGEST, SHORTEST + PER_EDIT * (edits - 1), until_full))
