"""Group commit: sends the unsaved edits of all this replica's rooms to state, one request at a time."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence

import structlog
from opentelemetry.trace import SpanContext
from prometheus_client import Counter, Gauge, Histogram

from svgx_common import metrics
from svgx_common.contract.errors import SvgxError
from svgx_common.contract.state import (
    JOURNAL_APPEND,
    AppendRequest,
    Committed,
    CommittedBatch,
    Entry,
    EntryBatch,
)
from svgx_common.messaging.bus import Bus
from svgx_common.messaging.spans import Batch
from svgx_common.messaging.wire import decode, encode
from svgx_common.timing.alarm import Alarm
from svgx_common.tracing import TraceOf
from svgx_yjs.record import record

log = structlog.get_logger(__name__)

GROUP_BYTES = 4 * 1024 * 1024
"""Largest number of bytes of updates in one request. Further updates go into the next request.

So a large import does not delay other canvases.
"""

COMMIT_INTERVAL_SECONDS = 0.025
"""Seconds between the starts of two commits. The first commit after an idle time starts at once.

Each commit costs all servers together about 3 ms of processor time. With an interval of 16 ms, an edit in a room of 50
editors took about 1.5 times as much processor time as with this interval.
"""

COMMIT_SLACK_SECONDS = 0.01
"""Largest number of seconds by which a commit may start early when an edit arrives.

The interval after it is longer by as much.
"""

TURNS_FOR_BROADCASTS = 2
"""Turns of the event loop between the request for a commit and the commit.

In the first turn, a broadcast that was due at the same time still waits in nats-py's queue. At the end of the second
turn, uvloop writes the broadcast to the socket. So the work for the commit, which takes 0.4 ms, does not delay it.
"""

FIRST_ATTEMPT_SECONDS = 1.0
"""Time limit for the answer to the first request of a commit, in seconds. Each MiB adds one second.

Beyond it, the request is repeated, because state may have crashed.
"""

LATER_ATTEMPT_SECONDS = 3.0
"""Time limit for the answer to a repeated request, in seconds. Each MiB adds one second.

This limit is longer. Otherwise, with a slow database, each request would end before its answer.
"""

BACK_OFF_SECONDS = (0.05, 0.1, 0.2, 0.5, 1.0)
"""Seconds to wait after the first, second, … failure. The last value applies to all later failures."""

LOG_SECONDS = 60.0
"""Seconds between two log lines about a commit that keeps failing.

