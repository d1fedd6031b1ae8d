"""The members of a canvas and their roles. Whether such a user exists is the auth service's to know."""

from svgx_common.contract.errors import Conflict, NotFound
from svgx_common.contract.policy import CanvasRole
from svgx_common.contract.state import Member
from svgx_common.postgres import Database, Session
from svgx_state.canvases import no_such_canvas


class Members:
    """The `canvas_member` table. A canvas always keeps an owner."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, canvas_id: str, user_id: str) -> Member:
        """Raises `NotFound` when there is no such canvas or the user is not its member."""
        async with self._database.session() as session:
            return Member(user_id=user_id, role=await _member_role(session, canvas_id, user_id))

    async def set(self, canvas_id: str, user_id: str, role: CanvasRole) -> Member:
        """Give the user this role and no other. Raises `NotFound`, or `Conflict` for the last owner."""
        async with self._database.transaction() as session:
            if await session.row("canvas_for", canvas_id, user_id) is None:
                raise no_such_canvas()
            if role is not CanvasRole.OWNER:
                await _keep_an_owner(session, canvas_id, user_id)
            await session.run("set_member", canvas_id, user_id, role.value)
        return Member(user_id=user_id, role=role)

    async def remove(self, canvas_id: str, user_id: str) -> None:
        """Raises `NotFound`, or `Conflict` for the last owner."""
        async with self._database.transaction() as session:
            await _member_role(session, canvas_id, user_id)
            await _keep_an_owner(session, canvas_id, user_id)
            if await session.row("remove_member", canvas_id, user_id) is None:
                raise _no_such_member()


async def _member_role(session: Session, canvas_id: str, user_id: str) -> CanvasRole:
    row = await session.row("canvas_for", canvas_id, user_id)
    if row is None:
        raise no_such_canvas()
    if row["role"] is None:
        raise _no_such_member()
    return CanvasRole(row["role"])


async def _keep_an_owner(session: Session, canvas_id: str, user_id: str) -> None:
    owners = await session.rows("lock_owners", canvas_id)
    if [row["user_id"] for row in owners] == [user_id]:
        raise Conflict("this is the canvas's last owner; make somebody else an owner first")


def _no_such_member() -> NotFound:
    return NotFound("this user is not a member of the canvas")
