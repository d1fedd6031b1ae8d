"""Compaction: a canvas with a long journal gets a snapshot, so that loading stays cheap."""

import asyncio
import contextvars
import time
from collections.abc import Sequence
from enum import Enum, auto

import asyncpg
import structlog
from opentelemetry import trace
from prometheus_client import Counter, Gauge, Histogram

from svgx_canvas import Snapshot, SvgRefused
from svgx_common.background import BackgroundTasks
from svgx_common.contract.errors import Unavailable
from svgx_common.postgres import Database, Row, Session
from svgx_common.tracing import CANVAS_ID, CurrentSpan, note_code
from svgx_state.journal.checksums import checksum
from svgx_state.journal.entries import content_of
from svgx_state.journal.gaps import report_missing
from svgx_state.journal.quarantine import (
    NOT_AN_UPDATE,
    WRONG_CHECKSUM,
    CorruptRows,
    Quarantine,
    check,
)
from svgx_workers.errors import WorkerError, WorkerUnavailable
from svgx_workers.pool import Workers

SNAPSHOTS = Counter(
    "svgx_engine_snapshots",
    "Compactions of a canvas: `written`, `skipped` because another replica does it or no entry is new, or `failed`.",
    ["outcome"],
)
for _outcome in ("written", "skipped", "failed"):
    SNAPSHOTS.labels(_outcome)
SNAPSHOT_SECONDS = Histogram(
    "svgx_engine_snapshot_seconds",
    "Seconds to compact one canvas.",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60),
)
SNAPSHOT_BACKLOG = Gauge(
    "svgx_engine_snapshot_backlog", "Canvases that wait for compaction or are being compacted."
)

log = structlog.get_logger(__name__)
tracer = trace.get_tracer("svgx.state")

PAUSE_SECONDS_AFTER_FAILURE = 60.0
"""Seconds after a failed compaction during which the canvas is not compacted again."""

LONGEST_MERGE_SECONDS = 600.0
"""Time limit for a worker's merge, in seconds. Beyond it, PostgreSQL ends the compaction's transaction."""

SLICE_ENTRIES = 5_000
SLICE_BYTES = 8 * 1024 * 1024
"""Largest number of entries, and largest sum of their bytes, that one transaction merges.

A larger entry has a transaction of its own. A longer tail takes several transactions, and each stores a snapshot.
So the memory for a compaction does not depend on the length of the tail.
"""

KEEP_AFTER_BYTES = 4 * 1024 * 1024
"""Bytes of the journal between two snapshots that are kept for reads of the past.

Each entry counts as its update and 256 additional bytes. A few large edits reach this size, and so do about 12,000
small edits, which are merged in a fraction of a second.
"""

END = 2**62
"""A number above all revisions."""


class SliceResult(Enum):
    """The result of one transaction of a compaction."""

    BUSY = auto()
    """Another replica compacts the canvas."""
    NOTHING = auto()
    """No entry was left to merge, or the canvas is unknown."""
    MORE = auto()
    """A snapshot was written, and entries after it may follow."""
    LAST = auto()
    """A snapshot through the last wanted revision was written."""


class UnreadableRows(Exception):
    """Updates cannot be merged, because at least one of them is not a Yjs update."""

    def __init__(self, rows: Sequence[Row], refusal: SvgRefused) -> None:
        super().__init__("updates cannot be merged")
        self.rows = rows
        self.refusal = refusal


