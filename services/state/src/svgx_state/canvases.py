"""The table `canvas`: creating, finding, renaming and deleting canvases. Their content is in the journal."""

import uuid
from collections.abc import Awaitable, Callable

from svgx_common.contract.errors import Forbidden, Unavailable
from svgx_common.contract.policy import CanvasRole, Role
from svgx_common.contract.state import LIST_CANVASES, Canvas, CanvasPage, ListCanvasesRequest
from svgx_common.contract.storage.events import CanvasCreated, CanvasDeleted, CanvasRenamed
from svgx_common.events.outbox import emit
from svgx_common.messaging.caller import Caller
from svgx_common.pages import Cursor, Listing
from svgx_common.postgres import Database, Row, Session
from svgx_state.permissions import effective_role, no_such_canvas
from svgx_state.sharing.links import Links

CheckCanvasQuota = Callable[[Session, Caller], Awaitable[None]]
"""Raises an error if the caller may not have one more canvas. Called in the transaction that creates it."""


class Canvases:
    """The canvases in the table `canvas`. All methods except `page` treat deleted canvases as unknown."""

    def __init__(
        self, database: Database, check_quota: CheckCanvasQuota, links: Links | None = None
    ) -> None:
        """Give access to the table. Without `links`, no share link gives a role."""
        self._database = database
        self._check_quota = check_quota
        self._links = links

    async def create(self, caller: Caller, name: str) -> Canvas:
        """Create an empty canvas that the caller owns. Raises the errors of `check_quota`."""
        async with self._database.transaction() as session:
            await self._check_quota(session, caller)
            row = await session.row("create_canvas", str(uuid.uuid4()), name, caller.user_id)
            assert row is not None
            created = CanvasCreated(canvas_id=row["id"], name=name)
            await emit(session, created, actor=caller.user_id)
        role = effective_role(caller.role, CanvasRole.OWNER)
        assert role is not None
        return _canvas(row, role)

    async def get(self, caller: Caller, canvas_id: str) -> Canvas:
        """Return the canvas with the caller's role: the higher one of the account's role and the share link's role.

        Raises `NotFound`, or `Forbidden` without a role on the canvas. For a visitor, raises `Unauthenticated` when the
        link has ended.
        """
        row = await self._database.row("canvas_for", canvas_id, caller.user_id)
        if row is None:
            raise no_such_canvas()
        role = _role(row, caller)
        if self._links is not None and caller.link_id is not None:
            try:
                role = _higher_role(role, await self._links.role(caller, canvas_id))
            except Unavailable:
                # Auth is needed for the link only. A member keeps the role as a member.
                if role is None:
                    raise
        if role is None:
            raise Forbidden("you have no role on this canvas; ask one of its owners")
        return _canvas(row, role)

    async def rename(self, caller: Caller, canvas_id: str, name: str) -> Canvas:
        """Rename the canvas, and return it. Raises `NotFound`."""
        async with self._database.transaction() as session:
            if await session.row("rename_canvas", canvas_id, name) is None:
                raise no_such_canvas()
            renamed = CanvasRenamed(canvas_id=canvas_id, name=name)
            await emit(session, renamed, actor=caller.user_id)
        return await self.get(caller, canvas_id)

    async def delete(self, caller: Caller | None, canvas_id: str) -> None:
        """Mark the canvas as deleted. Raises `NotFound`. Without a caller, the event of the deletion names no actor."""
        async with self._database.transaction() as session:
            if await session.row("delete_canvas", canvas_id) is None:
                raise no_such_canvas()
            await emit(
                session,
                CanvasDeleted(canvas_id=canvas_id),
                actor=caller.user_id if caller is not None else None,
            )

    async def page(self, request: ListCanvasesRequest, caller: Caller) -> CanvasPage:
        """Return a page of the canvases that the caller may see, newest first.

        With `name`, return only canvases with that text in their name, regardless of case. With `deleted`, return only
        deleted canvases that the caller may restore. `cursor` is the `next` of the page before. Raises `Invalid` for
        any other cursor.
        """
        listing = Listing.of(LIST_CANVASES, request, caller.user_id)
        after = listing.decode(request.cursor)
        is_admin = caller.role is Role.ADMIN
        rows = await self._database.rows(
            "deleted_canvases"
            if request.deleted
            else "all_canvases"
            if is_admin
            else "canvases_of_user",
            caller.user_id,
            request.name,
            request.limit + 1,
            after and after.at,
            after and after.id,
            *([is_admin] if request.deleted else []),
        )
        if request.deleted and caller.role is Role.VIEWER:
            # An account with the role viewer has at most the role viewer on each canvas, so it may restore no canvas.
            rows = []
        page, following = listing.page_of(rows, request.limit, _position)
        items = [_canvas(row, role) for row in page if (role := _role(row, caller)) is not None]
        return CanvasPage(items=items, next=following)


def _position(row: Row) -> Cursor:
    return Cursor(row["created_at"], row["id"])


def _role(row: Row, caller: Caller) -> CanvasRole | None:
    member = row["role"]
    return effective_role(caller.role, None if member is None else CanvasRole(member))


def _higher_role(first: CanvasRole | None, second: CanvasRole | None) -> CanvasRole | None:
    if first is None or second is None:
        return first or second
    return first if first.allows(second) else second


def _canvas(row: Row, role: CanvasRole) -> Canvas:
    return Canvas(
        id=row["id"],
        name=row["name"],
        role=role,
        revision=row["revision"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        deleted_at=row.get("deleted_at"),
    )
