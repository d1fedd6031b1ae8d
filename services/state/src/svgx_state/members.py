"""The members of a canvas and their roles. Whether a user exists is not checked, because auth has the accounts."""

from svgx_common.contract.errors import Conflict, NotFound
from svgx_common.contract.policy import CanvasRole
from svgx_common.contract.state import Member
from svgx_common.postgres import Database, Session
from svgx_state.canvases import no_such_canvas


class Members:
    """The table `canvas_member`. A canvas always keeps an owner."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, canvas_id: str, user_id: str) -> Member:
        """Return a member. Raises `NotFound` for an unknown canvas, and for a user that is not a member of it."""
        async with self._database.session() as session:
            return Member(user_id=user_id, role=await _member_role(session, canvas_id, user_id))

    async def set(self, canvas_id: str, user_id: str, role: CanvasRole) -> Member:
        """Give the user this role instead of any other.

        Raises `NotFound` for an unknown canvas, and `Conflict` when the last owner would lose the role.
        """
        async with self._database.transaction() as session:
            if await session.row("canvas_for", canvas_id, user_id) is None:
                raise no_such_canvas()
            if role is not CanvasRole.OWNER:
                await _require_another_owner(session, canvas_id, user_id)
            await session.run("set_member", canvas_id, user_id, role.value)
        return Member(user_id=user_id, role=role)

    async def remove(self, canvas_id: str, user_id: str) -> None:
        """Remove a member. Raises `NotFound` as `get` does, and `Conflict` for the last owner."""
        async with self._database.transaction() as session:
            await _member_role(session, canvas_id, user_id)
            await _require_another_owner(session, canvas_id, user_id)
            if await session.row("remove_member", canvas_id, user_id) is None:
                raise _no_such_member()


async def _member_role(session: Session, canvas_id: str, user_id: str) -> CanvasRole:
    row = await session.row("canvas_for", canvas_id, user_id)
    if row is None:
        raise no_such_canvas()
    if row["role"] is None:
        raise _no_such_member()
    return CanvasRole(row["role"])


async def _require_another_owner(session: Session, canvas_id: str, user_id: str) -> None:
    """Raise `Conflict` if the user is the only owner. Lock the owners until the transaction ends."""
    owners = await session.rows("lock_owners", canvas_id)
    if [row["user_id"] for row in owners] == [user_id]:
        raise Conflict("this is the canvas's last owner; make another user an owner first")


def _no_such_member() -> NotFound:
    return NotFound("this user is not a member of the canvas")
