"""The removal of old rows in batches, so that no statement holds locks for long."""

from collections.abc import Awaitable, Callable

from svgx_common.postgres import Row

BATCH_ROWS = 10_000
"""Largest number of rows that one statement removes."""


async def remove_in_batches(remove: Callable[[int], Awaitable[Row | None]]) -> None:
    """Call `remove` until no old row is left. Otherwise a table would grow while many rows a second become old.

    `remove` takes the largest number of rows to remove. The column `rows` of its result has the number of removed rows.
    """
    while True:
        row = await remove(BATCH_ROWS)
        if row is None or row["rows"] < BATCH_ROWS:
            return
