"""The rate limits that admins have set. State stores them, and the gateways apply them."""

import json

from svgx_common.contract import ratelimits
from svgx_common.contract.errors import Conflict
from svgx_common.contract.ratelimits import (
    RATE_LIMITS_CHANGED,
    RateLimits,
    RateLimitsRequest,
    SetRateLimitsRequest,
)
from svgx_common.messaging.bus import Bus
from svgx_common.messaging.responder import Call, Responder
from svgx_common.postgres import Database
from svgx_state.accounts import Accounts

_NAME = "rate_limits"


class StoredRateLimits:
    """The row `rate_limits` of the table `configuration`."""

    def __init__(self, bus: Bus, database: Database, accounts: Accounts) -> None:
        self._bus = bus
        self._database = database
        self._accounts = accounts

    def register(self, responder: Responder) -> None:
        """Answer the operations that read and set the rate limits."""
        responder.answer(ratelimits.STORED, self.get)
        responder.answer(ratelimits.STORE, self.set)

    async def get(self, _: RateLimitsRequest, __: Call) -> RateLimits:
        """Return the rate limits that admins have set. Without any, return no limits and version 0."""
        return await self._stored()

    async def _stored(self) -> RateLimits:
        row = await self._database.row("configuration", _NAME)
        if row is None:
            return RateLimits()
        return RateLimits.model_validate({**json.loads(row["value"]), "version": row["version"]})

    async def set(self, request: SetRateLimitsRequest, call: Call) -> RateLimits:
        """Store the rate limits, and announce them to the gateways.

        Raises `Conflict` for an outdated `version`, and `Invalid` for a new whitelisted account that does not exist.
        """
        await self._check_whitelist(request)
        value = request.model_dump_json(exclude={"version"})
        row = await self._database.row(
            "set_configuration", _NAME, value, call.signed_in_caller().user_id, request.version
        )
        if row is None:
            raise Conflict(
                "the rate limits were changed since this version; read them again", field="version"
            )
        stored = RateLimits.model_validate({**json.loads(value), "version": row["version"]})
        await self._bus.broadcast(RATE_LIMITS_CHANGED, stored)
        return stored

    async def _check_whitelist(self, request: SetRateLimitsRequest) -> None:
        """Raise `Invalid` for an unknown account that the request adds to the whitelist.

        Accounts that are in the whitelist already are not checked, so that limits can be changed while auth is down.
        """
        present = set((await self._stored()).whitelist.users)
        await self._accounts.check_exist(
            [
                (user_id, f"whitelist.users[{number}]")
                for number, user_id in enumerate(request.whitelist.users)
                if user_id not in present
            ]
        )
