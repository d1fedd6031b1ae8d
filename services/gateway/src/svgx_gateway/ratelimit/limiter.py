"""The rate limiter: rules, buckets and tally in one place, and what a client is told."""

import asyncio
import contextlib
import math
from collections.abc import MutableMapping
from dataclasses import replace

import structlog
from starlette.requests import HTTPConnection

from svgx_common.contract import subjects
from svgx_common.contract.errors import SvgxError, TooManyRequests
from svgx_common.contract.policy import RateClass
from svgx_common.contract.ratelimits import STORED, ClassLimits, RateLimits, RateLimitsRequest
from svgx_common.messaging.bus import Bus
from svgx_gateway.ratelimit.buckets import Buckets, Drawn
from svgx_gateway.ratelimit.key import RateLimitKey, rate_limit_key
from svgx_gateway.ratelimit.rules import Rules
from svgx_gateway.ratelimit.statistics import RateLimitStatistics

log = structlog.get_logger(__name__)

REREAD = 30.0
"""Seconds between two readings of the rules: a broadcast may be missed."""

RETRY = 1.0
"""Seconds between two tries while state does not answer."""


class RateLimiter:
    """Counts requests against the rules, which all gateways have alike."""

    def __init__(
        self, bus: Bus, buckets: Buckets, tally: RateLimitStatistics, defaults: ClassLimits
    ) -> None:
        self._bus = bus
        self._buckets = buckets
        self._tally = tally
        self._defaults = defaults
        self._wake = asyncio.Event()
        self.rules = Rules(defaults, RateLimits())

    async def start(self) -> None:
        """Hear of changes from now on, and read the rules, if state is there already."""
        await self._bus.listen(subjects.RATE_LIMITS_CHANGED, self._changed)
        self._bus.on_reconnect(self._reread)
        await self.read()

    async def keep_current(self) -> None:
        """Read the rules, then wait until it is time again; without state, the last ones known stay in force."""
        self._wake.clear()
        pause = REREAD if await self.read() else RETRY
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(pause):
                await self._wake.wait()

    async def read(self) -> bool:
        """Read the rules from state; whether it answered."""
        before = self.rules.version
        try:
            stored = await self._bus.ask(STORED, RateLimitsRequest())
        except SvgxError:
            return False
        if self.rules.version == before:  # else a broadcast overtook the answer
            self.adopt(stored)
        return True

    def adopt(self, stored: RateLimits) -> None:
        """These rules are in force from now on."""
        if stored.version != self.rules.version:
            log.info("rate limits changed", version=stored.version)
        self.rules = Rules(self._defaults, stored)

    async def admit(
        self, rate_class: RateClass, rate_limit_key: RateLimitKey, headers: MutableMapping[str, str]
    ) -> None:
        """Count one request; `headers` gets what the client is told. Raises `TooManyRequests`."""
        limit = self.rules.limit(rate_class, rate_limit_key)
        if limit is None:
            return
        drawn = await self._buckets.draw(f"{rate_class}:{rate_limit_key.key}", limit)
        self._tally.count(rate_class, rate_limit_key.key, allowed=drawn.allowed)
        headers.update(_headers(rate_class, drawn))
        if not drawn.allowed:
            raise TooManyRequests(
                f"at most {limit.requests} requests of class {rate_class} in {limit.seconds} s",
                limit=limit.requests,
                retry_after=drawn.retry_after,
            )

    async def admit_stranger(self, connection: HTTPConnection) -> None:
        """Count a question to auth: whose key is this? Raises `TooManyRequests`.

        Against the address, in a bucket of its own: many programs behind one address may come at once.
        """
        address = rate_limit_key(connection, None)
        await self.admit(RateClass.READ, replace(address, key=f"keys:{address.key}"), {})

    async def _changed(self, _: str, content: bytes) -> None:
        stored = RateLimits.model_validate_json(content)
        if stored.version > self.rules.version:
            self.adopt(stored)

    async def _reread(self) -> None:
        self._wake.set()


def _headers(rate_class: RateClass, drawn: Drawn) -> dict[str, str]:
    """`RateLimit` and `RateLimit-Policy` of draft-ietf-httpapi-ratelimit-headers-10, and their forerunners.

    Resets are in seconds from now, until all of the limit is there again.
    """
    quota, reset = drawn.limit.requests, math.ceil(drawn.reset)
    return {
        "RateLimit-Policy": f'"{rate_class}";q={quota};w={drawn.limit.seconds}',
        "RateLimit": f'"{rate_class}";r={drawn.remaining};t={reset}',
        "X-RateLimit-Limit": str(quota),
        "X-RateLimit-Remaining": str(drawn.remaining),
        "X-RateLimit-Reset": str(reset),
    }
