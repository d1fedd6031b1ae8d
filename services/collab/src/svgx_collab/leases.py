"""Leases in Redis. A lease names the replica that holds a canvas.

Leases avoid duplicate work, but the safety of edits does not depend on them. When two replicas hold one canvas by
accident, their documents merge: updates commute, and each replica notices the other's commits by the journal's
revisions. Therefore canvases are also held while Redis is not reachable.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import cast

import structlog
from prometheus_client import Counter

from svgx_common.redis import Redis, RedisError
from svgx_yjs.record import record

log = structlog.get_logger(__name__)

FAILURES = Counter(
    "svgx_engine_collab_lease_failures", "Requests about leases that Redis did not answer."
)

LEASE_SECONDS = 10.0
"""Lifetime of a lease without renewal, in seconds."""

RENEW_SECONDS = 3.0
"""Seconds between renewals."""

RENEWED_TOGETHER = 100
"""Largest number of leases that one command renews. A command for each lease took 0.3 ms of processor time."""

# Takes each lease for the replica ARGV[1] for ARGV[3] ms when the lease is free, or owned by ARGV[1] or by the dead
# replica ARGV[2]. Returns the owners before that; an empty owner stands for a free lease.
_TAKE = """
local owners = {}
for number, key in ipairs(KEYS) do
    local owner = redis.call('GET', key) or ''
    if owner == '' or owner == ARGV[1] or owner == ARGV[2] then
        redis.call('SET', key, ARGV[1], 'PX', ARGV[3])
    end
    owners[number] = owner
end
return owners
"""

# Gives the lease to the replica ARGV[2] for ARGV[3] ms, if the replica ARGV[1] has it.
_GIVE = """
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) end
return 0
"""

_RELEASE = """
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
"""

IsAlive = Callable[[str], Awaitable[bool]]
"""A function that takes the id of a replica, and returns whether this replica still answers."""


@record
class Renewal:
    """The outcome of a renewal."""

    lost: list[str]
    """The canvases with leases that other replicas own."""
    doubtful: list[str]
    """The canvases that another replica may have held and left since the last renewal.

    Redis did not answer, or their leases were free.
    """


class Leases:
    """The leases of one replica. `is_alive` returns whether another replica still answers."""

    def __init__(self, redis: Redis, replica_id: str, is_alive: IsAlive) -> None:
        self._replica_id = replica_id
        self._is_alive = is_alive
        self._take_script = redis.register_script(_TAKE)
        self._give_script = redis.register_script(_GIVE)
        self._release_script = redis.register_script(_RELEASE)
        self.is_degraded = False
        """True after a request that Redis did not answer, until leases are taken or renewed again."""
        self._has_failed = False
        """True after a request that Redis did not answer, until leases are renewed again."""

    async def take(self, canvas_id: str) -> bool:
        """Take the lease if it is free or its owner is dead. Return whether this replica may hold the canvas.

        A replica may hold a canvas when it has the lease, or when Redis is not reachable.
        """
        owners = await self._take([canvas_id])
        if owners is None or owners[0] in ("", self._replica_id):
            return True
        dead = owners[0]
        if await self._is_alive(dead):
            return False
        owners = await self._take([canvas_id], dead=dead)
        return owners is None or owners[0] in ("", self._replica_id, dead)

    async def renew(self, canvas_ids: Sequence[str]) -> Renewal:
        """Renew the leases. When Redis stops answering, the other leases are renewed at the next call."""
        renewal = Renewal([], [])
        has_failed, self._has_failed = self._has_failed, False
        for first in range(0, len(canvas_ids), RENEWED_TOGETHER):
            renewed = canvas_ids[first : first + RENEWED_TOGETHER]
            owners = await self._take(renewed)
            if owners is None:
                break
            for canvas_id, owner in zip(renewed, owners, strict=True):
                if owner not in ("", self._replica_id):
                    renewal.lost.append(canvas_id)
                elif has_failed or not owner:
                    renewal.doubtful.append(canvas_id)
        return renewal

    async def give(self, canvas_id: str, replica_id: str) -> None:
        """Give the lease to another replica if this replica owns it, so that no third replica opens the canvas."""
        try:
            await self._give_script(
                keys=[_key(canvas_id)],
                args=[self._replica_id, replica_id, int(LEASE_SECONDS * 1000)],
            )
        except (RedisError, OSError) as error:
            self._note_failure(error)

    async def release(self, canvas_id: str, owner: str | None = None) -> None:
        """Delete the lease if `owner` owns it, so that the next replica can take over at once.

        `owner` is a replica's id, by default this replica's.
        """
        try:
            await self._release_script(
                keys=[_key(canvas_id)], args=[self._replica_id if owner is None else owner]
            )
        except (RedisError, OSError) as error:
            self._note_failure(error)

    async def _take(self, canvas_ids: Sequence[str], dead: str = "") -> list[str] | None:
        """Take or renew leases. Return their owners before that, or None when Redis is not reachable.

        An empty owner stands for a lease that was free.
        """
        try:
            owners = await self._take_script(
                keys=[*map(_key, canvas_ids)],
                args=[self._replica_id, dead, int(LEASE_SECONDS * 1000)],
            )
        except (RedisError, OSError) as error:
            self._note_failure(error)
            return None
        self.is_degraded = False
        return cast("list[str]", owners)

    def _note_failure(self, error: Exception) -> None:
        """Count the failure, and log the first failure of an outage."""
        FAILURES.inc()
        if not self.is_degraded:
            log.warning(
                "redis is not reachable; canvases are held without leases",
                error=type(error).__name__,
            )
        self.is_degraded = self._has_failed = True


def _key(canvas_id: str) -> str:
    return f"svgx:lease:{canvas_id}"
