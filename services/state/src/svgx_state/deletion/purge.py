"""The removal of deleted canvases with all their rows, in bounded steps.

Each step is one transaction. The row of the canvas is removed last, so that a later step continues the removal after a
crash.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

from svgx_common.contract.errors import Conflict, Unavailable
from svgx_common.contract.storage.events import CanvasPurged
from svgx_common.events.outbox import emit
from svgx_common.postgres import Database, Row, Session
from svgx_state.deletion import metrics
from svgx_state.permissions import no_such_canvas

log = structlog.get_logger(__name__)

RemoveRows = Callable[[Session, str, int], Awaitable[Row | None]]
"""Removes at most the given number of a canvas's rows. The result's column `rows` has the number of removed rows.

Only `purge_journal` may remove more rows, because rows in two partitions may have the same physical place.
"""

PURGED_TABLES: tuple[RemoveRows, ...] = (
    lambda session, *arguments: session.row("purge_journal", *arguments),
    lambda session, *arguments: session.row("purge_snapshots", *arguments),
    lambda session, *arguments: session.row("purge_members", *arguments),
    lambda session, *arguments: session.row("purge_links", *arguments),
    lambda session, *arguments: session.row("purge_versions", *arguments),
    lambda session, *arguments: session.row("purge_quarantine", *arguments),
    lambda session, *arguments: session.row("purge_writers", *arguments),
    lambda session, *arguments: session.row("purge_usage", *arguments),
    lambda session, *arguments: session.row("purge_sizes", *arguments),
)
"""The removal of a canvas's rows from each table.

A table with a foreign key to `canvas` and ON DELETE CASCADE needs an entry only if it may have many rows of one canvas.
"""

STEP_ROWS = 1000
"""Number of removed rows at which a step ends. `purge_journal` may remove more rows in one step."""

PERIOD_SECONDS = 60.0
"""Seconds between two searches for canvases to remove."""

PAUSE_SECONDS = 0.05
"""Seconds between two steps, so that the removal of a large canvas does not occupy the database."""


@dataclass(frozen=True, slots=True)
class PurgeStep:
    """The result of one step: the rows that it removed, and whether no row of the canvas is left."""

    canvas_id: str
    rows: int
    finished: bool


class Purge:
    """The removal of the canvases that are due.

    A canvas is due when `begin` was called for it, or more than `retention_days` days after it was deleted.
    """

    def __init__(self, database: Database, retention_days: int) -> None:
        self._database = database
        self._retention_days = retention_days
        self._wake = asyncio.Event()

    async def begin(self, canvas_id: str) -> None:
        """Make the removal of a deleted canvas due at once. The deletion cannot be undone any more.

        Raises `NotFound` for an unknown canvas, and `Conflict` for one that is not deleted, or that a running restore
        of a backup creates at present.
        """
        if await self._database.row("begin_purge", canvas_id) is not None:
            return
        row = await self._database.row("any_canvas", canvas_id, "")
        if row is None:
            raise no_such_canvas()
        if row["deleted_at"] is not None:
            raise Conflict(
                "a restore of a backup is creating the canvas; wait until it ends",
                field="canvas_id",
            )
        raise Conflict("the canvas is not deleted; delete it first", field="canvas_id")

    async def run(self, canvas_id: str, until: float, actor: str) -> PurgeStep:
        """Remove a canvas until the time `until` on the loop's clock. Background steps remove the rest.

        `actor` is the account that the event names if this call finishes the removal. The call does at least one step,
        and ends at most one step after `until`.
        """
        clock, rows = asyncio.get_running_loop().time, 0
        while True:
            step = await self.step_of(canvas_id, actor)
            rows += step.rows
            if step.finished or clock() > until:
                break
        if not step.finished:
            self._wake.set()
        return PurgeStep(canvas_id, rows, step.finished)

    async def step_of(self, canvas_id: str, actor: str | None = None) -> PurgeStep:
        """Remove the rows of one step from this canvas."""
        async with self._database.transaction() as session:
            return await _remove_rows(session, canvas_id, actor)

    async def step(self) -> PurgeStep | None:
        """Remove the rows of one step from a canvas that is due.

        Return None when no canvas is due, or while another replica removes rows in the background.
        """
        async with self._database.transaction() as session:
            claim = await session.row("claim_purge")
            if claim is None or not claim["claimed"]:
                return None
            due = await session.row("begun_purge")
            if due is None:
                due = await session.row("due_purge", self._retention_days)
            if due is None:
                return None
            await session.run("begin_purge", due["id"])
            return await _remove_rows(session, due["id"], actor=None)

    async def work(self) -> None:
        """Remove all canvases that are due, and wait for the next search. A background task repeats this call."""
        try:
            while await self.step() is not None:
                await self._wait(PAUSE_SECONDS)
        except Unavailable:
            log.warning("could not remove deleted canvases; trying again later")
        await self._wait(PERIOD_SECONDS)

    async def _wait(self, seconds: float) -> None:
        """Wait for these seconds, or until `run` leaves the rest of a canvas to the background."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        self._wake.clear()


async def _remove_rows(session: Session, canvas_id: str, actor: str | None) -> PurgeStep:
    """Remove the rows of one step from a canvas, and the canvas's own row when no other row is left.

    A canvas of which the removal has not begun stays as it is.
    """
    if await session.row("lock_purge", canvas_id) is None:
        return PurgeStep(canvas_id, 0, finished=True)
    removed = 0
    for remove_rows in PURGED_TABLES:
        row = await remove_rows(session, canvas_id, STEP_ROWS - removed)
        assert row is not None
        removed += row["rows"]
        if removed >= STEP_ROWS:
            metrics.PURGED_ROWS.inc(removed)
            return PurgeStep(canvas_id, removed, finished=False)
    if await session.row("purge_canvas", canvas_id) is None:
        # Another transaction changed rows while this step waited for them. The next step removes these rows.
        metrics.PURGED_ROWS.inc(removed)
        return PurgeStep(canvas_id, removed, finished=False)
    await emit(session, CanvasPurged(canvas_id=canvas_id), actor=actor)
    metrics.PURGED_ROWS.inc(removed + 1)
    metrics.PURGED_CANVASES.inc()
    log.info("deleted canvas removed for good", canvas_id=canvas_id)
    return PurgeStep(canvas_id, removed + 1, finished=True)
