"""What was counted and refused, gathered here and added up in Redis for the analytics of all gateways.

Everything there has a time to live of a day: analytics may be lost, limits do not depend on them.
"""

import asyncio
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

HITS = prometheus_client.Counter(
    "svgx_engine_rate_limit_hits",
    "Requests refused because a rate limit was reached.",
    ["rate_class"],
)

FLUSH = 1.0
"""Seconds between two deliveries to Redis."""

MINUTE, STEP, DAY = 60, 600, 86_400
"""Seconds: counts are kept by the minute, callers in steps of ten minutes, both for a day."""

MOST_CALLERS = 200
"""Callers kept of each class and step: those with the highest counts."""

MOST_PENDING = 20_000
"""Counts that wait for Redis; past that, new ones are dropped."""

MOMENTS = 60
"""Moments of a timeline at most."""

CLASSES: tuple[LimitedClass, ...] = (
    RateClass.READ,
    RateClass.WRITE,
    RateClass.LOGIN,
    RateClass.HEAVY,
)


class RateLimitStatistics:
    """Counts in memory, delivers every `FLUSH` seconds."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._counts: Counter[tuple[str, str]] = Counter()
        self._callers: Counter[tuple[str, str]] = Counter()

    def count(self, rate_class: RateClass, caller: str, *, allowed: bool) -> None:
        """One request of `caller`."""
        if not allowed:
            HITS.labels(rate_class).inc()
        if len(self._callers) >= MOST_PENDING:
            return
        now = int(time.time())
        for kind in ("hits",) if allowed else ("hits", "denied"):
            self._counts[_minute(now - now % MINUTE), f"{rate_class}:{kind}"] += 1
            self._callers[_callers(now - now % STEP, rate_class, kind), caller] += 1

    async def keep_delivering(self) -> None:
        """Wait a little, then deliver."""
        await asyncio.sleep(FLUSH)
        await self.deliver()

    async def deliver(self) -> None:
        """Deliver what has been counted; without Redis, keep it."""
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
            pipeline.zremrangebyrank(key, 0, -MOST_CALLERS - 1)
        for key in {key for key, _ in (*counts, *callers)}:
            pipeline.expire(key, DAY + STEP)
        try:
            await pipeline.execute()
        except (RedisError, OSError):
            # Said once by the buckets. Counted twice if only the answer was lost; these are figures for people.
            self._counts.update(counts)
            self._callers.update(callers)

    async def analytics(self, request: AnalyticsRequest) -> Analytics:
        """What all gateways have delivered. Raises `RedisError` or `OSError`."""
        await self.deliver()
        until = int(time.time())
        first = until - until % MINUTE - (request.minutes - 1) * MINUTE
        width = -(-request.minutes // MOMENTS) * MINUTE
        by_moment: Counter[tuple[int, str]] = Counter()
        total: Counter[str] = Counter()
        minutes = range(first, until + 1, MINUTE)
        for minute, fields in zip(minutes, await self._minutes(minutes), strict=True):
            moment = first + (minute - first) // width * width
            for field, count in fields.items():
                by_moment[moment, field] += int(count)
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
                    at=datetime.fromtimestamp(moment, UTC),
                    rate_class=each,
                    hits=hits,
                    denied=by_moment[moment, f"{each}:denied"],
                )
                for moment in range(first, until + 1, width)
                for each in CLASSES
                if (hits := by_moment[moment, f"{each}:hits"])
            ],
            top_hits=await self._top(steps, "hits", request.top),
            top_denied=await self._top(steps, "denied", request.top),
        )

    async def _minutes(self, minutes: range) -> list[dict[str, str]]:
        pipeline = self._redis.pipeline(transaction=False)
        for minute in minutes:
            pipeline.hgetall(_minute(minute))
        found: list[dict[str, str]] = await pipeline.execute()
        return found

    async def _top(self, steps: range, kind: str, top: int) -> list[CallerCount]:
        pipeline = self._redis.pipeline(transaction=False)
        keys = [(each, _callers(step, each, kind)) for step in steps for each in CLASSES]
        for _, key in keys:
            pipeline.zrevrange(key, 0, MOST_CALLERS - 1, withscores=True)
        counts: Counter[tuple[str, LimitedClass]] = Counter()
        for (rate_class, _), found in zip(keys, await pipeline.execute(), strict=True):
            for caller, count in found:
                counts[caller, rate_class] += int(count)
        return [
            CallerCount(caller=caller, rate_class=rate_class, count=count)
            for (caller, rate_class), count in counts.most_common(top)
        ]


def _minute(minute: int) -> str:
    return f"svgx:rate:minute:{minute}"


def _callers(step: int, rate_class: RateClass, kind: str) -> str:
    return f"svgx:rate:callers:{step}:{rate_class}:{kind}"
