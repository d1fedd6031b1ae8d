"""Group commit: what all rooms of this replica have not saved goes to state in one request, again and again."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog
from prometheus_client import Counter, Gauge, Histogram

from svgx_common.background import repeat
from svgx_common.contract.errors import SvgxError
from svgx_common.contract.state import JOURNAL_APPEND, AppendRequest
from svgx_common.messaging.bus import Bus
from svgx_common.messaging.wire import Committed, Entry, decode_committed, encode_entries

log = structlog.get_logger(__name__)

GROUP_BYTES = 4 * 1024 * 1024
"""A group is closed when it reaches this size, so that one large import does not hold up everybody's commit."""

ATTEMPT = 3.0
"""Seconds to wait for one commit, plus one for each MiB, before it is asked for again: state may have died with it."""

BACK_OFF = (0.05, 0.1, 0.2, 0.5, 1.0)
"""Seconds to wait after the first, second, … failure; the last one repeats."""

COMMIT_SECONDS = Histogram(
    "svgx_engine_collab_commit_seconds",
    "Time from asking state to commit a group of entries until it has.",
    buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
ENTRIES = Counter("svgx_engine_collab_entries", "Journal entries committed.")
FAILURES = Counter("svgx_engine_collab_commit_failures", "Commits that had to be repeated.")
UNSAVED_BYTES = Gauge(
    "svgx_engine_collab_unsaved_bytes", "Bytes of edits that are not committed yet."
)

Collect = Callable[[], list[Entry]]
Deliver = Callable[[Entry, Committed], Awaitable[None]]


class Committer:
    """Asks `collect` for entries, commits them, and tells `deliver` about each. One group is in flight at a time."""

    def __init__(self, bus: Bus, collect: Collect, deliver: Deliver) -> None:
        self._bus = bus
        self._collect = collect
        self._deliver = deliver
        self._dirty = asyncio.Event()

    def notify(self) -> None:
        """There is something to save."""
        self._dirty.set()

    async def run(self) -> None:
        """Commit until cancelled."""
        await repeat("commit", self._commit_all)

    async def _commit_all(self) -> None:
        await self._dirty.wait()
        self._dirty.clear()
        for group in _groups(self._collect()):
            for entry, result in zip(group, await self._commit(group), strict=True):
                try:
                    await self._deliver(entry, result)
                except Exception:
                    log.exception("a commit could not be reported", canvas_id=entry.canvas_id)

    async def _commit(self, group: list[Entry]) -> list[Committed]:
        request = AppendRequest(content=encode_entries(group))
        patience = ATTEMPT + len(request.content) / (1024 * 1024)
        failures = 0
        while True:
            try:
                with COMMIT_SECONDS.time():
                    reply = await self._bus.ask(JOURNAL_APPEND, request, timeout=patience)
            except SvgxError as error:
                FAILURES.inc()
                pause = BACK_OFF[min(failures, len(BACK_OFF) - 1)]
                failures += 1
                log.warning(
                    "a commit failed; repeating it",
                    code=error.code,
                    entries=len(group),
                    failures=failures,
                )
                await asyncio.sleep(pause)
            else:
                ENTRIES.inc(len(group))
                return decode_committed(reply.content)


def _groups(entries: list[Entry]) -> list[list[Entry]]:
    groups: list[list[Entry]] = []
    size = GROUP_BYTES
    for entry in sorted(entries, key=lambda entry: len(entry.update)):
        if size + len(entry.update) > GROUP_BYTES:
            groups.append([])
            size = 0
        groups[-1].append(entry)
        size += len(entry.update)
    return groups
