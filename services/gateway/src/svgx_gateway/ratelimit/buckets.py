"""Token buckets: in Redis, where all gateways share them, and in this process while Redis is gone.

The algorithm (GCRA: a token bucket kept as one time stamp) is throttled-py's, its script for Redis and its store in
memory alike: atomic, and by the clock of Redis. Requests that come at once are counted in one round trip.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import structlog
from prometheus_client import Counter
from throttled.asyncio import MemoryStore, per_duration
from throttled.asyncio.rate_limiter.gcra import GCRARateLimiter
from throttled.rate_limiter.gcra import RedisLimitAtomicActionSpec

from svgx_common.contract.ratelimits import RateLimit
from svgx_common.redis import Connection, RedisError

log = structlog.get_logger(__name__)

LOCAL = Counter(
    "svgx_engine_rate_limit_local",
    "Requests counted by this gateway alone, because Redis did not answer.",
)

SCRIPT = RedisLimitAtomicActionSpec.SCRIPTS.encode()
"""Bytes, which are sent as they are."""

PATIENCE = 0.25
"""Seconds Redis has to answer or to accept a connection; a request waits no longer for its count."""

PROBE = 0.5
"""Seconds between two looks whether Redis is back."""

BATCH = 256
"""Requests counted in one round trip at most: Redis does nothing else meanwhile, some 10 µs for each."""

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


@dataclass(frozen=True, slots=True)
class _Waiting:
    key: str
    limit: RateLimit
    drawn: "asyncio.Future[Drawn | None]"
    """None: Redis did not answer."""


class Buckets:
    """Draws from buckets by key, over a connection of its own."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._waiting: list[_Waiting] = []
        self._sending: asyncio.Task[None] | None = None
        self._local = MemoryStore(options={"MAX_SIZE": LOCAL_KEYS})
        self._limiters: dict[RateLimit, GCRARateLimiter] = {}
        self._probing: asyncio.Task[None] | None = None

    async def draw(self, key: str, limit: RateLimit) -> Drawn:
        """Take one from the bucket `key`. Never fails: without Redis, this process has a bucket of its own."""
        # A changed limit begins with full buckets: a stamp made by a slower one would hold back for its whole time.
        name = f"svgx:rate:{limit.requests}/{limit.seconds}:{key}"
        if self._probing is None:
            waiting = _Waiting(name, limit, asyncio.get_running_loop().create_future())
            self._waiting.append(waiting)
            if self._sending is None:
                self._sending = asyncio.create_task(self._send())
            drawn = await waiting.drawn
            if drawn is not None:
                return drawn
        LOCAL.inc()
        return await self._draw_locally(name, limit)

    async def close(self) -> None:
        """Count what waits, and disconnect."""
        tasks = [task for task in (self._sending, self._probing) if task is not None]
        if self._probing is not None:
            self._probing.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._connection.disconnect()

    async def _send(self) -> None:
        """Count what waits, as much as is there in one go, until nothing waits."""
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[:BATCH], self._waiting[BATCH:]
                for waiting, drawn in zip(batch, await self._draw(batch), strict=True):
                    if not waiting.drawn.done():  # given up meanwhile
                        waiting.drawn.set_result(drawn)
        finally:
            self._sending = None

    async def _draw(self, batch: list[_Waiting]) -> list[Drawn | None]:
        if self._probing is not None:
            return [None] * len(batch)
        commands = [
            (
                "EVAL",
                SCRIPT,
                1,
                each.key,
                each.limit.seconds / each.limit.requests,
                each.limit.requests,
                1,
            )
            for each in batch
        ]
        try:
            answers = await self._ask(commands)
        except (RedisError, OSError) as error:  # TimeoutError is an OSError
            self._gone(error)
            return [None] * len(batch)
        return [
            Drawn(not limited, each.limit, int(remaining), float(reset), float(retry_after))
            for each, (limited, remaining, reset, retry_after) in zip(batch, answers, strict=True)
        ]

    async def _ask(self, commands: Sequence[tuple[bytes | str | float, ...]]) -> list[Any]:
        """The commands' answers. Raises `RedisError` or `OSError`; `TimeoutError` after `PATIENCE`."""
        connection = self._connection
        packed = connection.pack_commands(commands)
        async with asyncio.timeout(PATIENCE):
            if connection.is_connected:
                try:
                    return await self._exchange(packed, len(commands))
                except (RedisError, OSError):
                    pass  # it may have died unnoticed, with the server before this one
            return await self._exchange(packed, len(commands))

    async def _exchange(self, packed: list[bytes], count: int) -> list[Any]:
        try:
            await self._connection.send_packed_command(packed, check_health=False)
            return [await self._connection.read_response() for _ in range(count)]
        except BaseException:
            # What was not read would be taken for the next answer.
            await self._connection.disconnect(nowait=True)
            raise

    async def _draw_locally(self, key: str, limit: RateLimit) -> Drawn:
        limiter = self._limiters.get(limit)
        if limiter is None:
            quota = per_duration(timedelta(seconds=limit.seconds), limit.requests)
            limiter = self._limiters[limit] = GCRARateLimiter(quota, self._local)
        result = await limiter.limit(key)
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
                await self._ask([("PING",)])
            except (RedisError, OSError):
                await asyncio.sleep(PROBE)
            else:
                log.info("redis is back; requests are limited together again")
                self._probing = None
                return
