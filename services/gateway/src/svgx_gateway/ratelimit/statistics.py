"""Statistics of counted and refused requests. Each gateway counts its own requests, and Redis adds up the counts.

All entries in Redis expire after about a day. They may be lost, because the limits do not depend on them.
"""

import asyncio
import functools
import time
from collections import Counter
from datetime import UTC, datetime

import prometheus_client
import structlog

from svgx_common.contract.policy import RateClass
from svgx_common.contract.ratelimits import (
    Analytics,
    AnalyticsRequest,
    CallerCount,
    ClassCount,
    LimitedClass,
    RateLimitInterval,
)
from svgx_common.redis import Redis, RedisError

log = structlog.get_logger(__name__)

REFUSED = prometheus_client.Counter(
    "svgx_engine_rate_limit_hits",
    "Requests refused because a rate limit was reached.",
    ["rate_class"],
)

DELIVERY_SECONDS = 1.0
"""Seconds between two deliveries to Redis."""

MINUTE, STEP, DAY = 60, 600, 86_400
"""Lengths of time in seconds. Counts are stored by the minute, and callers in steps of ten minutes, both for a day."""

MAX_CALLERS = 200
"""Number of callers that are stored for each class and step: the callers with the highest counts."""

MAX_PENDING = 20_000
"""Largest number of counts by caller that wait for Redis. Beyond it, further requests are not counted."""

MAX_INTERVALS = 60
"""The largest number of intervals in a timeline."""

CLASSES: tuple[LimitedClass, ...] = (
    RateClass.READ,
    RateClass.WRITE,
    RateClass.LOGIN,
    RateClass.HEAVY,
)
for _rate_class in CLASSES:
    REFUSED.labels(_rate_class)


class RateLimitStatistics:
    """The counts of requests in memory, which are delivered to Redis every `DELIVERY_SECONDS`."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._counts: Counter[tuple[str, str]] = Counter()
        """The counts to deliver, by Redis key and hash field."""
        self._callers: Counter[tuple[str, str]] = Counter()
        """The counts to deliver, by Redis key and caller."""

    def count(self, rate_class: RateClass, caller: str, *, allowed: bool) -> None:
        """Count one request of `caller`."""
        if not allowed:
            REFUSED.labels(rate_class).inc()
        if len(self._callers) >= MAX_PENDING:
            return
        now = int(time.time())
        for kind in ("hits",) if allowed else ("hits", "denied"):
            self._counts[_minute_key(now - now % MINUTE), f"{rate_class}:{kind}"] += 1
            self._callers[_callers_key(now - now % STEP, rate_class, kind), caller] += 1

    async def wait_and_deliver(self) -> None:
        """Wait `DELIVERY_SECONDS`, then deliver."""
        await asyncio.sleep(DELIVERY_SECONDS)
        await self.deliver()

    async def deliver(self) -> None:
        """Add the counts to those in Redis. Without Redis, keep them for the next delivery."""
        if not self._counts:
            return
        counts, self._counts = self._counts, Counter()
        callers, self._callers = self._callers, Counter()
        pipeline = self._redis.pipeline(transaction=True)
        for (key, field), count in counts.items():
            pipeline.hincrby(key, field, count)
        for (key, caller), count in callers.items():
            pipeline.zincrby(key, count, caller)
        for key in {key for key, _ in callers}:
            pipeline.zremrangebyrank(key, 0, -MAX_CALLERS - 1)
        for key in {key for key, _ in (*counts, *callers)}:
            pipeline.expire(key, DAY + STEP)
        try:
            await pipeline.execute()
        except (RedisError, OSError):
            # `Buckets` logs the outage. If only Redis' answer was lost, these requests are counted twice, which is
            # acceptable for statistics.
            self._counts.update(counts)
            self._callers.update(callers)

    async def analytics(self, request: AnalyticsRequest) -> Analytics:
        """Return the delivered counts of all gateways. Raise `RedisError` or `OSError`."""
        await self.deliver()
        until = int(time.time())
        first = until - until % MINUTE - (request.minutes - 1) * MINUTE
        width = -(-request.minutes // MAX_INTERVALS) * MINUTE
        by_interval: Counter[tuple[int, str]] = Counter()
        total: Counter[str] = Counter()
        minutes = range(first, until + 1, MINUTE)
        for minute, fields in zip(minutes, await self._minutes(minutes), strict=True):
            start = first + (minute - first) // width * width
            for field, count in fields.items():
                by_interval[start, field] += int(count)
                total[field] += int(count)
        steps = range(first - first % STEP, until + 1, STEP)
        return Analytics(
            since=datetime.fromtimestamp(first, UTC),
            until=datetime.fromtimestamp(until, UTC),
            seconds=width,
            classes=[
                ClassCount(
                    rate_class=each, hits=total[f"{each}:hits"], denied=total[f"{each}:denied"]
                )
                for each in CLASSES
            ],
            timeline=[
                RateLimitInterval(
                    at=datetime.fromtimestamp(start, UTC),
                    rate_class=each,
                    hits=hits,
                    denied=by_interval[start, f"{each}:denied"],
                )
                for start in range(first, until + 1, width)
                for each in CLASSES
                if (hits := by_interval[start, f"{each}:hits"])
            ],
            top_hits=await self._top(steps, "hits", request.top),
            top_denied=await self._top(steps, "denied", request.top),
        )

    async def _minutes(self, minutes: range) -> list[dict[str, str]]:
        """Return the counts of each minute by class and kind."""
        pipeline = self._redis.pipeline(transaction=False)
        for minute in minutes:
            pipeline.hgetall(_minute_key(minute))
        counts: list[dict[str, str]] = await pipeline.execute()
        return counts

    async def _top(self, steps: range, kind: str, top: int) -> list[CallerCount]:
        """Return the `top` callers with the highest counts in these steps."""
        pipeline = self._redis.pipeline(transaction=False)
        keys = [(each, _callers_key(step, each, kind)) for step in steps for each in CLASSES]
        for _, key in keys:
            pipeline.zrevrange(key, 0, MAX_CALLERS - 1, withscores=True)
        counts: Counter[tuple[str, LimitedClass]] = Counter()
        for (rate_class, _), callers in zip(keys, await pipeline.execute(), strict=True):
            for caller, count in callers:
                counts[caller, rate_class] += int(count)
        return [
            CallerCount(caller=caller, rate_class=rate_class, count=count)
            for (caller, rate_class), count in counts.most_common(top)
        ]


@functools.lru_cache(maxsize=256)
def _minute_key(minute: int) -> str:
    return f"svgx:rate:minute:{minute}"


@functools.lru_cache(maxsize=256)
def _callers_key(step: int, rate_class: RateClass, kind: str) -> str:
    return f"svgx:rate:callers:{step}:{rate_class}:{kind}"
