"""The handlers that restore deleted canvases and remove them for good."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from svgx_common.contract.errors import Conflict, Forbidden
from svgx_common.contract.operation import Empty
from svgx_common.contract.policy import CanvasRole, Role
from svgx_common.contract.state import CANVAS_ACCESS_CHANGED, Canvas, CanvasRequest
from svgx_common.contract.storage.deletion import PURGE_CANVAS, RESTORE_CANVAS, Purged
from svgx_common.contract.storage.events import CanvasRestored
from svgx_common.events.outbox import emit
from svgx_common.messaging.bus import Bus
from svgx_common.messaging.caller import Caller
from svgx_common.messaging.responder import Call, Responder
from svgx_common.postgres import Database, Session
from svgx_state.accounts import Accounts
from svgx_state.canvases import Canvases
from svgx_state.deletion.purge import Purge
from svgx_state.permissions import effective_role, no_such_canvas

PURGE_SECONDS = 10.0
"""Time limit of a purge request, in seconds.

Beyond it, a background task removes the remaining rows in further steps.
"""

CheckCanvasCount = Callable[[Session, str, Role], Awaitable[None]]
"""Raises `QuotaFull` if an account with this id and role may not have one more canvas."""

log = structlog.get_logger(__name__)


class DeletedCanvases:
    """The handlers of `RESTORE_CANVAS` and `PURGE_CANVAS`."""

    def __init__(
        self,
        bus: Bus,
        database: Database,
        canvases: Canvases,
        purge: Purge,
        check_canvas_count: CheckCanvasCount,
    ) -> None:
        self._bus = bus
        self._accounts = Accounts(bus)
        self._check_canvas_count = check_canvas_count
        self._database = database
        self._canvases = canvases
        self._purge = purge

    def register(self, responder: Responder) -> None:
        """Answer the operations of this class."""
        responder.answer(RESTORE_CANVAS, self.restore)
        responder.answer(PURGE_CANVAS, self.purge)

    async def restore(self, request: CanvasRequest, call: Call) -> Canvas:
        """Restore a canvas, and return it. A canvas that is not deleted stays as it is.

        Raises `NotFound` for an unknown canvas, for a deleted canvas that the caller does not own, and for a canvas
        that a restore of a backup has not completed. Raises `Forbidden` for any other canvas that the caller does not
        own, `Conflict` when the removal has begun, and `QuotaFull` when the account that created the canvas may not
        have one more. An admin counts as an owner of every canvas.

        Raises `Unavailable` while auth does not answer, if another account than the caller's created the canvas.
        """
        caller = call.signed_in_caller()
        row = await self._database.row("any_canvas", request.canvas_id, caller.user_id)
        if row is None:
            raise no_such_canvas()
        member_role = None if row["role"] is None else CanvasRole(row["role"])
        if effective_role(caller.role, member_role) is not CanvasRole.OWNER:
            if row["deleted_at"] is not None:
                raise no_such_canvas()
            raise Forbidden("only an owner of the canvas may restore it")
        if row["deleted_at"] is not None:
            creator = row["created_by"]
            role = await self._account_role(caller, creator)
            if await self._restore(caller, request.canvas_id, creator, role):
                log.info("canvas restored", by=caller.user_id)
                await self._bus.broadcast(
                    CANVAS_ACCESS_CHANGED, Empty(), canvas_id=request.canvas_id
                )
        return await self._canvases.get(caller, request.canvas_id)

    async def _account_role(self, caller: Caller, user_id: str) -> Role | None:
        """Return the role of an account, or None if it was deleted. Ask auth for any account but the caller's."""
        if user_id == caller.user_id:
            return caller.role_for_limits
        account = (await self._accounts.find([user_id])).get(user_id)
        return None if account is None else account.role

    async def _restore(
        self, caller: Caller, canvas_id: str, creator: str, creator_role: Role | None
    ) -> bool:
        """Restore a canvas, and return True.

        Return False if another request has restored it meanwhile, or if a restore of a backup has not completed it.

        `creator_role` is None for a deleted account. The number of its canvases is not limited.

        Raises `Conflict` and `QuotaFull`.
        """
        async with self._database.transaction() as session:
            if await session.row("lock_deleted", canvas_id) is None:
                row = await session.row("any_canvas", canvas_id, caller.user_id)
                if row is None or row["purge_began_at"] is not None:
                    raise Conflict("the canvas is being removed for good", field="canvas_id")
                return False
            if creator_role is not None:
                await self._check_canvas_count(session, creator, creator_role)
            await session.run("restore_canvas", canvas_id)
            await emit(session, CanvasRestored(canvas_id=canvas_id), actor=caller.user_id)
        return True

    async def purge(self, request: CanvasRequest, call: Call) -> Purged:
        """Remove a deleted canvas for good. Raises `NotFound` and `Conflict` as `Purge.begin` does."""
        await self._purge.begin(request.canvas_id)
        actor = call.signed_in_caller().user_id
        log.info("canvas removal requested", by=actor)
        until = asyncio.get_running_loop().time() + PURGE_SECONDS
        done = await self._purge.run(request.canvas_id, until, actor)
        return Purged(canvas_id=request.canvas_id, finished=done.finished, rows=done.rows)
