"""The operations of rate limiting that the gateways answer themselves: any of them, for all."""

from svgx_common.contract import ratelimits
from svgx_common.contract.errors import Unavailable
from svgx_common.contract.ratelimits import (
    Analytics,
    AnalyticsRequest,
    RateLimits,
    RateLimitsRequest,
    SetRateLimitsRequest,
)
from svgx_common.messaging.bus import Bus
from svgx_common.messaging.responder import Call, Responder
from svgx_common.redis import RedisError
from svgx_gateway.ratelimit.limiter import RateLimiter
from svgx_gateway.ratelimit.statistics import RateLimitStatistics


class RateLimitOperations:
    """`/security/rate-limits/*`."""

    def __init__(self, bus: Bus, limiter: RateLimiter, tally: RateLimitStatistics) -> None:
        self._bus = bus
        self._limiter = limiter
        self._tally = tally

    def register(self, responder: Responder) -> None:
        """Answer them."""
        responder.answer(ratelimits.GET_CONFIG, self.get_config)
        responder.answer(ratelimits.SET_CONFIG, self.set_config)
        responder.answer(ratelimits.ANALYTICS, self.analytics)

    async def get_config(self, request: RateLimitsRequest, _: Call) -> RateLimits:
        """What is in force. State is asked, so that nobody changes what he has not seen."""
        self._limiter.adopt(await self._bus.ask(ratelimits.STORED, request))
        return self._limiter.rules.in_force()

    async def set_config(self, request: SetRateLimitsRequest, call: Call) -> RateLimits:
        """Kept by state, which tells all gateways."""
        stored = await self._bus.ask(ratelimits.STORE, request, caller=call.signed_in())
        self._limiter.adopt(stored)
        return self._limiter.rules.in_force()

    async def analytics(self, request: AnalyticsRequest, _: Call) -> Analytics:
        """What all gateways have counted."""
        try:
            return await self._tally.analytics(request)
        except (RedisError, OSError) as error:
            raise Unavailable(
                "what was counted is in Redis, which is not reachable", retry_after=1.0
            ) from error
