"""The journal: all updates of all canvases, in the order of their revisions."""

import re
import time
from collections.abc import Callable, Sequence
from itertools import accumulate, chain

import asyncpg

from svgx_common.contract.errors import BadRequest, Unavailable
from svgx_common.contract.state import Committed, Content, Entry
from svgx_common.metrics import exemplar
from svgx_common.postgres import Database, Row
from svgx_state.journal import metrics
from svgx_state.journal.checksums import checksum
from svgx_state.journal.gaps import report_missing
from svgx_state.journal.quarantine import Quarantine
from svgx_state.permissions import no_such_canvas

ATTEMPTS = 5
"""Largest number of attempts at a commit, because PostgreSQL may abort one of two conflicting commits.

After the last attempt, the append fails with `Unavailable`.
"""

_CANVAS_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")

OnAppended = Callable[[str, int, int], None]
"""Takes a canvas id, and the number and the bytes of the journal entries after the canvas's newest snapshot."""


class Journal:
    """The table `journal`.

    After a commit, `on_appended` is called once for each canvas with entries, and `on_committed` once for each new
    entry. `on_appended` counts repeated entries too, because the answer to their first commit may have been lost.
    """

    def __init__(
        self,
        database: Database,
        on_appended: OnAppended,
        on_committed: Callable[[Entry], None] = lambda _: None,
    ) -> None:
        self._database = database
        self._on_appended = on_appended
        self._quarantine = Quarantine(database)
        self._on_committed = on_committed

    async def append(self, entries: list[Entry]) -> list[Committed]:
        """Commit all entries in one transaction. Return the results in the order of the entries.

        An entry that was committed before gets its first revision again. An entry of an unknown canvas gets revision 0.
        Raises `BadRequest` for an entry without a valid writer, and `Unavailable` when the commit may have failed. The
        caller then sends the entries again.
        """
        for entry in entries:
            if not entry.writer or "\x00" in entry.writer:
                raise BadRequest("an entry has no valid writer")
        started = time.perf_counter()
        rows = await self._commit(entries)
        metrics.COMMIT_SECONDS.observe(time.perf_counter() - started, exemplar())
        metrics.COMMITS.inc()
        tails: dict[str, tuple[int, int]] = {}
        for entry, row in zip(entries, rows, strict=True):
            if not row["revision"]:
                continue
            tails[entry.canvas_id] = row["tail_entries"], row["tail_bytes"]
            if row["repeated"]:
                metrics.REPEATED_ENTRIES.inc()
            else:
                metrics.ENTRIES.inc()
                metrics.UPDATE_BYTES.inc(len(entry.update))
                self._on_committed(entry)
        for canvas_id, (tail_entries, tail_bytes) in tails.items():
            self._on_appended(canvas_id, tail_entries, tail_bytes)
        return [
            Committed(entry.canvas_id, row["revision"])
            for entry, row in zip(entries, rows, strict=True)
        ]

    async def load(self, canvas_id: str, after: int = 0, *, also_deleted: bool = False) -> Content:
        """Return the updates committed after revision `after`, or all content.

        All content is returned when `after` is 0 or above the newest revision, when every stored snapshot is newer than
        `after`, and when a journal entry is missing. For a deleted canvas, which only `also_deleted` permits, all
        content is returned too. Corrupt rows are moved to the quarantine and left out.

        Raises `NotFound` for an unknown canvas, for a deleted one unless `also_deleted`, and after the removal of a
        canvas has begun, because rows may be missing from then on.
        """
        if after > 0:
            rows = await self._quarantine.read(
                canvas_id, lambda: self._database.rows("load_tail", canvas_id, after)
            )
            tail = _tail(rows, after)
            if tail is not None:
                return tail
        rows = await self._quarantine.read(
            canvas_id, lambda: self._database.rows("load_content", canvas_id)
        )
        if not rows or rows[0]["purge_began_at"] is not None:
            raise no_such_canvas()
        if rows[0]["deleted_at"] is not None and not also_deleted:
            raise no_such_canvas()
        return await self._content(canvas_id, rows)

    async def _content(self, canvas_id: str, rows: Sequence[Row]) -> Content:
        """Return the content in the rows of the query `load_content`. Report missing journal entries."""
        newest: int = rows[0]["newest"]
        parts = [row for row in rows if row["revision"] is not None]
        base = parts[0]["revision"] if parts and parts[0]["is_snapshot"] else 0
        found = sum(not row["is_snapshot"] for row in parts)
        await report_missing(self._database, canvas_id, after=base, through=newest, found=found)
        return Content(newest, *content_of(parts))

    async def _commit(self, entries: list[Entry]) -> list[Row]:
        authors = [[author.replace("\x00", "") for author in entry.authors] for entry in entries]
        arguments = (
            # An invalid canvas id is replaced by an unknown one. PostgreSQL could otherwise refuse the whole call.
            [entry.canvas_id if _CANVAS_ID.fullmatch(entry.canvas_id) else "" for entry in entries],
            [entry.writer for entry in entries],
            [entry.sequence for entry in entries],
            list(chain.from_iterable(authors)),
            list(accumulate(map(len, authors))),
            [entry.update for entry in entries],
            [checksum(entry.update) for entry in entries],
        )
        for _ in range(ATTEMPTS):
            try:
                # A single statement is a transaction by itself: it takes one round trip, and its locks end with it.
                async with self._database.session() as session:
                    return await session.rows("append_entries", *arguments)
            except Unavailable as error:
                if not isinstance(
                    error.__cause__, asyncpg.DeadlockDetectedError | asyncpg.SerializationError
                ):
                    raise
        raise Unavailable("too many commits conflict with each other; try again", retry_after=1.0)


def content_of(rows: Sequence[Row]) -> tuple[tuple[bytes, ...], bytes]:
    """Return the updates in the rows, and the outline of the snapshot in the first row (empty if there is none)."""
    outline = rows[0]["outline"] if rows and rows[0]["is_snapshot"] else None
    return tuple(row["update"] for row in rows), outline or b""


def _tail(rows: Sequence[Row], after: int) -> Content | None:
    """Return the content in the rows of the query `load_tail`, or None without rows or when an entry is missing."""
    updates = tuple(row["update"] for row in rows if row["revision"] is not None)
    complete = bool(rows) and rows[0]["newest"] - after == len(updates)
    return Content(rows[0]["newest"], updates) if complete else None
