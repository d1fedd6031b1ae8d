"""Redis: what it holds may vanish at any moment, at the cost of speed only. Every key has a time to live."""

from redis.asyncio import BlockingConnectionPool, ConnectionPool, Redis
from redis.asyncio.connection import AbstractConnection as Connection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

__all__ = ["Connection", "Redis", "RedisError", "connect", "open_unpooled"]

_COMMON = {"socket_connect_timeout": 1.0, "decode_responses": True}


def connect(url: str, pool_size: int = 32) -> Redis:
    """A client that connects when first used, and whose calls fail within a second when Redis is gone.

    It opens `pool_size` connections at most; what comes on top waits for one.
    """
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=pool_size,
        timeout=1.0,
        socket_timeout=1.0,
        health_check_interval=10,
        # Once, for a connection that died unnoticed; the default would try for seconds.
        retry=Retry(NoBackoff(), 1),
        **_COMMON,
    )
    return Redis.from_pool(pool)


def open_unpooled(url: str) -> Connection:
    """One connection, for who sends one thing after the other and has a time limit around each: none is in here.

    It costs half of what a pool's costs, which is made for many callers.
    """
    pool = ConnectionPool.from_url(url, socket_timeout=None, retry=Retry(NoBackoff(), 0), **_COMMON)
    connection: Connection = pool.make_connection()  # type: ignore[no-untyped-call]
    return connection
