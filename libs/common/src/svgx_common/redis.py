"""Redis: what it holds may vanish at any moment, at the cost of speed only. Every key has a time to live."""

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

__all__ = ["Redis", "RedisError", "connect"]


def connect(url: str, pool_size: int = 32) -> Redis:
    """A client that connects when first used, and whose calls fail within a second when Redis is gone.

    It opens `pool_size` connections at most; what comes on top waits for one.
    """
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=pool_size,
        timeout=1.0,
        socket_connect_timeout=1.0,
        socket_timeout=1.0,
        health_check_interval=10,
        decode_responses=True,
        # Once, for a connection that died unnoticed; the default would try for seconds.
        retry=Retry(NoBackoff(), 1),
    )
    return Redis.from_pool(pool)
