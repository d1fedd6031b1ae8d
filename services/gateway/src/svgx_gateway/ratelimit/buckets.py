"""Token buckets: in Redis, where all gateways share them, or in this process while Redis is not reachable.

The algorithm is GCRA, a token bucket stored as one time stamp. throttled-py implements it twice: as an
atomic script for Redis, which uses the clock of Redis, and with a store in memory. Requests that arrive together are
counted in one round trip.
"""

import asyncio
import functools
import hashlib
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import structlog
from prometheus_client import Counter
from throttled.asyncio import MemoryStore, per_duration
from throttled.asyncio.rate_limiter.gcra import GCRARateLimiter
from throttled.rate_limiter.gcra import RedisLimitAtomicActionSpec

from svgx_common.background import BackgroundTasks
from svgx_common.contract.ratelimits import RateLimit
from svgx_common.redis import Connection, RedisError

log = structlog.get_logger(__name__)

LOCAL = Counter(
    "svgx_engine_rate_limit_local",
    "Requests counted by this gateway alone, because Redis did not answer.",
)

_FORGET_LATER_TIME = b"""
do
    local time = redis.call("TIME")
    local now = time[1] - 1735660800 + time[2] / 1000000
    local full_at = redis.call("GET", KEYS[1])
    if full_at and full_at - now > ARGV[1] * ARGV[2] + 1 then
        redis.call("DEL", KEYS[1])
    end
end
"""
"""Forgets a bucket that would be full more than a second later than a bucket that is empty now.

Redis' clock was set back after the last request for such a bucket, so the bucket would be empty until the former time.
The time stamp counts from 2025, as in throttled-py's script.
"""

SCRIPT = _FORGET_LATER_TIME + RedisLimitAtomicActionSpec.SCRIPTS.encode()

REDIS_TIMEOUT = 0.25
"""Time limit for Redis to accept a connection and answer, in seconds. Beyond it, this process counts the request.

The second half of this time begins when this process has noticed the end of the first half. If this process itself was
paused during the first half, it reads the answer in the second half.
"""

PROBE_INTERVAL = 0.5
"""Seconds between two attempts to reach Redis again."""

MAX_BATCH = 256
"""Largest number of requests in one round trip.

Redis needs about 10 µs for each request, and serves no other client until it has counted all of them.
"""

MAX_LOCAL_KEYS = 50_000
"""Largest number of keys that are counted in this process. Beyond it, the least recently used key is removed."""


@dataclass(frozen=True, slots=True)
class BucketResult:
    """The result of taking a token.

    `reset` is the number of seconds until the bucket is full. `retry_after` is the number of seconds until the bucket
    has a token.
    """

    allowed: bool
    limit: RateLimit
    remaining: int
    reset: float
    retry_after: float


@dataclass(frozen=True, slots=True)
class CountedRequest:
    """A request that is being counted. `result` gets None when Redis does not answer, and is None without Redis."""

    key: str
    limit: RateLimit
    result: "asyncio.Future[BucketResult | None] | None"

    def set_result(self, result: BucketResult | None) -> None:
        """Set the result, unless the request was cancelled."""
        if self.result is not None and not self.result.done():
            self.result.set_result(result)