The first, second, fourth, … failure of an outage is logged in any case.
"""

COMMIT_SECONDS = Histogram(
    "svgx_engine_collab_commit_seconds",
    "Seconds from the request that asks state to commit a group of entries until its answer.",
    buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
COMMIT_ENTRIES = Histogram(
    "svgx_engine_collab_commit_entries",
    "Journal entries in one group that is committed together.",
    buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500, 1000),
)
COMMIT_BYTES = Histogram(
    "svgx_engine_collab_commit_bytes",
    "Bytes of one group of journal entries.",
    buckets=(256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216),
)
ENTRIES = Counter("svgx_engine_collab_entries", "Journal entries committed.")
FAILURES = Counter("svgx_engine_collab_commit_failures", "Failed requests to commit a group.")
UNSAVED_BYTES = Gauge(
    "svgx_engine_collab_unsaved_bytes", "Bytes of edits that are not committed yet."
)
OLDEST_UNSAVED = Gauge(
    "svgx_engine_collab_oldest_unsaved_seconds",
    "Age of the oldest edit that is not committed yet; 0 without one.",
)


@record
class UnsavedEntry:
    """An entry to commit, and the recorded spans of the batches that have their last edit in this entry."""

    entry: Entry
    origins: Sequence[SpanContext] = ()


Collect = Callable[[], list[UnsavedEntry]]
Deliver = Callable[[Entry, Committed], Awaitable[None]]


class Committer:
    """Commits the journal entries of one replica.

    `collect` returns the entries to commit. The entries of one canvas follow each other directly, in their order.
    `deliver` is awaited with each entry and its result. One group is in flight at a time.
    """

    def __init__(self, bus: Bus, collect: Collect, deliver: Deliver) -> None:
        self._bus = bus
        self._collect = collect
        self._deliver = deliver
        self._alarm = Alarm()
        self._next_commit = 0.0
        """Earliest time of the next commit, in seconds of the monotonic clock."""
        self.is_failing = False
        """True from a failed request to commit until a request succeeds."""

    def request_commit(self) -> None:
        """Wake `commit_collected`: there are entries to collect."""
        self._alarm.ring_at(self._next_commit, slack=COMMIT_SLACK_SECONDS)

    async def commit_collected(self) -> None:
        """Wait for a request to commit, then collect the entries, commit them and deliver the results."""
        await self._alarm.wait()
        for _ in range(TURNS_FOR_BROADCASTS):
            await asyncio.sleep(0)
        # Under load, fewer and larger commits cost state and PostgreSQL less.
        self._next_commit = max(self._next_commit, time.monotonic()) + COMMIT_INTERVAL_SECONDS
        for group in _groups(self._collect()):
            entries = [unsaved.entry for unsaved in group]
            batch = Batch(len(group), [origin for unsaved in group for origin in unsaved.origins])
            with TraceOf(batch.origins):
                results = await self._commit(entries, batch)
            for entry, result in zip(entries, results, strict=True):
                try:
                    await self._deliver(entry, result)
                except Exception:
                    log.exception(
                        "the result of a commit could not be delivered", canvas_id=entry.canvas_id
                    )

    async def _commit(self, group: list[Entry], batch: Batch) -> list[Committed]:
        """Commit one group. A failed request is repeated until it succeeds, because repeated entries change nothing."""
        request = AppendRequest(content=encode(EntryBatch(tuple(group))))
        transfer = len(request.content) / (1024 * 1024)
        COMMIT_ENTRIES.observe(len(group))
        COMMIT_BYTES.observe(len(request.content))
        failures = 0
        next_line = 0.0
        while True:
            timeout = (LATER_ATTEMPT_SECONDS if failures else FIRST_ATTEMPT_SECONDS) + transfer
            try:
                started = time.perf_counter()
                try:
                    reply = await self._bus.ask(
                        JOURNAL_APPEND, request, timeout=timeout, batch=batch
                    )
                finally:
                    exemplar = metrics.exemplar() if batch.origins else None
                    COMMIT_SECONDS.observe(time.perf_counter() - started, exemplar)
                results = list(decode(CommittedBatch, reply.content).results)
            except Exception as error:  # noqa: BLE001  # the entries stay in flight until this commit succeeds
                failure = error
            else:
                if failures:
                    log.info("commits succeed again", failures=failures)
                self.is_failing = False
                ENTRIES.inc(len(group))
                return results
            self.is_failing = True
            FAILURES.inc()
            failures += 1
            now = time.monotonic()
            if failures.bit_count() == 1 or now >= next_line:
                next_line = now + LOG_SECONDS
                log.warning(
                    "a commit failed and is repeated",
                    reason=str(failure),
                    entries=len(group),
                    failures=failures,
                    exc_info=None if isinstance(failure, SvgxError) else failure,
                )
            await asyncio.sleep(BACK_OFF_SECONDS[min(failures, len(BACK_OFF_SECONDS)) - 1])


def _groups(entries: list[UnsavedEntry]) -> list[list[UnsavedEntry]]:
    """Split entries into groups of at most `GROUP_BYTES`. Canvases with small entries come first.

    The entries of a canvas stay in their order. An entry larger than `GROUP_BYTES` is a group of its own.
    """
    largest: dict[str, int] = {}
    for unsaved in entries:
        entry = unsaved.entry
        largest[entry.canvas_id] = max(largest.get(entry.canvas_id, 0), len(entry.update))
    groups: list[list[UnsavedEntry]] = []
    size = GROUP_BYTES
    for unsaved in sorted(entries, key=lambda unsaved: largest[unsaved.entry.canvas_id]):
        length = len(unsaved.entry.update)
        if size + length > GROUP_BYTES:
            groups.append([])
            size = 0
        groups[-1].append(unsaved)
        size += length
    return groups
