"""Gaps: canvases with missing journal entries are recorded, so that a later snapshot does not hide the loss."""

import asyncio

import structlog

from svgx_common.postgres import Database, Session
from svgx_state.journal import metrics

log = structlog.get_logger(__name__)

PERIOD_SECONDS = 300.0
"""Seconds between two readings of the recorded gaps."""


async def report_missing(
    session: Database | Session, canvas_id: str, *, after: int, through: int, found: int
) -> bool:
    """Record, count and log missing journal entries. Return whether entries are missing.

    A read of the entries after revision `after`, through revision `through`, has found `found` entries. Entries in the
    quarantine do not count as missing, because they were reported when they were moved. Nothing is reported about a
    canvas of which the removal has begun.
    """
    missing = through - after - found
    if not missing:
        return False
    quarantined = await session.row("quarantined_between", canvas_id, after, through)
    assert quarantined is not None
    if missing == quarantined["number"]:
        return False
    if await session.row("record_gap", canvas_id, after, through) is None:
        return False
    metrics.GAPS.inc()
    log.error("journal entries are missing", canvas_id=canvas_id, revision=through, snapshot=after)
    return True


class RecordedGaps:
    """The table `journal_gap`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def show_and_wait(self) -> None:
        """Set the metrics of the gaps that any process has recorded, and wait. A background task repeats this call."""
        await self.show()
        await asyncio.sleep(PERIOD_SECONDS)

    async def show(self) -> None:
        """Set the metrics of the gaps that any process has recorded."""
        row = await self._database.row("recorded_gaps")
        assert row is not None
        metrics.GAP_AT.set(row["at"])
        metrics.GAP_CANVASES.set(row["canvases"])
