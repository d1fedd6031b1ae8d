"""The operations on quotas: read and set the bounds, and read the use."""

from svgx_common.contract.auth import UserRequest
from svgx_common.contract.errors import Conflict, Invalid, NotFound
from svgx_common.contract.state import CanvasRequest
from svgx_common.contract.storage.quotas import (
    CANVAS_USAGE,
    GET_QUOTAS,
    OWN_USAGE,
    QUOTA_REPORT,
    QUOTAS_CHANGED,
    SET_QUOTAS,
    TOP_USAGE,
    USER_USAGE,
    AccountUsage,
    CanvasUsage,
    QuotaReport,
    Quotas,
    QuotasRequest,
    SetQuotasRequest,
    TopUsage,
    TopUsageRequest,
    TopUsages,
    UsageList,
)
from svgx_common.messaging.bus import Bus
from svgx_common.messaging.responder import Call, Responder
from svgx_common.postgres import Database
from svgx_state.accounts import Accounts
from svgx_state.present import today
from svgx_state.quotas.bounds import StoredQuotas
from svgx_state.quotas.counter import UsageCounter
from svgx_state.quotas.usage import account_usage, canvas_usage


class QuotaOperations:
    """The handlers of the operations on quotas. The gateway checks the scope and the role on the canvas."""

    def __init__(
        self,
        bus: Bus,
        database: Database,
        accounts: Accounts,
        stored: StoredQuotas,
        counter: UsageCounter,
    ) -> None:
        self._bus = bus
        self._database = database
        self._accounts = accounts
        self._stored = stored
        self._counter = counter

    def register(self, responder: Responder) -> None:
        """Answer the operations of this class."""
        responder.answer(GET_QUOTAS, self.get)
        responder.answer(SET_QUOTAS, self.set)
        responder.answer(OWN_USAGE, self.own_usage)
        responder.answer(USER_USAGE, self.user_usage)
        responder.answer(CANVAS_USAGE, self.canvas_usage)
        responder.answer(TOP_USAGE, self.top_usage)
        responder.answer(QUOTA_REPORT, self.report)

    async def get(self, _: QuotasRequest, __: Call) -> Quotas:
        """Return the quotas in force."""
        return await self._stored.in_force()

    async def set(self, request: SetQuotasRequest, call: Call) -> Quotas:
        """Store quotas, announce them to the gateways, and return the quotas in force.

        Raises `Conflict` for an outdated `version`, and `Invalid` for a new exception for an account or a canvas that
        does not exist.
        """
        present = await self._stored.in_force()
        if request.version not in (None, present.version):
            raise _outdated()
        await self._check_exceptions(request, present)
        quotas = await self._stored.set(request, call.signed_in_caller().user_id)
        if quotas is None:
            raise _outdated()
        await self._bus.broadcast(QUOTAS_CHANGED, await self._counter.report())
        return quotas

    async def _check_exceptions(self, request: SetQuotasRequest, present: Quotas) -> None:
        """Raise `Invalid` for an unknown account or canvas that the request adds to the exceptions.

        Exceptions that are set already are not checked, because accounts and canvases may have been deleted since.
        """
        new_users = [each for each in request.users if each not in present.users]
        await self._accounts.check_exist([(each, f"users.{each}") for each in new_users])
        if new_canvases := [each for each in request.canvases if each not in present.canvases]:
            rows = await self._database.rows("existing_canvases", new_canvases)
            existing = {row["id"] for row in rows}
            for canvas_id in new_canvases:
                if canvas_id not in existing:
                    field = f"canvases.{canvas_id}"
                    raise Invalid(f"{field}: there is no canvas with this id", field=field)

    async def own_usage(self, _: QuotasRequest, call: Call) -> AccountUsage:
        """Return the use of the caller's quotas."""
        caller = call.signed_in_caller()
        async with self._database.session() as session:
            quotas = await self._stored.in_force_within(session)
            return await account_usage(session, quotas, caller.user_id, caller.role_for_limits)

    async def user_usage(self, request: UserRequest, _: Call) -> AccountUsage:
        """Return the use of a user's quotas. Raises `NotFound` for an unknown or deleted account."""
        accounts = await self._accounts.find([request.user_id])
        if request.user_id not in accounts:
            raise NotFound("there is no account with this id", field="user_id")
        role = accounts[request.user_id].role
        async with self._database.session() as session:
            quotas = await self._stored.in_force_within(session)
            return await account_usage(session, quotas, request.user_id, role)

    async def canvas_usage(self, request: CanvasRequest, _: Call) -> CanvasUsage:
        """Return the use of a canvas's quotas. Raises `NotFound`."""
        async with self._database.session() as session:
            quotas = await self._stored.in_force_within(session)
            return await canvas_usage(session, quotas, request.canvas_id)

    async def top_usage(self, request: TopUsageRequest, _: Call) -> TopUsages:
        """Return the accounts or canvases that added most to the journal today, through edits."""
        async with self._database.session() as session:
            day = await today(session)
            if request.by is UsageList.ACCOUNTS:
                rows = await session.rows("top_accounts", day, request.limit)
            else:
                rows = await session.rows("top_canvases", day, request.limit)
        items = [TopUsage(id=row["id"], journal_bytes=row["journal_bytes"]) for row in rows]
        return TopUsages(day=day, items=items)

    async def report(self, _: QuotasRequest, __: Call) -> QuotaReport:
        """Return the quotas in force, and the accounts and canvases that are near to a bound."""
        return await self._counter.report()


def _outdated() -> Conflict:
    return Conflict("the quotas were changed since this version; read them again", field="version")