class Buckets:
    """The token buckets by key. They use a separate Redis connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._waiting: list[CountedRequest] = []
        self._tasks = BackgroundTasks()
        self._sending = False
        """True while a task sends the waiting requests."""
        self._local = MemoryStore(options={"MAX_SIZE": MAX_LOCAL_KEYS})
        self._local_limiters: dict[RateLimit, GCRARateLimiter] = {}
        self._probing: asyncio.Task[None] | None = None
        """The task that tries to reach Redis again; None while Redis is reachable."""

    async def take(self, key: str, limit: RateLimit) -> BucketResult:
        """Take a token from the bucket `key`. Without Redis, take it from a bucket in this process."""
        return await self.finish(self.begin(key, limit))

    def begin(self, key: str, limit: RateLimit) -> CountedRequest:
        """Begin to take a token from the bucket `key`. Call `finish` for the result."""
        # A changed limit gets a new, full bucket, because the time stamp of a slower limit would block requests for
        # too long.
        name = f"svgx:rate:{limit.requests}/{limit.seconds}:{key}"
        if self._probing is not None:
            return CountedRequest(name, limit, None)
        counted = CountedRequest(name, limit, asyncio.get_running_loop().create_future())
        self._waiting.append(counted)
        if not self._sending:
            self._sending = True
            self._tasks.start("count requests in redis", self._send())
        return counted

    async def finish(self, counted: CountedRequest) -> BucketResult:
        """Return the result of taking a token. Without Redis, take it from a bucket in this process."""
        if counted.result is not None:
            result = await counted.result
            if result is not None:
                return result
        LOCAL.inc()
        return await self._take_locally(counted.key, counted.limit)

    @property
    def is_idle(self) -> bool:
        """Return whether no request is being counted."""
        return not self._sending

    async def close(self) -> None:
        """Count the waiting requests, and disconnect."""
        if self._probing is not None:
            self._probing.cancel()
        await self._tasks.wait()
        await self._tasks.stop()
        await self._connection.disconnect()

    async def _send(self) -> None:
        """Send the waiting requests in batches, until none is left."""
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[:MAX_BATCH], self._waiting[MAX_BATCH:]
                results: list[BucketResult | None] = [None] * len(batch)
                try:
                    results = await self._take_batch(batch)
                except Exception:
                    log.exception(
                        "an answer of redis cannot be read; this gateway counts by itself"
                    )
                finally:  # also when this task is cancelled, so that no request waits for ever
                    for counted, result in zip(batch, results, strict=True):
                        counted.set_result(result)
        finally:
            self._sending = False
            for counted in self._waiting:
                counted.set_result(None)
            self._waiting = []

    async def _take_batch(self, batch: list[CountedRequest]) -> list[BucketResult | None]:
        if self._probing is not None:
            return [None] * len(batch)
        commands = [
            (_bulk(each.key.encode()), _encode_limit(each.limit.requests, each.limit.seconds))
            for each in batch
        ]
        by_hash = [_RUN_BY_HASH + key + limit for key, limit in commands]
        try:
            answers = await self._execute(by_hash, [_RUN + b"".join(commands[0]), *by_hash[1:]])
        except (RedisError, OSError) as error:  # TimeoutError is an OSError
            self._start_probing(error)
            return [None] * len(batch)
        return [
            BucketResult(not limited, each.limit, int(remaining), float(reset), float(retry_after))
            for each, (limited, remaining, reset, retry_after) in zip(batch, answers, strict=True)
        ]

    async def _execute(self, commands: list[bytes], first_commands: list[bytes]) -> list[Any]:
        """Send `commands`, or `first_commands` on a new connection, and return the answers.

        Raise `RedisError` or `OSError`; a `TimeoutError` is an `OSError`.
        """
        loop = asyncio.get_running_loop()
        half = REDIS_TIMEOUT / 2
        async with asyncio.timeout(None) as limit:
            timer = loop.call_later(half, lambda: limit.reschedule(loop.time() + half))
            try:
                if self._connection.is_connected:
                    try:
                        return await self._exchange(commands)
                    except (RedisError, OSError):
                        # The connection may belong to a server that has restarted since, or the server may have
                        # dropped the script. Try a new connection. If only the answers were lost, these requests take
                        # two tokens each. This is acceptable, because the buckets refill, and it would cost more to
                        # give each request an id by which the script could recognize a repetition.
                        pass
                return await self._exchange(first_commands)
            finally:
                timer.cancel()

    async def _exchange(self, commands: list[bytes]) -> list[Any]:
        try:
            await self._connection.send_packed_command(b"".join(commands), check_health=False)
            return [await self._connection.read_response() for _ in commands]
        except BaseException:
            # Disconnect, because an answer that was not read would be taken for the answer of the next command.
            await self._connection.disconnect(nowait=True)
            raise

    async def _take_locally(self, key: str, limit: RateLimit) -> BucketResult:
        limiter = self._local_limiters.get(limit)
        if limiter is None:
            quota = per_duration(timedelta(seconds=limit.seconds), limit.requests)
            limiter = self._local_limiters[limit] = GCRARateLimiter(quota, self._local)
        result = await limiter.limit(key)
        state = result.state
        return BucketResult(
            not result.limited, limit, state.remaining, state.reset_after, state.retry_after
        )

    def _start_probing(self, error: Exception) -> None:
        if self._probing is None:
            log.warning(
                "redis is not usable; this gateway limits requests by itself",
                error=type(error).__name__,
            )
            self._probing = self._tasks.start("wait for redis", self._probe())

    async def _probe(self) -> None:
        """Try to write to Redis in the background, so that no request waits for Redis."""
        while True:
            try:
                await self._execute([_PROBE], [_PROBE])
            except (RedisError, OSError):
                await asyncio.sleep(PROBE_INTERVAL)
            else:
                log.info("redis is usable again; all gateways share the limits")
                self._probing = None
                return


def _bulk(value: bytes) -> bytes:
    """Return a value as Redis reads it (RESP)."""
    return b"$%d\r\n%b\r\n" % (len(value), value)


@functools.lru_cache(maxsize=256)
def _encode_limit(requests: int, seconds: int) -> bytes:
    """Return the script's three arguments: the seconds between two tokens, the capacity, and 1 (the token to take)."""
    return b"".join(_bulk(each.encode()) for each in (repr(seconds / requests), str(requests), "1"))


def _encode_run(command: bytes, script: bytes) -> bytes:
    """Return the beginning of a command that runs a script with one key and three arguments."""
    return b"*7\r\n" + b"".join(map(_bulk, (command, script, b"1")))


_PROBE = b"*5\r\n" + b"".join(map(_bulk, (b"SET", b"svgx:rate:probe", b"1", b"EX", b"10")))
"""Succeeds if Redis accepts writes. Redis may answer a PING and refuse writes."""

_RUN = _encode_run(b"EVAL", SCRIPT)
"""Runs the script by its text. Redis then keeps the script, and can run it by its hash."""

_RUN_BY_HASH = _encode_run(
    b"EVALSHA", hashlib.sha1(SCRIPT, usedforsecurity=False).hexdigest().encode()
)
"""Runs the script by its hash, because Redis would otherwise hash the whole text for each request."""
