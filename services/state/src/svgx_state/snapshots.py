"""Compaction: a canvas with a long journal gets a snapshot, so that loading it stays cheap."""

import asyncio
import contextvars
import time

import structlog

from svgx_canvas import SvgRefused
from svgx_common.contract.errors import Unavailable
from svgx_common.postgres import Database
from svgx_state import metrics
from svgx_workers.pool import WorkerError, Workers

log = structlog.get_logger(__name__)

PAUSE_AFTER_FAILURE = 60.0
"""Seconds until a canvas is tried again that could not be compacted."""


class Compactor:
    """Writes snapshots in the background: `concurrency` canvases at a time, each by one replica at a time.

    `entries` or `size` (bytes) in the journal after the newest snapshot make a new one due.
    """

    def __init__(
        self, database: Database, workers: Workers, *, entries: int, size: int, concurrency: int
    ) -> None:
        self._database = database
        self._workers = workers
        self._entries = entries
        self._size = size
        self._slots = asyncio.Semaphore(concurrency)
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._paused_until: dict[str, float] = {}

    @property
    def backlog(self) -> int:
        """Canvases waiting for compaction, or in it."""
        return len(self._tasks)

    def appended(self, canvas_id: str, tail_entries: int, tail_bytes: int) -> None:
        """Take note of a commit: what the journal has after the newest snapshot now."""
        due = tail_entries >= self._entries or tail_bytes >= self._size
        if not due or canvas_id in self._tasks or self._paused(canvas_id):
            return
        # A context of its own: the request whose commit made it due is not what it belongs to.
        task = asyncio.create_task(self._run(canvas_id), context=contextvars.Context())
        self._tasks[canvas_id] = task
        task.add_done_callback(lambda _: self._done(canvas_id))
        metrics.SNAPSHOT_BACKLOG.set(self.backlog)

    async def compact(self, canvas_id: str) -> bool:
        """Write a snapshot through the newest revision; False when another replica is at it or there is no need.

        Appends go on meanwhile. What they commit is after the snapshot's revision: reading it saw every earlier one,
        as revisions become visible in their order.
        """
        async with self._database.transaction() as session:
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
        """Give up what is running: nothing is lost by it, the next commit starts it again."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, canvas_id: str) -> None:
        async with self._slots:
            started = time.perf_counter()
            try:
                outcome = "written" if await self.compact(canvas_id) else "skipped"
            except Unavailable as error:
                # The database's matter, not the canvas's: the next commit starts it again.
                log.warning("a compaction was broken off", canvas_id=canvas_id, error=error.code)
                outcome = "failed"
            except (SvgRefused, WorkerError) as error:
                log.error("a canvas could not be compacted", canvas_id=canvas_id, error=str(error))
                outcome = self._pause(canvas_id)
            except Exception:
                # Whatever it is, the journal has everything: it is worth a line and another try, later.
                log.exception("a canvas could not be compacted", canvas_id=canvas_id)
                outcome = self._pause(canvas_id)
            metrics.SNAPSHOTS.labels(outcome).inc()
            metrics.SNAPSHOT_SECONDS.observe(time.perf_counter() - started)

    def _done(self, canvas_id: str) -> None:
        del self._tasks[canvas_id]
        metrics.SNAPSHOT_BACKLOG.set(self.backlog)

    def _pause(self, canvas_id: str) -> str:
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
