"""Compaction: a canvas with a long journal gets a snapshot, so that loading stays cheap."""

import asyncio
import contextvars
import time

import structlog
from opentelemetry import trace

from svgx_canvas import SvgRefused
from svgx_common.background import BackgroundTasks
from svgx_common.contract.errors import Unavailable
from svgx_common.postgres import Database
from svgx_common.tracing import CANVAS_ID, CurrentSpan, note_code
from svgx_state import metrics
from svgx_workers.errors import WorkerError, WorkerUnavailable
from svgx_workers.pool import Workers

log = structlog.get_logger(__name__)
tracer = trace.get_tracer("svgx.state")

PAUSE_AFTER_FAILURE = 60.0
"""Seconds after a failed compaction during which the canvas is not compacted again."""

LONGEST_MERGE = 600.0
"""Seconds for which a compaction's transaction may wait until a worker has merged. Then PostgreSQL ends it."""


class Compactor:
    """The compactions of one replica. They run in the background, at most `concurrency` at a time.

    A snapshot is due when the journal has `max_tail_entries` entries or `max_tail_bytes` bytes after the newest
    snapshot. One replica at a time compacts a canvas.
    """

    def __init__(
        self,
        database: Database,
        workers: Workers,
        *,
        max_tail_entries: int,
        max_tail_bytes: int,
        concurrency: int,
    ) -> None:
        self._database = database
        self._workers = workers
        self._max_tail_entries = max_tail_entries
        self._max_tail_bytes = max_tail_bytes
        self._slots = asyncio.Semaphore(concurrency)
        self._background = BackgroundTasks()
        self._context = contextvars.copy_context()
        self._scheduled: set[str] = set()
        self._paused_until: dict[str, float] = {}

    @property
    def backlog(self) -> int:
        """Canvases that wait for compaction or are being compacted."""
        return len(self._scheduled)

    def note_tail(self, canvas_id: str, tail_entries: int, tail_bytes: int) -> None:
        """Schedule a compaction if it is due. `tail_*` is the size of the journal after the newest snapshot."""
        due = tail_entries >= self._max_tail_entries or tail_bytes >= self._max_tail_bytes
        if not due or canvas_id in self._scheduled or self._paused(canvas_id):
            return
        # Another context, because a compaction does not belong to the trace of the request that made it due.
        task = self._background.start(
            "compaction", self._run(canvas_id), context=self._context.copy()
        )
        self._scheduled.add(canvas_id)
        task.add_done_callback(lambda _: self._done(canvas_id))
        metrics.SNAPSHOT_BACKLOG.set(self.backlog)

    async def compact(self, canvas_id: str) -> bool:
        """Write a snapshot of all revisions that are committed now.

        Return False when another replica compacts the canvas, or when the newest snapshot has all revisions. Appends
        do not wait for a compaction. They get later revisions than the snapshot, because revisions become visible in
        their order.
        """
        async with self._database.transaction(idle_seconds=LONGEST_MERGE) as session:
            claim = await session.row("claim_compaction", canvas_id)
            if claim is None or not claim["claimed"]:
                return False
            rows = await session.rows("load_content", canvas_id)
            parts = [row for row in rows if row["revision"] is not None]
            snapshot = parts.pop(0)["update"] if parts and parts[0]["is_snapshot"] else None
            if not parts:
                return False
            merged = await self._workers.compact(snapshot, [row["update"] for row in parts])
            last = parts[-1]
            await session.run("add_snapshot", canvas_id, last["revision"], last["at"], merged)
            await session.run("drop_old_snapshots", canvas_id)
            await session.run("note_snapshot", canvas_id, last["revision"], last["bytes"])
        return True

    async def close(self) -> None:
        """Cancel the running compactions. Nothing is lost, because the canvas's next commit schedules them again."""
        await self._background.stop()

    async def _run(self, canvas_id: str) -> None:
        async with self._slots:
            with CurrentSpan(
                tracer, "compact", trace.SpanKind.INTERNAL, attributes={CANVAS_ID: canvas_id}
            ):
                await self._compact_counted(canvas_id)

    async def _compact_counted(self, canvas_id: str) -> None:
        """Compact a canvas, and count the outcome. A failure is logged."""
        started = time.perf_counter()
        try:
            outcome = "written" if await self.compact(canvas_id) else "skipped"
        except Unavailable as error:
            # The database failed, and not the canvas: the next commit may schedule a compaction at once.
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
        metrics.SNAPSHOTS.labels(outcome).inc()
        metrics.SNAPSHOT_SECONDS.observe(time.perf_counter() - started)

    def _done(self, canvas_id: str) -> None:
        self._scheduled.discard(canvas_id)
        metrics.SNAPSHOT_BACKLOG.set(self.backlog)

    def _pause(self, canvas_id: str) -> str:
        """Do not compact the canvas for a while. Return the outcome for the metrics."""
        self._paused_until[canvas_id] = time.monotonic() + PAUSE_AFTER_FAILURE
        return "failed"

    def _paused(self, canvas_id: str) -> bool:
        until = self._paused_until.get(canvas_id)
        if until is None:
            return False
        if until > time.monotonic():
            return True
        del self._paused_until[canvas_id]
        return False
