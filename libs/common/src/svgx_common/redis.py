"""Connections to Redis. The callers give every key a time to live.

The services also work without Redis, and after Redis has lost its keys (see "Failures" in docs/architecture.md).
"""

from collections.abc import Awaitable
from typing import Any

from prometheus_client import Gauge
from redis.asyncio import BlockingConnectionPool, ConnectionPool, Redis
from redis.asyncio.connection import AbstractConnection as Connection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError

from svgx_common.contract.errors import Unavailable
from svgx_common.health import NotUsable

__all__ = [
    "Connection",
    "Redis",
    "RedisError",
    "answer_of",
    "check",
    "connect",
    "unpooled_connection",
    "write_health_key",
]

CONNECTIONS = Gauge(
    "svgx_engine_redis_connections",
    "Connections of the pool to Redis, by state: in_use or idle.",
    ["state"],
)
MAX_CONNECTIONS = Gauge(
    "svgx_engine_redis_connections_max", "The largest number of connections of the pool."
)

RETRY_SECONDS = 1
"""Seconds after which a client may try again while Redis does not answer."""

_COMMON_OPTIONS = {"socket_connect_timeout": 1.0, "decode_responses": True}


def connect(url: str, pool_size: int = 32) -> Redis:
    """Return a client that connects on first use.

    A call waits at most one second to connect and one second for an answer; a failed attempt is repeated once. The
    client opens at most `pool_size` connections. Further calls wait up to a second for a free one.
    """
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=pool_size,
        timeout=1.0,
        socket_timeout=1.0,
        health_check_interval=10,
        # Retry once, because a pooled connection may be dead. redis-py's default retries for seconds.
        retry=Retry(NoBackoff(), 1),
        **_options(url),
    )
    CONNECTIONS.labels("idle").set_function(lambda: pool.get_connection_count()[0][0])
    CONNECTIONS.labels("in_use").set_function(lambda: pool.get_connection_count()[1][0])
    MAX_CONNECTIONS.set(pool_size)
    return Redis.from_pool(pool)


def unpooled_connection(url: str) -> Connection:
    """Return a single connection that connects on first use.

    The caller sends one group of commands at a time, and sets its own timeout.

    A command takes half of the processor time that it would take through `connect`'s pool.
    """
    pool = ConnectionPool.from_url(
        url, socket_timeout=None, retry=Retry(NoBackoff(), 0), **_options(url)
    )
    connection: Connection = pool.make_connection()  # type: ignore[no-untyped-call]
    return connection


async def answer_of(call: Awaitable[Any], content: str) -> Any:
    """Return the answer of Redis to a call. Raise `Unavailable` without one.

    `content` names the content of Redis for the error, such as "the locks".
    """
    try:
        return await call
    except (RedisError, OSError):
        raise Unavailable(
            f"Redis, which has {content}, does not answer", retry_after=RETRY_SECONDS
        ) from None


async def write_health_key(client: Redis) -> None:
    """Write the key `svgx:health`, which shows that Redis accepts writes."""
    await client.set("svgx:health", "1", ex=10)


async def check(client: Redis) -> None:
    """Return when Redis answers and accepts writes. Raise `NotUsable` otherwise."""
    try:
        await write_health_key(client)
    except ResponseError:
        raise NotUsable("refuses writes") from None
    except (RedisError, OSError):
        raise NotUsable("is not reachable") from None


def _options(url: str) -> dict[str, Any]:
    """Return the options of every connection. A Unix socket has no keepalive."""
    return (
        _COMMON_OPTIONS
        if url.startswith("unix:")
        else {**_COMMON_OPTIONS, "socket_keepalive": True}
    )
