"""Which replica holds a canvas, in Redis. A lease saves work; it is not what keeps edits safe.

Two replicas that hold one canvas by accident merge (updates commute, and the journal's revisions show each what the
other committed), so without Redis holding goes on, and nothing waits for it.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import cast

import structlog

from svgx_common.redis import Redis, RedisError

log = structlog.get_logger(__name__)

TTL = 10.0
"""Seconds a lease lasts without renewal."""

RENEW = 3.0
"""Seconds between renewals."""

# Takes the lease when it is free, ours already, or its owner is known to be dead (ARGV[2]); returns the owner.
_TAKE = """
local owner = redis.call('GET', KEYS[1])
if owner and owner ~= ARGV[1] and owner ~= ARGV[2] then return owner end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[3])
return ARGV[1]
"""

_RELEASE = """
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
"""

Alive = Callable[[str], Awaitable[bool]]


class Leases:
    """The leases of one replica. `alive` tells whether another replica still answers."""

    def __init__(self, redis: Redis, replica_id: str, alive: Alive) -> None:
        self._replica_id = replica_id
        self._alive = alive
        self._take_script = redis.register_script(_TAKE)
        self._release_script = redis.register_script(_RELEASE)
        self._degraded = False

    async def take(self, canvas_id: str) -> bool:
        """Whether this replica may hold the canvas: it has the lease, or nobody can be asked for one."""
        owner = await self._take(canvas_id)
        if owner is None or owner == self._replica_id:
            return True
        if await self._alive(owner):
            return False
        owner = await self._take(canvas_id, dead=owner)
        return owner is None or owner == self._replica_id

    async def renew(self, canvas_ids: Sequence[str]) -> list[str]:
        """Renew, and return the canvases whose lease another replica has."""
        lost = []
        for canvas_id in canvas_ids:
            owner = await self._take(canvas_id)
            if owner is None:
                return []
            if owner != self._replica_id:
                lost.append(canvas_id)
        return lost

    async def release(self, canvas_id: str) -> None:
        """Let the next replica take over at once."""
        try:
            await self._release_script(keys=[_key(canvas_id)], args=[self._replica_id])
        except (RedisError, OSError) as error:
            self._failed(error)

    async def _take(self, canvas_id: str, dead: str = "") -> str | None:
        try:
            owner = await self._take_script(
                keys=[_key(canvas_id)], args=[self._replica_id, dead, int(TTL * 1000)]
            )
        except (RedisError, OSError) as error:
            self._failed(error)
            return None
        self._degraded = False
        return cast(str, owner)

    def _failed(self, error: Exception) -> None:
        if not self._degraded:
            log.warning(
                "redis is not reachable; holding canvases without leases",
                error=type(error).__name__,
            )
        self._degraded = True


def _key(canvas_id: str) -> str:
    return f"svgx:lease:{canvas_id}"
