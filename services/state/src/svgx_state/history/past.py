"""The content of canvases at past moments: the newest snapshot up to the moment, and the journal after the snapshot."""

from datetime import datetime, timedelta

from svgx_common.contract.errors import Invalid, NotFound
from svgx_common.contract.state import Content
from svgx_common.contract.storage.versions import Moment
from svgx_common.postgres import Database
from svgx_state.journal.entries import content_of
from svgx_state.journal.gaps import report_missing
from svgx_state.journal.quarantine import Quarantine
from svgx_state.permissions import no_such_canvas


class Past:
    """The past of all canvases, as far as the journal is kept."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._quarantine = Quarantine(database)

    async def moment(self, canvas_id: str, at: datetime | None = None) -> Moment:
        """Return the newest revision of a canvas at a time, or at present, and the start of its known past.

        Raises `NotFound` for an unknown or deleted canvas, and `Invalid` for a time in the future or before the
        canvas's known past.
        """
        row = await self._database.row("moment", canvas_id, at)
        if row is None:
            raise no_such_canvas()
        earliest, present = row["earliest"], row["present"]
        # The later bound is rounded down by `_iso_text`, so that both bounds are accepted.
        first, last = _iso_text(_round_up(earliest)), _iso_text(present)
        if at is not None and at > present:
            raise Invalid(
                f"at: is in the future; give a time from {first} to {last}", field="at", limit=last
            )
        if row["revision"] is None:
            raise Invalid(
                f"at: is before the known past of this canvas; give a time from {first} to {last}",
                field="at",
                limit=first,
            )
        return Moment(revision=row["revision"], edited_at=row["edited_at"], earliest=earliest)

    async def content(
        self, canvas_id: str, revision: int, *, also_deleted: bool = False
    ) -> Content:
        """Return the content of a canvas after the commit of a revision.

        Missing journal entries are left out. They are reported unless the quarantine has all of them.
        Corrupt rows are moved to the quarantine.

        Raises `NotFound` for an unknown canvas, for a deleted one unless `also_deleted`, and for a revision that the
        journal does not have any more.
        """
        rows = await self._quarantine.read(
            canvas_id, lambda: self._database.rows("load_past", canvas_id, revision)
        )
        if not rows or (rows[0]["deleted_at"] is not None and not also_deleted):
            raise no_such_canvas()
        parts = [row for row in rows if row["revision"] is not None]
        if not parts and revision:
            raise NotFound(f"the journal does not have revision {revision} of this canvas any more")
        base = parts[0]["revision"] if parts and parts[0]["is_snapshot"] else 0
        found = sum(not row["is_snapshot"] for row in parts)
        await report_missing(self._database, canvas_id, after=base, through=revision, found=found)
        return Content(revision, *content_of(parts))


def _round_up(moment: datetime) -> datetime:
    """Return the first whole millisecond that is not before a time."""
    return moment + timedelta(microseconds=-moment.microsecond % 1000)


def _iso_text(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
