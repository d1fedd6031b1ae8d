"""The rate limits that admins have set. Who counts by them are the gateways."""

import json

from svgx_common.contract import ratelimits, subjects
from svgx_common.contract.errors import Conflict
from svgx_common.contract.ratelimits import RateLimits, RateLimitsRequest, SetRateLimitsRequest
from svgx_common.messaging.bus import Bus
from svgx_common.messaging.responder import Call, Responder
from svgx_common.postgres import Database

_NAME = "rate_limits"


class StoredRateLimits:
    """One row of the `configuration` table."""

    def __init__(self, bus: Bus, database: Database) -> None:
        self._bus = bus
        self._database = database

    def register(self, responder: Responder) -> None:
        """Answer its operations."""
        responder.answer(ratelimits.STORED, self.get)
        responder.answer(ratelimits.STORE, self.set)

    async def get(self, _: RateLimitsRequest, __: Call) -> RateLimits:
        """What was set; version 0 and nothing when nothing was."""
        row = await self._database.row("configuration", _NAME)
        if row is None:
            return RateLimits()
        return RateLimits.model_validate({**json.loads(row["value"]), "version": row["version"]})

    async def set(self, request: SetRateLimitsRequest, call: Call) -> RateLimits:
        """Keep it, then tell the gateways. Raises `Conflict` when `version` is not the newest."""
        value = request.model_dump_json(exclude={"version"})
        row = await self._database.row(
            "set_configuration", _NAME, value, call.signed_in().user_id, request.version
        )
        if row is None:
            raise Conflict("somebody has changed this since; read it again", field="version")
        stored = RateLimits.model_validate({**json.loads(value), "version": row["version"]})
        await self._bus.publish(subjects.RATE_LIMITS_CHANGED, stored.model_dump_json().encode())
        return stored
