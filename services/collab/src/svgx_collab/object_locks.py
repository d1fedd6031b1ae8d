"""Locks of objects, in one Redis hash for each canvas.

Redis' clock decides when a lock ends, so the clocks of the replicas do not matter. If Redis loses its keys, the locks
are lost. No edit depends on a lock.

New, renewed and released locks are broadcast. A lock that expires is not, because its last broadcast has the time of
its end. Two replicas may broadcast changes of one object in the wrong order.
"""

import contextlib
from datetime import UTC, datetime

from svgx_common.contract.errors import Conflict, Unavailable
from svgx_common.contract.live.locks import (
    CANVAS_LOCKS,
    MAX_LOCK_SECONDS,
    MAX_LOCKS,
    LockChange,
    LockRequest,
    LockStatusRequest,
    ObjectLock,
    ObjectLocks,
    Unlocked,
    UnlockRequest,
)
from svgx_common.messaging.bus import Bus
from svgx_common.messaging.responder import Call
from svgx_common.redis import Redis, answer_of

CONTENT = "the locks"
"""The content of Redis, for errors."""

HELD = "another user has locked this object; GET /runtime/lock-status/ shows the lock"

# The value of a hash field: the end and the begin of the lock in Unix milliseconds, the user's id, and the username.
# Each script begins with the time, and a function that returns the begin and the user of a live lock.
_COMMON = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function live(value)
    if not value then return nil end
    local ends, begun, user = string.match(value, '^(%d+) (%d+) (%S+)')
    if tonumber(ends) > now then return begun, user end
end
"""

# Locks the object ARGV[1] for the user ARGV[2] with the name ARGV[3] for ARGV[4] ms, unless another user has a live
# lock, or the hash has ARGV[5] live locks. The hash lives for ARGV[6] ms after its last lock. Returns the result and
# the lock that counts now.
_LOCK = (
    _COMMON
    + """
local old = redis.call('HGET', KEYS[1], ARGV[1])
local begun, user = live(old)
if user and user ~= ARGV[2] then return {'held', old, now} end
if not user and redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[5]) then
    local all = redis.call('HGETALL', KEYS[1])
    for place = 1, #all, 2 do
        if not live(all[place + 1]) then redis.call('HDEL', KEYS[1], all[place]) end
    end
    if redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[5]) then return {'full', '', now} end
end
local new = string.format('%.0f %s %s %s', now + ARGV[4], begun or string.format('%.0f', now), ARGV[2], ARGV[3])
redis.call('HSET', KEYS[1], ARGV[1], new)
redis.call('PEXPIRE', KEYS[1], ARGV[6])
return {'locked', new, now}
"""
)

# Deletes the lock of the object ARGV[1], unless another user than ARGV[2] has it. Returns the result.
_UNLOCK = (
    _COMMON
    + """
local _, user = live(redis.call('HGET', KEYS[1], ARGV[1]))
if user and user ~= ARGV[2] then return 'held' end
redis.call('HDEL', KEYS[1], ARGV[1])
return user and 'released' or 'free'
"""
)

# Returns the live locks: of the object ARGV[1], or of all objects if ARGV[1] is empty. Each is an id and a lock.
_LIST = (
    _COMMON
    + """
if ARGV[1] ~= '' then
    local value = redis.call('HGET', KEYS[1], ARGV[1])
    return live(value) and {ARGV[1], value} or {}
end
local all, found = redis.call('HGETALL', KEYS[1]), {}
for place = 1, #all, 2 do
    if live(all[place + 1]) then
        table.insert(found, all[place])
        table.insert(found, all[place + 1])
    end
end
return found
"""
)


class LockStore:
    """The locks of all canvases, as every replica sees them. Changes of locks are broadcast on the bus."""

    def __init__(self, redis: Redis, bus: Bus) -> None:
        self._bus = bus
        self._lock_script = redis.register_script(_LOCK)
        self._unlock_script = redis.register_script(_UNLOCK)
        self._list_script = redis.register_script(_LIST)

    async def lock(self, request: LockRequest, call: Call) -> ObjectLock:
        """Lock the object for the caller, or renew the caller's lock.

        Raises `Conflict` while another user has the lock, or while the canvas has `MAX_LOCKS` locks.
        """
        caller = call.signed_in_caller()
        result, value, now = await answer_of(
            self._lock_script(
                keys=[_key(request.canvas_id)],
                args=[
                    request.object_id,
                    caller.user_id,
                    caller.username,
                    request.seconds * 1000,
                    MAX_LOCKS,
                    MAX_LOCK_SECONDS * 1000,
                ],
            ),
            CONTENT,
        )
        if result == "held":
            ends_after = (int(value.split(" ")[0]) - now) / 1000
            raise Conflict(HELD, field="object_id", retry_after=ends_after)
        if result == "full":
            raise Conflict("this canvas has too many locks", field="object_id", limit=MAX_LOCKS)
        lock = _read(request.object_id, value)
        await self._announce(
            request.canvas_id,
            LockChange(object_id=lock.object_id, user_id=lock.user_id, lock=lock),
        )
        return lock

    async def unlock(self, request: UnlockRequest, call: Call) -> Unlocked:
        """Release the caller's lock. Raises `Conflict` while another user has the lock."""
        user_id = call.signed_in_caller().user_id
        result = await answer_of(
            self._unlock_script(keys=[_key(request.canvas_id)], args=[request.object_id, user_id]),
            CONTENT,
        )
        if result == "held":
            raise Conflict(HELD, field="object_id")
        released = result == "released"
        if released:
            await self._announce(
                request.canvas_id,
                LockChange(object_id=request.object_id, user_id=user_id, lock=None),
            )
        return Unlocked(released=released)

    async def status(self, request: LockStatusRequest, _: Call) -> ObjectLocks:
        """Return the locks of the canvas, or of one object."""
        found = await answer_of(
            self._list_script(keys=[_key(request.canvas_id)], args=[request.object_id or ""]),
            CONTENT,
        )
        locks = dict(zip(found[::2], found[1::2], strict=True))
        return ObjectLocks(items=[_read(*each) for each in sorted(locks.items())])

    async def _announce(self, canvas_id: str, change: LockChange) -> None:
        """Broadcast a change. A broadcast that fails is lost, because the request has succeeded."""
        with contextlib.suppress(Unavailable):
            await self._bus.broadcast(CANVAS_LOCKS, change, canvas_id=canvas_id)


def _read(object_id: str, value: str) -> ObjectLock:
    ends, begun, user_id, username = value.split(" ", 3)
    return ObjectLock(
        object_id=object_id,
        user_id=user_id,
        username=username,
        acquired_at=_time(begun),
        expires_at=_time(ends),
    )


def _time(milliseconds: str) -> datetime:
    return datetime.fromtimestamp(int(milliseconds) / 1000, UTC)


def _key(canvas_id: str) -> str:
    return f"svgx:locks:{canvas_id}"
