"""The removal of old rows in batches, so that no statement holds locks for long."""

from collections.abc import Awaitable, Callable

from svgx_common.postgres import Row

BATCH_ROWS = 10_000
"""Largest number of rows that one statement removes."""


async def remove_in_batches(
    remove: Callable[[int], Awaitable[Row | None]], batch_rows: int = BATCH_ROWS
) -> int:
    """Call `remove` until no old row is left, and return the number of removed rows.

    With only one call for each run, a table would grow if more rows became old between two runs than one call removes.
    `remove` takes the largest number of rows to remove. The column `number` of its result has the number of removed
    rows.
    """
    total = 0
    while True:
        row = await remove(batch_rows)
        number = row["number"] if row is not None else 0
        total += number
        if number < batch_rows:
            return total