class Compactor:
    """The compactions of one replica. They run in the background, at most `concurrency` at a time.

    A snapshot is due when the journal has `max_tail_entries` entries or `max_tail_bytes` bytes after the newest
    snapshot. Only one replica at a time compacts a canvas.
    """

    def __init__(
        self,
        database: Database,
        workers: Workers,
        *,
        max_tail_entries: int,
        max_tail_bytes: int,
        concurrency: int,
        keep_after_bytes: int = KEEP_AFTER_BYTES,
    ) -> None:
        self._database = database
        self._workers = workers
        self._quarantine = Quarantine(database)
        self._max_tail_entries = max_tail_entries
        self._max_tail_bytes = max_tail_bytes
        self._keep_after_bytes = keep_after_bytes
        self._slots = asyncio.Semaphore(concurrency)
        self._background = BackgroundTasks()
        self._context = contextvars.copy_context()
        self._scheduled: set[str] = set()
        self._paused_until: dict[str, float] = {}
        self._tails: dict[str, tuple[int, int]] = {}
        """The number and the bytes of the journal entries after the newest snapshot, by canvas id.

        A compaction sets them shortly before it ends.
        """
        self._due_again: set[str] = set()
        """Canvases for which `note_tail` found a compaction due during their compaction."""

    @property
    def backlog(self) -> int:
        """Return the number of canvases that wait for compaction or are being compacted."""
        return len(self._scheduled)

    def note_tail(self, canvas_id: str, tail_entries: int, tail_bytes: int) -> None:
        """Schedule a compaction if it is due. `tail_*` are the entries and bytes after the newest snapshot."""
        if not self._is_due(tail_entries, tail_bytes) or self._is_paused(canvas_id):
            return
        if canvas_id in self._scheduled:
            self._due_again.add(canvas_id)
            return
        # Use another context, because a compaction does not belong to the trace of the request that made it due.
        self._background.start("compaction", self._run(canvas_id), context=self._context.copy())
        self._scheduled.add(canvas_id)
        SNAPSHOT_BACKLOG.set(self.backlog)

    async def compact(self, canvas_id: str) -> bool:
        """Write a snapshot of all revisions that are committed now.

        Return False when another replica compacts the canvas, or when the newest snapshot has all revisions. Appends
        do not wait for a compaction. They get later revisions than the snapshot, because revisions become visible in
        their order.
        """
        return await self._compact_slices(canvas_id, END) in (SliceResult.MORE, SliceResult.LAST)

    async def keep(self, canvas_id: str, revision: int) -> bool:
        """Keep a snapshot through exactly this revision, which has a journal entry. Write a missing snapshot.

        Return False when another replica compacts the canvas, or when the entry was moved to the quarantine.
        """
        if await self._compact_slices(canvas_id, revision) is SliceResult.BUSY:
            return False
        return await self._database.row("keep_snapshot", canvas_id, revision) is not None

    async def _compact_slices(self, canvas_id: str, through: int) -> SliceResult:
        """Merge the journal slice by slice, with a snapshot after each slice. Return the result of all slices together.

        Rows that cannot be read are moved to the quarantine. Raises `SvgRefused` when the other rows cannot be merged.
        """
        result = SliceResult.NOTHING
        while True:
            try:
                step = await self._compact_slice(canvas_id, through)
            except CorruptRows as corrupt:
                await self._quarantine.move(canvas_id, corrupt.rows, WRONG_CHECKSUM)
            except asyncpg.DataCorruptedError:
                if not await self._quarantine.move_unreadable(canvas_id):
                    raise
            except UnreadableRows as unreadable:
                rows = await self._find_unreadable(unreadable.rows)
                if not await self._quarantine.move(canvas_id, rows, NOT_AN_UPDATE):
                    raise unreadable.refusal from None
            else:
                if step is not SliceResult.MORE:
                    return result if step is SliceResult.NOTHING else step
                result = step

    async def _compact_slice(self, canvas_id: str, through: int) -> SliceResult:
        """Merge the newest snapshot up to revision `through` with the next slice. Store the new snapshot.

        If entries of the slice are missing, report them, and keep the snapshot before them. The report is stored in
        the transaction of the new snapshot, because later reads begin with this snapshot and do not find the gap.
        """
        async with self._database.transaction(idle_seconds=LONGEST_MERGE_SECONDS) as session:
            claim = await session.row("claim_compaction", canvas_id)
            if claim is None or not claim["claimed"]:
                return SliceResult.BUSY
            async with session.discarded():
                snapshot, entries = await _read_slice(session, canvas_id, through)
            if snapshot is None or not entries:
                return SliceResult.NOTHING
            merged = await self._merge([snapshot, *entries] if snapshot["is_snapshot"] else entries)
            # From here on, the transaction locks rows for which commits wait.
            await session.limit_idle_time()
            last = entries[-1]
            bytes_through = snapshot["journal_bytes"] + sum(len(row["update"]) for row in entries)
            if last["revision"] == snapshot["newest"]:
                bytes_through = snapshot["newest_bytes"]
            await session.run(
                "add_snapshot",
                canvas_id,
                last["revision"],
                last["at"],
                merged.update,
                checksum(merged.update),
                bytes_through,
                last["revision"] == through,
                self._keep_after_bytes,
                merged.outline or None,
            )
            if await report_missing(
                session,
                canvas_id,
                after=snapshot["revision"],
                through=last["revision"],
                found=len(entries),
            ):
                await session.run("keep_snapshot", canvas_id, snapshot["revision"])
            await session.run("drop_old_snapshots", canvas_id, last["revision"])
            await session.run("drop_old_outlines", canvas_id)
            await session.run("note_snapshot", canvas_id, last["revision"], bytes_through)
        done = last["revision"] == min(through, snapshot["newest"])
        return SliceResult.LAST if done else SliceResult.MORE

    async def _merge(self, rows: Sequence[Row]) -> Snapshot:
        """Return the updates of the rows as one snapshot. The first row may be a snapshot. Raises `UnreadableRows`.

        The updates are trusted, because a replica of collab has checked each of them before it was saved.
        """
        updates, outline = content_of(rows)
        snapshot = None
        if rows[0]["is_snapshot"]:
            snapshot, updates = Snapshot(updates[0], outline), updates[1:]
        try:
            return await self._workers.compact(snapshot, updates, trusted=True)
        except SvgRefused as refusal:
            raise UnreadableRows(rows, refusal) from None

    async def _find_unreadable(self, rows: Sequence[Row]) -> list[Row]:
        """Return the rows that cannot be merged even when each is merged alone."""
        try:
            await self._merge(rows)
        except UnreadableRows:
            if len(rows) == 1:
                return list(rows)
            half = len(rows) // 2
            return [
                *await self._find_unreadable(rows[:half]),
                *await self._find_unreadable(rows[half:]),
            ]
        return []

    async def close(self) -> None:
        """Cancel the running compactions.

        Nothing is lost, because the next commit of a canvas schedules its compaction again.
        """
        await self._background.stop()

    async def _run(self, canvas_id: str) -> None:
        try:
            async with self._slots:
                with CurrentSpan(
                    tracer, "compact", trace.SpanKind.INTERNAL, attributes={CANVAS_ID: canvas_id}
                ):
                    await self._compact_counted(canvas_id)
        finally:
            # No commit is noted between the last read of the tail and this call.
            self._done(canvas_id)

    async def _compact_counted(self, canvas_id: str) -> None:
        """Compact a canvas, and count the outcome. A failure is logged."""
        started = time.perf_counter()
        try:
            outcome = "written" if await self.compact(canvas_id) else "skipped"
            if outcome == "written" or canvas_id in self._due_again:
                await self._read_tail(canvas_id)
        except Unavailable as error:
            # The next commit may schedule a compaction at once, because the failure is not the canvas's fault.
            log.warning("a compaction was interrupted", canvas_id=canvas_id, error=error.code)
            outcome = "failed"
        except WorkerUnavailable as error:
            # The next commit may schedule a compaction at once, as above.
            log.warning("a compaction was interrupted", canvas_id=canvas_id, error=str(error))
            outcome = "failed"
        except (SvgRefused, WorkerError) as error:
            log.error("a canvas could not be compacted", canvas_id=canvas_id, error=str(error))
            outcome = self._pause(canvas_id)
        except Exception:
            # Nothing is lost, because the journal has all entries. The next commit after the pause tries again.
            log.exception("a canvas could not be compacted", canvas_id=canvas_id)
            outcome = self._pause(canvas_id)
        if outcome == "failed":
            note_code(trace.get_current_span(), outcome, failed=True)
        SNAPSHOTS.labels(outcome).inc()
        SNAPSHOT_SECONDS.observe(time.perf_counter() - started)

    async def _read_tail(self, canvas_id: str) -> None:
        """Read the size of the journal after the newest snapshot. It may have grown during the compaction.

        Read it again if a commit during the read may have made a compaction due.
        """
        while True:
            self._due_again.discard(canvas_id)
            tail = await self._database.row("tail_after_snapshot", canvas_id)
            if tail is None:
                return
            self._tails[canvas_id] = tail["entries"], tail["bytes"]
            if canvas_id not in self._due_again or self._is_due(tail["entries"], tail["bytes"]):
                return

    def _done(self, canvas_id: str) -> None:
        """End a compaction. Schedule another one if it is due, because possibly no commit of the canvas follows."""
        self._scheduled.discard(canvas_id)
        self._due_again.discard(canvas_id)
        SNAPSHOT_BACKLOG.set(self.backlog)
        if (tail := self._tails.pop(canvas_id, None)) is not None:
            self.note_tail(canvas_id, *tail)

    def _pause(self, canvas_id: str) -> str:
        """Do not compact the canvas for a while. Return the outcome for the metrics."""
        self._paused_until[canvas_id] = time.monotonic() + PAUSE_SECONDS_AFTER_FAILURE
        return "failed"

    def _is_due(self, tail_entries: int, tail_bytes: int) -> bool:
        return tail_entries >= self._max_tail_entries or tail_bytes >= self._max_tail_bytes

    def _is_paused(self, canvas_id: str) -> bool:
        until = self._paused_until.get(canvas_id)
        if until is None:
            return False
        if until > time.monotonic():
            return True
        del self._paused_until[canvas_id]
        return False


async def _read_slice(
    session: Session, canvas_id: str, through: int
) -> tuple[Row | None, list[Row]]:
    """Return the newest snapshot up to revision `through`, and the slice of the journal after the snapshot.

    The first result is None for an unknown canvas. For a canvas without a snapshot, it is a row that describes the
    beginning of the journal. Raises `CorruptRows`.
    """
    snapshot = await session.row("snapshot_through", canvas_id, through)
    if snapshot is None:
        return None, []
    entries = await session.rows(
        "journal_slice",
        canvas_id,
        snapshot["revision"],
        min(through, snapshot["newest"]),
        snapshot["at"],
        snapshot["updated_at"],
        SLICE_ENTRIES,
        SLICE_BYTES,
    )
    check([snapshot, *entries])
    return snapshot, entries
