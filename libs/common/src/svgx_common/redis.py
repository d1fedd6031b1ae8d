"""Redis: what it holds may vanish at any moment, at the cost of speed only. Every key has a time to live."""

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

__all__ = ["Redis", "RedisError", "connect"]


def connect(url: str) -> Redis:
    """A client that connects when first used, and whose calls fail within a second when Redis is gone."""
    return Redis.from_url(
        url,
        socket_connect_timeout=1.0,
        socket_timeout=1.0,
        health_check_interval=10,
        # Once, for a connection that died unnoticed; the default would try for seconds.
        retry=Retry(NoBackoff(), 1),
        decode_responses=True,
    )
