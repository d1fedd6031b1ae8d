"""Retention: the days of the journal that are older than `JOURNAL_RETENTION_DAYS` are dropped as whole partitions."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, time, timedelta

import asyncpg
import structlog

from svgx_canvas import SvgRefused
from svgx_common.contract.errors import Unavailable
from svgx_common.postgres import Database, Session
from svgx_state.journal import metrics
from svgx_state.present import present
from svgx_state.snapshots import Compactor
from svgx_workers.errors import WorkerError

log = structlog.get_logger(__name__)

PERIOD_SECONDS = 3600.0
"""Seconds between two runs."""

FIRST_RETRY_SECONDS = 1.0
"""Seconds from the first failed run to the next run. Each further failure in a row doubles this time."""

LONGEST_RETRY_SECONDS = 300.0
"""Longest time from a failed run to the next run, in seconds."""

LONGEST_STEP_SECONDS = 900.0
"""Time limit, in seconds, for the work on one canvas, and for one hook.

Meanwhile, the transaction that holds the claim to drop days is idle. Beyond the limit, PostgreSQL ends the transaction.
"""

DROP_SECONDS = 300.0
"""Time limit for the removal of the old snapshots, and for the check and the drop of one day, in seconds.

Appends wait for at most 50 ms of this time, during the drop. The check reads all entries of the day.
"""

PAGE_SIZE = 500
"""Largest number of canvases that one query reads."""

BeforeDrop = Callable[[datetime], Awaitable[None]]
"""A hook that takes the start of the kept days. It is awaited before the earlier days are dropped.

If the hook raises an error, the earlier days are kept until the next run.
"""


class RetentionIncomplete(Exception):
    """A run could not drop all days that are due. The next run continues."""


class Retention:
    """Drops old days of the journal. Only one replica at a time drops days.

    Before a day is dropped, each canvas with entries in this day gets a snapshot of its last revision before the kept
    days. So the content at every kept moment can still be read. Then the hooks `before_drop` are awaited in their
    order, and the earlier snapshots are removed. A day is dropped in one transaction, which fails if an entry is in no
    kept snapshot from before the kept days. So a crash at any point leaves no step half done, and the next run does the
    steps that are left.
    """

    def __init__(
        self,
        database: Database,
        compactor: Compactor,
        *,
        days: int,
        before_drop: Sequence[BeforeDrop] = (),
    ) -> None:
        self._database = database
        self._compactor = compactor
        self._days = days
        self._before_drop = before_drop
        self._retry = FIRST_RETRY_SECONDS
        metrics.RETENTION.set(days * 86400)

    async def drop_and_wait(self) -> None:
        """Drop all days that are due, and wait until the next run. This is a step to repeat in the background."""
        succeeded = await self.drop_counted()
        await asyncio.sleep(self.pause_after(succeeded=succeeded))

    def pause_after(self, *, succeeded: bool) -> float:
        """Return the seconds until the next run. After a failure, they double with each further failure in a row."""
        if succeeded:
            self._retry = FIRST_RETRY_SECONDS
            return PERIOD_SECONDS
        pause, self._retry = self._retry, min(2 * self._retry, LONGEST_RETRY_SECONDS)
        return pause

    async def drop_counted(self, now: datetime | None = None) -> bool:
        """Drop all days that are due, and count the outcome. Return False after a failure, which is logged."""
        try:
            outcome = "written" if await self.drop(now) else "skipped"
        except Unavailable as error:
            log.warning("dropping old days of the journal was interrupted", error=error.detail)
            outcome = "failed"
        except RetentionIncomplete as error:
            log.error("old days of the journal could not be dropped", error=str(error))
            outcome = "failed"
        except Exception:
            log.exception("old days of the journal could not be dropped")
            outcome = "failed"
        metrics.RETENTION_RUNS.labels(outcome).inc()
        return outcome != "failed"

    async def drop(self, now: datetime | None = None) -> bool:
        """Drop the days that ended more than the retention ago. A retention of 0 days drops nothing.

        `now` is the present time; None means the time of PostgreSQL's clock.
        Return False while another replica drops days. If canvases lack their snapshot, drop only the days without
        entries of these canvases, and raise `RetentionIncomplete` if a day is kept. Raises `Unavailable`, and the
        errors of hooks.
        """
        if not self._days:
            return True
        async with self._database.transaction(idle_seconds=LONGEST_STEP_SECONDS) as claim:
            if not await _is_claimed(claim):
                return False
            if now is None:
                now = await present(claim)
            start = _start_of_kept(now, self._days)
            async with claim.discarded():
                days = [row["day"] for row in await claim.rows("days_before", start)]
            failed = 0
            if days:
                failed = await self._keep_bases(claim, start)
                for hook in self._before_drop:
                    await hook(start)
                    await _is_claimed(claim)
            # Drop the earlier snapshots first. Then the known past begins with the snapshots of `_keep_bases`, and no
            # read needs the dropped days. If there are no days, this completes an interrupted run.
            async with self._database.transaction(statement_seconds=DROP_SECONDS) as session:
                await session.run("drop_snapshots_before", start)
                await session.run("drop_writers_before", now)
            kept = 0
            for day in days:
                await _is_claimed(claim)
                try:
                    await self._drop_day(day, start)
                except asyncpg.ObjectNotInPrerequisiteStateError:
                    if not failed:
                        raise
                    kept += 1
        # If no day is kept, the canvases without a snapshot have no entry before the kept days any more. For example,
        # they were removed meanwhile.
        if kept:
            raise RetentionIncomplete(
                f"{failed} canvases have no snapshot yet, so {kept} days with their entries are kept"
            )
        return True

    async def _keep_bases(self, claim: Session, start: datetime) -> int:
        """Keep a snapshot of each canvas through its last revision before `start`. Return the number of failures."""
        after, failed = "", 0
        while rows := await self._database.rows("canvases_before", start, after, PAGE_SIZE):
            for row in rows:
                if row["revision"] is not None:
                    failed += not await self._keep_base(row["id"], row["revision"])
                    await _is_claimed(claim)
            after = rows[-1]["id"]
        return failed

    async def _keep_base(self, canvas_id: str, revision: int) -> bool:
        try:
            return await self._compactor.keep(canvas_id, revision)
        except (SvgRefused, WorkerError) as error:
            log.error("a canvas could not be compacted", canvas_id=canvas_id, error=str(error))
            return False

    async def _drop_day(self, day: datetime, start: datetime) -> None:
        async with self._database.transaction(statement_seconds=DROP_SECONDS) as session:
            row = await session.row("drop_journal_day", day, start)
        if row is not None and row["dropped"]:
            metrics.DROPPED_DAYS.inc()
            log.info("dropped a day of the journal", day=str(day))


def _start_of_kept(now: datetime, days: int) -> datetime:
    """Return the start (UTC) of the oldest kept day. Today and the `days` full days before today are kept."""
    return datetime.combine(now.astimezone(UTC).date() - timedelta(days=days), time(), UTC)


async def _is_claimed(claim: Session) -> bool:
    """Return whether the transaction `claim` may drop days. Raises `Unavailable` when its connection is lost.

    Calls during the work also keep the transaction from being idle for too long.
    """
    row = await claim.row("claim_retention")
    return row is not None and bool(row["claimed"])
