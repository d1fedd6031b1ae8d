"""The rate limiter of one gateway: rules, token buckets and statistics together."""

import functools
import math
from collections.abc import Awaitable, MutableMapping
from dataclasses import dataclass, replace

import structlog
from starlette.requests import HTTPConnection

from svgx_common.contract.errors import TooManyRequests
from svgx_common.contract.policy import RateClass
from svgx_common.contract.ratelimits import (
    RATE_LIMITS_CHANGED,
    STORED,
    ClassLimits,
    RateLimit,
    RateLimits,
    RateLimitsRequest,
)
from svgx_common.messaging.bus import Bus
from svgx_common.messaging.caller import Caller
from svgx_gateway.ratelimit.buckets import BucketResult, Buckets, CountedRequest
from svgx_gateway.ratelimit.key import RateLimitKey
from svgx_gateway.ratelimit.remaining import RemainingTokens
from svgx_gateway.ratelimit.rules import Rules
from svgx_gateway.ratelimit.statistics import RateLimitStatistics
from svgx_gateway.watched_copy import WatchedCopy

log = structlog.get_logger(__name__)

LINK_FACTOR = 10
"""All visitors of one share link together have this many times the limit of one address."""


@dataclass(frozen=True, slots=True)
class Counting:
    """A request that is being counted against the account or address `key`."""

    rate_class: RateClass
    key: str
    request: CountedRequest


