"""The rate-limit operations. Each request is answered by one gateway, and applies to all gateways."""

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
    """The handlers behind `/security/rate-limits/*`."""

    def __init__(self, bus: Bus, limiter: RateLimiter, statistics: RateLimitStatistics) -> None:
        self._bus = bus
        self._limiter = limiter
        self._statistics = statistics

    def register(self, responder: Responder) -> None:
        """Register the handlers."""
        responder.answer(ratelimits.GET_CONFIG, self.get_config)
        responder.answer(ratelimits.SET_CONFIG, self.set_config)
        responder.answer(ratelimits.ANALYTICS, self.analytics)

    async def get_config(self, request: RateLimitsRequest, _: Call) -> RateLimits:
        """Return the limits in force.

        Read the stored limits from the state service first. A client needs their version, because a change that names
        an older version is refused.
        """
        await self._limiter.adopt_answer(self._bus.ask(ratelimits.STORED, request))
        return self._limiter.rules.in_force()

    async def set_config(self, request: SetRateLimitsRequest, call: Call) -> RateLimits:
        """Store limits in the state service, which announces them to all gateways. Return the limits in force."""
        answer = self._bus.ask(ratelimits.STORE, request, caller=call.signed_in_caller())
        await self._limiter.adopt_answer(answer)
        return self._limiter.rules.in_force()

    async def analytics(self, request: AnalyticsRequest, _: Call) -> Analytics:
        """Return the counts of all gateways."""
        try:
            return await self._statistics.analytics(request)
        except (RedisError, OSError) as error:
            raise Unavailable(
                "the counts are in Redis, which is not reachable", retry_after=1.0
            ) from error
