"""Versions: kept states of canvases.

The journal has the content of a version. Before the retention drops this part of the journal, the content of a version
with a name is copied into the table `version_content`, once for all versions of one revision.
"""

import uuid
from dataclasses import dataclass

from svgx_common.contract.errors import Conflict, DeadlineExceeded, NotFound, Unavailable
from svgx_common.contract.state import Content
from svgx_common.contract.storage.events import VersionCreated, VersionRestored
from svgx_common.contract.storage.versions import (
    LIST_VERSIONS,
    ListVersionsRequest,
    Version,
    VersionKind,
    VersionPage,
)
from svgx_common.events.outbox import emit
from svgx_common.pages import Cursor, Listing
from svgx_common.postgres import Database, Row, Session
from svgx_state.history import metrics
from svgx_state.history.kept_content import decode_content
from svgx_state.history.past import Past
from svgx_state.permissions import no_such_canvas

HOUR_SECONDS = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """The bounds of a canvas's versions."""

    all_hours: float
    """Age in hours up to which all versions without a name are kept."""
    hourly_hours: float
    """Age in hours up to which the last automatic version of each hour is kept.

    Of older versions without a name, the last of each day is kept.
    """
    unnamed: int
    """Largest number of versions without a name."""
    named: int
    """Largest number of versions with a name."""


class Versions:
    """The table `version`."""

    def __init__(self, database: Database, past: Past, bounds: Bounds) -> None:
        self._database = database
        self._past = past
        self._bounds = bounds

    async def add(
        self, canvas_id: str, kind: VersionKind, user_id: str | None = None, name: str | None = None
    ) -> Version | None:
        """Make a version of the committed content of a canvas, and delete versions beyond the bounds (see `thin`).

        `user_id` is the version's creator, or None for an automatic version. Return None for an automatic version if
        another replica has already made it, or if the canvas is unknown or deleted. For such a canvas, other kinds
        raise `NotFound`. Raises `Conflict` for a version with a name beyond the bound.
        """
        async with self._database.transaction() as session:
            if name is not None:
                await self._check_named(session, canvas_id)
            row = await session.row(
                "add_version", str(uuid.uuid4()), canvas_id, kind.value, name, user_id
            )
            if row is None:
                if kind is VersionKind.AUTOMATIC:
                    return None
                raise no_such_canvas()
            created = VersionCreated(
                canvas_id=canvas_id, version_id=row["id"], revision=row["revision"], name=name
            )
            await emit(session, created, actor=user_id)
        metrics.VERSIONS_MADE.labels(kind.value).inc()
        await self.thin(canvas_id)
        return _version(row)

    async def note_restored(
        self, before: Version, restored: VersionRestored, user_id: str
    ) -> Version:
        """Record the restore of a version. Return the version `before`, which was made before the restore.

        `before` is moved to the last revision before the restore, so that it also has the edits that were committed
        after it was made.
        """
        async with self._database.transaction() as session:
            row = await session.row("advance_version", before.id, restored.revision - 1)
            await emit(session, restored, actor=user_id)
        return before if row is None else _version(row)

    async def first_edit_after(
        self, version: Version, canvas_id: str, user_id: str, newest: int
    ) -> int:
        """Return the revision of a user's first edit after a version, up to the revision `newest`.

        Return the revision after the version if the edit is not found, or while PostgreSQL does not answer.
        """
        try:
            row = await self._database.row(
                "first_edit_after", canvas_id, version.revision, newest, user_id, version.edited_at
            )
        except (Unavailable, DeadlineExceeded):
            row = None
        return version.revision + 1 if row is None else int(row["revision"])

    async def get(self, canvas_id: str, version_id: str) -> Version:
        """Return a version of a canvas. Raises `NotFound`."""
        row = await self._database.row("version", canvas_id, version_id)
        if row is None:
            raise no_such_version()
        return _version(row)

    async def content(self, canvas_id: str, version_id: str) -> Content:
        """Return the content of a version. Raises `NotFound`."""
        row = await self._database.row("version_content", canvas_id, version_id)
        if row is None:
            raise no_such_version()
        if row["content"] is not None:
            return decode_content(row["content"])
        return await self._past.content(canvas_id, row["revision"])

    async def page(self, request: ListVersionsRequest) -> VersionPage:
        """Return a page of a canvas's versions, newest first.

        Raises `Invalid` for a cursor that is not the `next` of a page.
        """
        listing = Listing.of(LIST_VERSIONS, request)
        after = listing.decode(request.cursor)
        rows = await self._database.rows(
            "versions",
            request.canvas_id,
            request.limit + 1,
            after and after.at,
            after and after.id,
            request.named,
        )
        page, following = listing.page_of(
            rows, request.limit, lambda row: Cursor(row["at"], row["id"])
        )
        return VersionPage(items=[_version(row) for row in page], next=following)

    async def rename(self, canvas_id: str, version_id: str, name: str) -> Version:
        """Name a version, and return it. Raises `NotFound`, and `Conflict` beyond the bound of named versions."""
        was_unnamed = (await self.get(canvas_id, version_id)).name is None
        async with self._database.transaction() as session:
            if was_unnamed:
                await self._check_named(session, canvas_id)
            row = await session.row("rename_version", canvas_id, version_id, name)
        if row is None:
            raise no_such_version()
        return _version(row)

    async def delete(self, canvas_id: str, version_id: str) -> None:
        """Delete a version. Raises `NotFound`."""
        if await self._database.row("delete_version", canvas_id, version_id) is None:
            raise no_such_version()

    async def thin(self, canvas_id: str) -> None:
        """Delete the versions without a name that are too many for their age, or too many in all."""
        bounds = self._bounds
        removed = await self._database.rows(
            "thin_versions",
            canvas_id,
            bounds.all_hours * HOUR_SECONDS,
            bounds.hourly_hours * HOUR_SECONDS,
            bounds.unnamed,
        )
        metrics.VERSIONS_REMOVED.labels("thinned").inc(len(removed))

    async def _check_named(self, session: Session, canvas_id: str) -> None:
        """Raise `Conflict` at the bound of named versions.

        Other requests that name a version of this canvas wait until the transaction ends.
        """
        await session.run("lock_named_versions", canvas_id)
        row = await session.row("named_versions", canvas_id)
        if row is not None and row["number"] >= self._bounds.named:
            raise Conflict(
                f"this canvas has {row['number']} versions with a name; delete one first",
                limit=self._bounds.named,
            )


def no_such_version() -> NotFound:
    """Return the error for the id of an unknown version, or of a version of another canvas."""
    return NotFound("this canvas has no such version")


def _version(row: Row) -> Version:
    return Version(
        id=row["id"],
        kind=VersionKind(row["kind"]),
        name=row["name"],
        revision=row["revision"],
        at=row["at"],
        edited_at=row["edited_at"],
        authors=row["authors"],
        created_by=row["created_by"],
    )
