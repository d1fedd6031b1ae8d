"""Token buckets: in Redis, where all gateways share them, and in this process while Redis is gone.

The algorithm (GCRA: a token bucket kept as one time stamp) and both stores are throttled-py's: atomic, one round trip,
by the clock of Redis.
"""

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from typing import cast

import structlog
from prometheus_client import Counter
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from throttled.asyncio import BaseStore, MemoryStore, RedisStore, per_duration
from throttled.asyncio.rate_limiter.gcra import GCRARateLimiter
from throttled.exceptions import StoreUnavailableError

from svgx_common.contract.ratelimits import RateLimit
from svgx_common.redis import Redis, RedisError

log = structlog.get_logger(__name__)

LOCAL = Counter(
    "svgx_engine_rate_limit_local",
    "Requests counted by this gateway alone, because Redis did not answer.",
)

PATIENCE = 0.25
"""Seconds Redis has to answer or to accept a connection; a request waits no longer for its count."""

PROBE = 0.5
"""Seconds between two looks whether Redis is back."""

LOCAL_KEYS = 50_000
"""Parties remembered while Redis is gone; those unseen for longest are forgotten first."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """What a bucket answered. In seconds: `reset` until it is full again, `retry_after` until it has one."""

    allowed: bool
    limit: RateLimit
    remaining: int
    reset: float
    retry_after: float


class Buckets:
    """Draws from buckets by key, over `connections` to Redis at most; what comes on top waits for `PATIENCE`."""

    def __init__(self, redis_url: str, connections: int = 32) -> None:
        self._shared = _Shared(redis_url, connections)
        self._local = MemoryStore(options={"MAX_SIZE": LOCAL_KEYS})
        self._limiters: dict[tuple[BaseStore, RateLimit], GCRARateLimiter] = {}
        self._probing: asyncio.Task[None] | None = None

    async def draw(self, key: str, limit: RateLimit) -> Drawn:
        """Take one from the bucket `key`. Never fails: without Redis, this process has a bucket of its own."""
        if self._probing is None:
            try:
                async with asyncio.timeout(2 * PATIENCE):
                    return await self._draw(self._shared, key, limit)
            except (
                StoreUnavailableError,
                RedisError,
                OSError,
            ) as error:  # TimeoutError is an OSError
                self._gone(error)
        LOCAL.inc()
        return await self._draw(self._local, key, limit)

    async def close(self) -> None:
        """Disconnect."""
        if self._probing is not None:
            self._probing.cancel()
            await asyncio.gather(self._probing, return_exceptions=True)
        await self._shared.client().aclose(close_connection_pool=True)

    async def _draw(self, store: BaseStore, key: str, limit: RateLimit) -> Drawn:
        limiter = self._limiters.get((store, limit))
        if limiter is None:
            quota = per_duration(timedelta(seconds=limit.seconds), limit.requests)
            limiter = GCRARateLimiter(quota, store, key_prefix="svgx:rate")
            self._limiters[store, limit] = limiter
        # A changed limit begins with full buckets: a stamp made by a slower one would hold back for its whole time.
        result = await limiter.limit(f"{limit.requests}/{limit.seconds}:{key}")
        state = result.state
        return Drawn(
            not result.limited, limit, state.remaining, state.reset_after, state.retry_after
        )

    def _gone(self, error: Exception) -> None:
        if self._probing is None:
            log.warning(
                "redis is not reachable; this gateway limits requests by itself",
                error=type(error).__name__,
            )
            self._probing = asyncio.create_task(self._probe())

    async def _probe(self) -> None:
        """Look for Redis here, so that no request waits for what is not there."""
        while True:
            try:
                async with asyncio.timeout(2 * PATIENCE):
                    await self._shared.client().ping()
            except (RedisError, OSError):
                await asyncio.sleep(PROBE)
            else:
                log.info("redis is back; requests are limited together again")
                self._probing = None
                return


class _Shared(RedisStore):
    def __init__(self, redis_url: str, connections: int) -> None:
        super().__init__(
            redis_url,
            {
                "CONNECTION_POOL_CLASS": "redis.asyncio.BlockingConnectionPool",
                "CONNECTION_POOL_KWARGS": {
                    "max_connections": connections,
                    "timeout": PATIENCE,
                    "socket_timeout": PATIENCE,
                    "socket_connect_timeout": PATIENCE,
                    "retry": Retry(NoBackoff(), 1),
                },
            },
        )

    def client(self) -> Redis:
        """The library has no way to close it, or to ask whether Redis is there."""
        return cast(Redis, self._backend.get_client())
