"""The quotas in force: the bounds that admins have set, and the settings of this service for all other bounds."""

import json

from svgx_common.contract.policy import Role
from svgx_common.contract.storage.quotas import (
    AccountBounds,
    CanvasBounds,
    Quotas,
    SetQuotasRequest,
)
from svgx_common.postgres import Database, Row, Session
from svgx_state.settings import StateSettings

_NAME = "quotas"
_MIB = 1024 * 1024


def default_quotas(settings: StateSettings) -> Quotas:
    """Return the quotas that are in force until an admin sets others."""
    factor = settings.quota_admin_factor
    account = AccountBounds(
        journal_bytes_per_day=settings.quota_account_journal_mb * _MIB,
        canvases=settings.quota_account_canvases,
        canvases_per_hour=settings.quota_account_canvases_per_hour,
        canvases_per_day=settings.quota_account_canvases_per_day,
    )
    of_admins = {name: bound * factor for name, bound in account.model_dump().items()}
    return Quotas(
        account=account,
        canvas=CanvasBounds(
            journal_bytes_per_day=settings.quota_canvas_journal_mb * _MIB,
            content_bytes=settings.quota_canvas_content_mb * _MIB,
        ),
        roles={Role.ADMIN: AccountBounds(**of_admins)},
    )


class StoredQuotas:
    """The quotas in the row `quotas` of the table `configuration`. `defaults` has every bound."""

    def __init__(self, database: Database, defaults: Quotas) -> None:
        self._database = database
        self._defaults = defaults

    async def in_force(self) -> Quotas:
        """Return the quotas in force."""
        return self._merged(await self._database.row("configuration", _NAME))

    async def in_force_within(self, session: Session) -> Quotas:
        """Return the quotas in force. Read them with the database connection of `session`."""
        return self._merged(await session.row("configuration", _NAME))

    async def set(self, request: SetQuotasRequest, user_id: str) -> Quotas | None:
        """Store quotas, and return those in force. Return None when the stored version is not `request.version`."""
        value = request.model_dump_json(exclude={"version"}, exclude_none=True)
        row = await self._database.row("set_configuration", _NAME, value, user_id, request.version)
        return None if row is None else self._merged({"value": value, "version": row["version"]})

    def _merged(self, row: Row | dict[str, object] | None) -> Quotas:
        """Return the quotas of a stored row, with the defaults for the bounds that the row does not have."""
        if row is None:
            return self._defaults
        stored = Quotas.model_validate({**json.loads(str(row["value"])), "version": row["version"]})
        defaults = self._defaults
        roles = {
            role: stored.roles.get(role, AccountBounds()).over(
                # A bound that an admin set for all accounts also applies to roles with another default.
                _without(defaults.roles.get(role, AccountBounds()), stored.account)
            )
            for role in {*stored.roles, *defaults.roles}
        }
        return stored.model_copy(
            update={
                "account": stored.account.over(defaults.account),
                "canvas": stored.canvas.over(defaults.canvas),
                "roles": roles,
            }
        )


def _without(bounds: AccountBounds, replaced: AccountBounds) -> AccountBounds:
    """Return `bounds` without the bounds that `replaced` sets."""
    return bounds.model_copy(update=dict.fromkeys(replaced.model_dump(exclude_none=True)))