class RateLimiter:
    """The rate limits of one gateway. All gateways have the same rules, which the state service stores."""

    def __init__(
        self,
        bus: Bus,
        buckets: Buckets,
        statistics: RateLimitStatistics,
        defaults: ClassLimits,
    ) -> None:
        self._bus = bus
        self._buckets = buckets
        self._statistics = statistics
        self._defaults = defaults
        self._remaining = RemainingTokens()
        self._copy = WatchedCopy(
            "rate limits",
            bus,
            self._read,
            subject=RATE_LIMITS_CHANGED.subject,
            on_broadcast=self._on_broadcast,
        )
        self.rules = Rules(defaults, RateLimits())

    async def start(self) -> None:
        """Keep the rules current until `stop`. Return after the first read, even if it failed."""
        await self._copy.start()
        await self._copy.first_attempt()

    async def stop(self) -> None:
        """Stop reading the rules. The last known rules stay in force."""
        await self._copy.stop()

    async def adopt_answer(self, request: Awaitable[RateLimits]) -> None:
        """Adopt the rules that the state service returns, unless newer rules arrived during the request.

        If no other rules arrived, adopt the returned rules even if their version is lower than that of the present
        rules, because versions begin again at a lower number after a restore of the database.
        """
        before = self.rules
        stored = await request
        if self.rules is before or stored.version > self.rules.version:
            self._adopt(stored)

    def _adopt(self, stored: RateLimits) -> None:
        if stored.version != self.rules.version:
            log.info("rate limits changed", version=stored.version)
        self.rules = Rules(self._defaults, stored)

    async def admit(
        self, rate_class: RateClass, key: RateLimitKey, headers: MutableMapping[str, str]
    ) -> None:
        """Count one request, and add the rate-limit headers to `headers`. Raise `TooManyRequests` beyond a limit.

        A request of a visitor counts for the visitor, and then for the share link.
        """
        limit = self.rules.limit(rate_class, key)
        if limit is None:
            return
        await self.finish(self._begin(rate_class, key.key, limit), headers)
        if key.shared is not None:
            limit = limit.model_copy(update={"requests": limit.requests * LINK_FACTOR})
            result = await self._result_of(self._begin(rate_class, key.shared, limit))
            if not result.allowed:
                headers.update(_headers(rate_class, result))
                raise _too_many(rate_class, result)

    def begin(self, rate_class: RateClass, key: RateLimitKey) -> Counting | None:
        """Begin to count a request that the limit most likely allows, and return the argument of `finish`.

        Return None, and count nothing, if the request needs `admit`: for a visitor, without a limit, or if less than
        half of the limit remains. While other requests are being counted, `admit` needs less processor time: the
        requests of one round trip to Redis are then forwarded together.
        """
        limit = self.rules.limit(rate_class, key)
        if limit is None or key.shared is not None or not self._buckets.is_idle:
            return None
        if not self._remaining.take(_bucket(rate_class, key.key), limit):
            return None
        return self._begin(rate_class, key.key, limit)

    async def finish(self, counting: Counting, headers: MutableMapping[str, str]) -> None:
        """Wait until the request is counted. Add headers and raise as `admit` does."""
        result = await self._result_of(counting)
        headers.update(_headers(counting.rate_class, result))
        if not result.allowed:
            raise _too_many(counting.rate_class, result)

    def _begin(self, rate_class: RateClass, key: str, limit: RateLimit) -> Counting:
        return Counting(rate_class, key, self._buckets.begin(_bucket(rate_class, key), limit))

    async def _result_of(self, counting: Counting) -> BucketResult:
        result = await self._buckets.finish(counting.request)
        rate_class, key = counting.rate_class, counting.key
        self._remaining.set(_bucket(rate_class, key), result.remaining)
        self._statistics.count(rate_class, key, allowed=result.allowed)
        return result

    async def admit_lookup(self, connection: HTTPConnection) -> None:
        """Count one lookup of an API key or share link that this gateway has not cached.

        Raise `TooManyRequests` beyond the limit. Lookups count against the address, in a bucket of their own, because
        many programs with valid keys may share one address.
        """
        await self._admit_read("keys", RateLimitKey.of(connection, None), {})

    async def admit_page(
        self, connection: HTTPConnection, headers: MutableMapping[str, str]
    ) -> None:
        """Count one request for a page of the API documentation against the address, and add the rate-limit headers.

        Raise `TooManyRequests` beyond the limit.
        """
        await self.admit(RateClass.READ, RateLimitKey.of(connection, None), headers)

    async def admit_scrape(
        self, connection: HTTPConnection, headers: MutableMapping[str, str]
    ) -> None:
        """Count one request for the metrics against the address. Add headers and raise as `admit_page` does.

        Scrapes have a bucket of their own, because Prometheus and clients without a token may share the address of a
        proxy. So requests of these clients do not use up the limit of Prometheus.
        """
        await self._admit_read("metrics", RateLimitKey.of(connection, None), headers)

    async def admit_handshake(
        self,
        connection: HTTPConnection,
        caller: Caller | None,
        headers: MutableMapping[str, str],
    ) -> None:
        """Count one WebSocket handshake against the caller, or against the address if no token or link is valid.

        Add the rate-limit headers. Raise `TooManyRequests` beyond the limit. Handshakes have a bucket of their own, so
        that tabs that reconnect do not use up the limit of the account's requests.
        """
        await self._admit_read("handshakes", RateLimitKey.of(connection, caller), headers)

    async def _admit_read(
        self, bucket: str, key: RateLimitKey, headers: MutableMapping[str, str]
    ) -> None:
        shared = None if key.shared is None else f"{bucket}:{key.shared}"
        counted = replace(key, key=f"{bucket}:{key.key}", shared=shared)
        await self.admit(RateClass.READ, counted, headers)

    async def _read(self) -> None:
        await self.adopt_answer(self._bus.ask(STORED, RateLimitsRequest()))

    async def _on_broadcast(self, _: str, content: bytes) -> None:
        stored = RateLimits.model_validate_json(content)
        if stored.version > self.rules.version:
            self._adopt(stored)


def _bucket(rate_class: RateClass, key: str) -> str:
    return f"{rate_class}:{key}"


def _too_many(rate_class: RateClass, result: BucketResult) -> TooManyRequests:
    limit = result.limit
    return TooManyRequests(
        f"at most {limit.requests} requests of class {rate_class} in {limit.seconds} s",
        limit=limit.requests,
        retry_after=result.retry_after,
    )


def _headers(rate_class: RateClass, result: BucketResult) -> dict[str, str]:
    """Return `RateLimit` and `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers-10), and their `X-` predecessors.

    A reset is the number of seconds until the whole limit is available again.
    """
    remaining, reset = str(result.remaining), str(math.ceil(result.reset))
    limit, policy = _policy(rate_class.value, result.limit.requests, result.limit.seconds)
    return {
        "RateLimit-Policy": policy,
        "RateLimit": f'"{rate_class.value}";r={remaining};t={reset}',
        "X-RateLimit-Limit": limit,
        "X-RateLimit-Remaining": remaining,
        "X-RateLimit-Reset": reset,
    }


@functools.lru_cache(maxsize=256)
def _policy(rate_class: str, requests: int, seconds: int) -> tuple[str, str]:
    """Return `X-RateLimit-Limit` and `RateLimit-Policy`, which seldom change."""
    return str(requests), f'"{rate_class}";q={requests};w={seconds}'
