"""The members of a canvas and their roles."""

from datetime import UTC, datetime

from svgx_common.contract.administration.canvases import (
    LIST_MEMBERS,
    ListMembersRequest,
    MemberPage,
)
from svgx_common.contract.errors import Conflict, NotFound
from svgx_common.contract.policy import CanvasRole
from svgx_common.contract.state import Member
from svgx_common.contract.storage.events import LinkRevoked, MemberChanged
from svgx_common.events.outbox import emit
from svgx_common.messaging.caller import Caller
from svgx_common.pages import Cursor, Listing
from svgx_common.postgres import Database, Session
from svgx_state.accounts import Accounts
from svgx_state.permissions import effective_role, no_such_canvas

MAX_OWNERS_ASKED = 200
"""Largest number of a canvas's owners that are read before one of them loses the role, this owner first.

The change is allowed if another one of them has an active account that may own a canvas. Further owners do not count.
"""

_NO_TIME = datetime(1970, 1, 1, tzinfo=UTC)
"""The time in the cursors of the list of members, which is ordered by user id alone."""


class Members:
    """The table `canvas_member`. No method removes the last owner with an active account from a canvas.

    The share links of a user end when the user is no longer an owner.
    """

    def __init__(self, database: Database, accounts: Accounts) -> None:
        self._database = database
        self._accounts = accounts

    async def get(self, canvas_id: str, user_id: str) -> Member:
        """Return a member. Raises `NotFound` for an unknown canvas, and for a user that is not a member."""
        async with self._database.session() as session:
            return Member(user_id=user_id, role=await _member_role(session, canvas_id, user_id))

    async def page(self, request: ListMembersRequest) -> MemberPage:
        """Return a page of the members of a canvas, by user id.

        Raises `NotFound` for an unknown canvas, and `Invalid` for a cursor that is not the `next` of a page.
        """
        listing = Listing.of(LIST_MEMBERS, request)
        after = listing.decode(request.cursor)
        async with self._database.session() as session:
            if await session.row("canvas_for", request.canvas_id, "") is None:
                raise no_such_canvas()
            rows = await session.rows(
                "members_after", request.canvas_id, request.limit + 1, after and after.id
            )
        page, following = listing.page_of(
            rows, request.limit, lambda row: Cursor(_NO_TIME, row["user_id"])
        )
        items = [Member(user_id=row["user_id"], role=CanvasRole(row["role"])) for row in page]
        return MemberPage(items=items, next=following)

    async def set(
        self, caller: Caller | None, canvas_id: str, user_id: str, role: CanvasRole
    ) -> Member:
        """Give the user this role in place of the present role.

        Without a caller, the event of the change names no actor.

        Raises `NotFound` for an unknown canvas or user, and `Conflict` when the last owner would lose the role.
        """
        if await self._database.row("canvas_for", canvas_id, user_id) is None:
            raise no_such_canvas()
        if user_id not in await self._accounts.find([user_id]):
            raise NotFound("there is no account with this id", field="user_id")
        remaining_owners = frozenset[str]()
        if role is not CanvasRole.OWNER:
            remaining_owners = await self._other_owners(canvas_id, user_id)
        async with self._database.transaction() as session:
            if await session.row("canvas_for", canvas_id, user_id) is None:
                raise no_such_canvas()
            if role is not CanvasRole.OWNER:
                await _require_another_owner(session, canvas_id, user_id, remaining_owners)
            await session.run("set_member", canvas_id, user_id, role.value)
            changed = MemberChanged(canvas_id=canvas_id, user_id=user_id, role=role)
            actor = caller.user_id if caller is not None else None
            await emit(session, changed, actor=actor)
            if role is not CanvasRole.OWNER:
                await _end_links(session, canvas_id, user_id, actor)
        return Member(user_id=user_id, role=role)

    async def remove(self, caller: Caller | None, canvas_id: str, user_id: str) -> None:
        """Remove a member. Raises `NotFound` as `get` does, and `Conflict` for the last owner.

        Without a caller, the event of the change names no actor.
        """
        remaining_owners = await self._other_owners(canvas_id, user_id)
        async with self._database.transaction() as session:
            await _member_role(session, canvas_id, user_id)
            await _require_another_owner(session, canvas_id, user_id, remaining_owners)
            if await session.row("remove_member", canvas_id, user_id) is None:
                raise _no_such_member()
            changed = MemberChanged(canvas_id=canvas_id, user_id=user_id, role=None)
            actor = caller.user_id if caller is not None else None
            await emit(session, changed, actor=actor)
            await _end_links(session, canvas_id, user_id, actor)

    async def _other_owners(self, canvas_id: str, user_id: str) -> frozenset[str]:
        """Return the canvas's other owners that can act as owners. The set is empty when the user is not an owner.

        Call this before the transaction, because the call waits for auth. A user can act as an owner while the account
        is active and has a role that allows this.
        """
        rows = await self._database.rows("owners", canvas_id, user_id, MAX_OWNERS_ASKED)
        other_ids = [row["user_id"] for row in rows if row["user_id"] != user_id]
        if len(other_ids) == len(rows) or not other_ids:
            return frozenset()
        accounts = (await self._accounts.find(other_ids)).values()
        return frozenset(
            account.id
            for account in accounts
            if not account.disabled
            and effective_role(account.role, CanvasRole.OWNER) is CanvasRole.OWNER
        )


async def _member_role(session: Session, canvas_id: str, user_id: str) -> CanvasRole:
    row = await session.row("canvas_for", canvas_id, user_id)
    if row is None:
        raise no_such_canvas()
    if row["role"] is None:
        raise _no_such_member()
    return CanvasRole(row["role"])


async def _end_links(session: Session, canvas_id: str, user_id: str, actor: str | None) -> None:
    """End the links that a user has created, because the user is not an owner any more."""
    for row in await session.rows("end_links_of", canvas_id, user_id):
        await emit(session, LinkRevoked(canvas_id=canvas_id, link_id=row["id"]), actor=actor)


async def _require_another_owner(
    session: Session, canvas_id: str, user_id: str, candidates: frozenset[str]
) -> None:
    """Raise `Conflict` if the user is an owner, and none of `candidates` is another owner.

    Lock the owners until the transaction ends.
    """
    owners = {row["user_id"] for row in await session.rows("lock_owners", canvas_id)}
    if user_id in owners and not (owners - {user_id}) & candidates:
        raise Conflict(
            "no other owner has an active account that may own a canvas; make another user an owner first",
            field="user_id",
        )


def _no_such_member() -> NotFound:
    return NotFound("this user is not a member of the canvas", field="user_id")
