"""The quarantine: entries and snapshots that cannot be read are moved to it, so that their canvas still loads."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import asyncpg
import structlog

from svgx_common.contract.errors import Unavailable
from svgx_common.postgres import Database, Row
from svgx_state.journal import metrics
from svgx_state.journal.checksums import is_sound

log = structlog.get_logger(__name__)

# The reasons for the move of a row. Each text describes the row.
WRONG_CHECKSUM = "its bytes do not match its checksum"
NOT_AN_UPDATE = "it is not a Yjs update"
UNREADABLE_BYTES = "PostgreSQL cannot read its bytes"

ATTEMPTS = 100
"""Largest number of reads of a canvas's rows in one call. Several reads may be needed, because each read may find
other corrupt rows. After the last read, the call fails with `Unavailable`.
"""

PERIOD_SECONDS = 300.0
"""Seconds between two readings of the newest move."""

Read = Callable[[], Awaitable[Sequence[Row]]]
"""Reads entries and snapshots: rows with `is_snapshot`, `revision`, `update` and `checksum`."""


class CorruptRows(Exception):
    """Rows with bytes that do not match their checksum. The caller passes them to `Quarantine.move`."""

    def __init__(self, rows: Sequence[Row]) -> None:
        super().__init__(f"{len(rows)} rows are corrupt")
        self.rows = rows


def check(rows: Sequence[Row]) -> None:
    """Raise `CorruptRows` if an update does not match its checksum.

    Rows with a null revision are skipped, because they have no update.
    """
    corrupt = [
        row
        for row in rows
        if row["revision"] is not None
        and row["update"] is not None
        and not is_sound(row["update"], row["checksum"])
    ]
    if corrupt:
        raise CorruptRows(corrupt)


class Quarantine:
    """The table `quarantine`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def read(self, canvas_id: str, read: Read) -> Sequence[Row]:
        """Return the rows that `read` returns, after the corrupt rows of the canvas are moved to the quarantine.

        After a corrupt snapshot is moved, `read` finds the snapshot before it, and the journal entries after that older
        snapshot.
        """
        for _ in range(ATTEMPTS):
            try:
                rows = await read()
                check(rows)
                return rows
            except CorruptRows as corrupt:
                if not await self.move(canvas_id, corrupt.rows, WRONG_CHECKSUM):
                    # Another replica moved the rows, or PostgreSQL now returns other bytes. The next read shows which
                    # of these happened.
                    log.warning("corrupt rows were moved or changed meanwhile", canvas_id=canvas_id)
            except asyncpg.DataCorruptedError:
                if not await self.move_unreadable(canvas_id):
                    raise
        raise Unavailable(
            f"the canvas still has corrupt rows after {ATTEMPTS} reads; try again", retry_after=1.0
        )

    async def move(self, canvas_id: str, rows: Sequence[Row], reason: str) -> int:
        """Move rows to the quarantine. Skip rows that changed after they were read. Return the number of moved rows."""
        moved = 0
        for row in rows:
            moved += await self._move(canvas_id, row, reason, row["update"])
        return moved

    async def move_unreadable(self, canvas_id: str) -> int:
        """Find the rows of a canvas that PostgreSQL cannot read, and move them to the quarantine.

        A snapshot with a readable update stays, and loses only an unreadable outline. Return the number of rows that
        were moved or lost their outline.
        """
        changed = 0
        for row in await self._database.rows("stored_rows", canvas_id):
            is_snapshot, revision = row["is_snapshot"], row["revision"]
            read = self._database.row(
                "read_snapshot" if is_snapshot else "read_entry", canvas_id, revision
            )
            if not await _is_readable(read):
                changed += await self._move(canvas_id, row, UNREADABLE_BYTES, None)
            elif is_snapshot and not await _is_readable(
                self._database.row("read_outline", canvas_id, revision)
            ):
                changed += await self._drop_outline(canvas_id, revision)
        return changed

    async def show_newest_and_wait(self) -> None:
        """Set the metric of the newest move by any process, and wait. This is a step to repeat in the background."""
        await self.show_newest()
        await asyncio.sleep(PERIOD_SECONDS)

    async def show_newest(self) -> None:
        """Set the metric of the newest move by any process."""
        row = await self._database.row("newest_quarantined")
        assert row is not None
        metrics.QUARANTINED_AT.set(row["at"])

    async def _drop_outline(self, canvas_id: str, revision: int) -> int:
        """Delete the outline of a snapshot, and count and log the deletion. Return the number of deleted outlines.

        Without an outline, each load checks the snapshot.
        """
        if await self._database.row("drop_outline", canvas_id, revision) is None:
            return 0
        metrics.DELETED_OUTLINES.inc()
        log.error(
            "an outline that PostgreSQL cannot read was deleted, and its snapshot stays",
            canvas_id=canvas_id,
            revision=revision,
        )
        return 1

    async def _move(self, canvas_id: str, row: Row, reason: str, update: bytes | None) -> int:
        """Move a row to the quarantine, and count and log the move. Return the number of moved rows: 0 or 1."""
        is_snapshot, revision = row["is_snapshot"], row["revision"]
        async with self._database.transaction() as session:
            moved = await session.row(
                "quarantine_snapshot" if is_snapshot else "quarantine_entry",
                canvas_id,
                revision,
                reason,
                update,
            )
            if moved is None:
                return 0
            if is_snapshot:
                await session.run("note_lost_snapshot", canvas_id)
        metrics.QUARANTINED.inc()
        log.error(
            "a corrupt row was moved to the quarantine",
            canvas_id=canvas_id,
            kind="snapshot" if is_snapshot else "entry",
            revision=revision,
            reason=reason,
            quarantine_id=moved["id"],
        )
        return 1


async def _is_readable(read: Awaitable[object]) -> bool:
    """Return whether PostgreSQL can read the bytes that a query selects."""
    try:
        await read
    except asyncpg.DataCorruptedError:
        return False
    return True
