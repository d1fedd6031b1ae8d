"""Canvases: create, find, rename, delete. What is on them is the journal's."""

import uuid

from svgx_common.contract.errors import Forbidden, NotFound
from svgx_common.contract.policy import CanvasRole, Role
from svgx_common.contract.state import Canvas, CanvasPage
from svgx_common.messaging.caller import Caller
from svgx_common.pages import Cursor
from svgx_common.postgres import Database, Row
from svgx_state.permissions import effective_role


class Canvases:
    """The `canvas` table. Deleted canvases do not exist here."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, caller: Caller, name: str) -> Canvas:
        """A new, empty canvas that the caller owns."""
        row = await self._database.row("create_canvas", str(uuid.uuid4()), name, caller.user_id)
        assert row is not None
        role = effective_role(caller.role, CanvasRole.OWNER)
        assert role is not None
        return _canvas(row, role)

    async def get(self, caller: Caller, canvas_id: str) -> Canvas:
        """The canvas as the caller sees it. Raises `NotFound`, or `Forbidden` without a role on it."""
        row = await self._database.row("canvas_for", canvas_id, caller.user_id)
        if row is None:
            raise no_such_canvas()
        role = _role(row, caller)
        if role is None:
            raise Forbidden("you have no role on this canvas; ask one of its owners")
        return _canvas(row, role)

    async def rename(self, caller: Caller, canvas_id: str, name: str) -> Canvas:
        """Rename and return it. Raises `NotFound`."""
        if await self._database.row("rename_canvas", canvas_id, name) is None:
            raise no_such_canvas()
        return await self.get(caller, canvas_id)

    async def delete(self, canvas_id: str) -> None:
        """Mark it as deleted. Raises `NotFound`."""
        if await self._database.row("delete_canvas", canvas_id) is None:
            raise no_such_canvas()

    async def page(
        self, caller: Caller, name: str | None, limit: int, cursor: str | None
    ) -> CanvasPage:
        """Canvases the caller may see, newest first: at most `limit` of those whose name contains `name`."""
        after = None if cursor is None else Cursor.decode(cursor)
        rows = await self._database.rows(
            "all_canvases" if caller.role is Role.ADMIN else "canvases_of_user",
            caller.user_id,
            name,
            limit + 1,  # one more tells whether there is a next page
            after and after.at,
            after and after.id,
        )
        items = [
            _canvas(row, role) for row in rows[:limit] if (role := _role(row, caller)) is not None
        ]
        last = rows[limit - 1] if len(rows) > limit else None
        following = None if last is None else Cursor(last["created_at"], last["id"]).encode()
        return CanvasPage(items=items, next=following)


def no_such_canvas() -> NotFound:
    """The error for an id that is unknown or deleted."""
    return NotFound("there is no such canvas")


def _role(row: Row, caller: Caller) -> CanvasRole | None:
    member = row["role"]
    return effective_role(caller.role, None if member is None else CanvasRole(member))


def _canvas(row: Row, role: CanvasRole) -> Canvas:
    return Canvas(
        id=row["id"],
        name=row["name"],
        role=role,
        revision=row["revision"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )
