"""Locks of objects, in a real Redis, and their broadcasts over a real NATS."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator

import pytest

from svgx_collab.object_locks import LockStore
from svgx_common import redis
from svgx_common.contract.errors import Conflict, Unavailable
from svgx_common.contract.live.locks import (
    CANVAS_LOCKS,
    MAX_LOCK_SECONDS,
    MAX_LOCKS,
    LockChange,
    LockRequest,
    LockStatusRequest,
    ObjectLock,
    UnlockRequest,
)
from svgx_common.messaging.bus import Bus
from svgx_common.messaging.caller import Caller
from svgx_common.redis import Redis
from svgx_devstack import DevStack
from tests.integration.collab.replica import call
from tests.integration.state.service import user
from tests.polling import pause

ADA, BOB = user(), user()


class Locks:
    """The locks of a new canvas."""

    def __init__(self, client: Redis, bus: Bus) -> None:
        self.redis = client
        self.bus = bus
        self.canvas_id = f"locks-{secrets.token_hex(6)}"
        self.key = f"svgx:locks:{self.canvas_id}"
        self._store = LockStore(client, bus)

    async def lock(self, caller: Caller, object_id: str = "roof", seconds: int = 30) -> ObjectLock:
        request = LockRequest(canvas_id=self.canvas_id, object_id=object_id, seconds=seconds)
        return await self._store.lock(request, call(caller=caller))

    async def unlock(self, caller: Caller, object_id: str = "roof") -> bool:
        request = UnlockRequest(canvas_id=self.canvas_id, object_id=object_id)
        return (await self._store.unlock(request, call(caller=caller))).released

    async def status(self, object_id: str | None = None) -> list[ObjectLock]:
        request = LockStatusRequest(canvas_id=self.canvas_id, object_id=object_id)
        return (await self._store.status(request, call())).items

    async def store(self, caller: Caller, object_ids: list[str], *, seconds: int) -> None:
        """Store locks that end in `seconds` seconds, or that ended before, if `seconds` is negative."""
        now = int(time.time() * 1000)
        value = f"{now + seconds * 1000} {now} {caller.user_id} {caller.username}"
        await self.redis.hset(self.key, mapping=dict.fromkeys(object_ids, value))


@pytest.fixture
async def collab_bus(backing: DevStack) -> AsyncIterator[Bus]:
    """Yield a connection to the bus with the permissions of a collab replica."""
    bus = await Bus.connect(backing.nats_url("collab"), "collab", secrets.token_hex(6))
    try:
        yield bus
    finally:
        await bus.close()


@pytest.fixture
async def locks(backing: DevStack, collab_bus: Bus) -> AsyncIterator[Locks]:
    client = redis.connect(backing.redis_url)
    try:
        yield Locks(client, collab_bus)
    finally:
        await client.aclose()


async def test_object_has_one_lock_at_a_time(locks: Locks) -> None:
    """Another user gets the seconds until the lock ends, and cannot release it. Proves R-LOCK-1 and R-LOCK-2."""
    lock = await locks.lock(ADA)
    assert (lock.object_id, lock.user_id, lock.username) == ("roof", ADA.user_id, ADA.username)
    assert (lock.expires_at - lock.acquired_at).total_seconds() == 30
    with pytest.raises(Conflict) as refused:
        await locks.lock(BOB)
    assert refused.value.field == "object_id"
    assert refused.value.retry_after is not None
    assert 0 < refused.value.retry_after <= 30
    with pytest.raises(Conflict):
        await locks.unlock(BOB)
    assert await locks.status() == [lock]
    assert await locks.unlock(ADA)
    assert not await locks.unlock(ADA)
    assert (await locks.lock(BOB)).user_id == BOB.user_id


async def test_second_request_of_the_same_user_renews_the_lock(locks: Locks) -> None:
    """The lock keeps the time of its begin. It ends at the time of the newest request. Proves R-LOCK-1."""
    first = await locks.lock(ADA)
    longer = await locks.lock(ADA, seconds=60)
    assert longer.acquired_at == first.acquired_at
    assert longer.expires_at > first.expires_at
    shorter = await locks.lock(ADA, seconds=10)
    assert shorter.expires_at < first.expires_at
    assert await locks.status() == [shorter]


async def test_lock_that_is_not_renewed_ends(locks: Locks) -> None:
    """Without a renewal, the object is free after the lifetime of the lock. Proves R-LOCK-1."""
    await locks.lock(ADA, seconds=1)
    async with asyncio.timeout(20):
        while await locks.status():
            await pause()
    assert (await locks.lock(BOB)).user_id == BOB.user_id


async def test_ended_lock_counts_as_no_lock(locks: Locks) -> None:
    """An ended lock is in no list, cannot be released, and does not block the object. Proves R-LOCK-1."""
    await locks.store(ADA, ["roof", "wall"], seconds=-5)
    assert await locks.status() == await locks.status("roof") == []
    assert not await locks.unlock(ADA, "wall")
    lock = await locks.lock(BOB)
    assert (lock.expires_at - lock.acquired_at).total_seconds() == 30


async def test_status_shows_all_locks_or_that_of_one_object(locks: Locks) -> None:
    """The locks are in the order of their objects. An id may be any text. Proves R-LOCK-3."""
    names = ["wall", "a b", "\u00fc\n", "x" * 256, "%d", "12 34 user"]
    made = {each: await locks.lock(ADA, each) for each in names}
    assert [each.object_id for each in await locks.status()] == sorted(names)
    for name, lock in made.items():
        assert await locks.status(name) == [lock]
    assert await locks.status("roof") == []


async def test_canvas_has_a_bounded_number_of_locks(locks: Locks) -> None:
    """Beyond the bound, locks can be renewed, and ended locks make room. Proves R-LOCK-4."""
    full = [str(each) for each in range(MAX_LOCKS)]
    await locks.store(ADA, full, seconds=60)
    with pytest.raises(Conflict) as refused:
        await locks.lock(ADA)
    assert refused.value.limit == MAX_LOCKS
    await locks.lock(ADA, "7")
    await locks.store(ADA, full[:5], seconds=-5)
    await locks.lock(BOB)
    assert len(await locks.status()) == await locks.redis.hlen(locks.key) == MAX_LOCKS - 4


async def test_redis_forgets_the_locks_of_an_unused_canvas(locks: Locks) -> None:
    """The key lives as long as the longest lock, also after a shorter lock. Proves R-LOCK-4."""
    await locks.lock(ADA, "wall", seconds=MAX_LOCK_SECONDS)
    await locks.lock(ADA, "roof", seconds=1)
    ends_after = await locks.redis.pttl(locks.key)
    assert (MAX_LOCK_SECONDS - 20) * 1000 < ends_after <= MAX_LOCK_SECONDS * 1000


async def test_changes_of_locks_are_broadcast(backing: DevStack, locks: Locks) -> None:
    """Gateways get each lock, renewal and release, and nothing of a refused request. Proves R-LOCK-6."""
    changes: asyncio.Queue[LockChange] = asyncio.Queue()

    async def receive(_: str, content: bytes) -> None:
        changes.put_nowait(LockChange.model_validate_json(content))

    gateway = await Bus.connect(backing.nats_url("gateway"), "gateway", "test")
    try:
        await gateway.listen(CANVAS_LOCKS.subject_of(canvas_id=locks.canvas_id), receive)
        await gateway.settle()
        lock = await locks.lock(ADA)
        renewed = await locks.lock(ADA, seconds=60)
        for refused in (locks.lock(BOB), locks.unlock(BOB)):
            with pytest.raises(Conflict):
                await refused
        assert await locks.unlock(ADA)
        assert not await locks.unlock(ADA)
        last = await locks.lock(BOB, "wall")
        async with asyncio.timeout(20):
            received = [await changes.get() for _ in range(4)]
    finally:
        await gateway.close()
    assert received == [
        LockChange(object_id="roof", user_id=ADA.user_id, lock=lock),
        LockChange(object_id="roof", user_id=ADA.user_id, lock=renewed),
        LockChange(object_id="roof", user_id=ADA.user_id, lock=None),
        LockChange(object_id="wall", user_id=BOB.user_id, lock=last),
    ]


async def test_lock_counts_when_its_broadcast_fails(locks: Locks) -> None:
    """A user gets and releases a lock while NATS takes no broadcast. Proves R-LOCK-6."""
    await locks.bus.connection.close()
    lock = await locks.lock(ADA)
    assert await locks.status() == [lock]
    assert await locks.unlock(ADA)


async def test_requests_without_redis_are_unavailable(collab_bus: Bus) -> None:
    """Proves R-LOCK-5."""
    client = redis.connect("redis://127.0.0.1:1/0")
    locks = Locks(client, collab_bus)
    for request in (locks.lock(ADA), locks.unlock(ADA), locks.status()):
        with pytest.raises(Unavailable) as refused:
            await request
        assert refused.value.retry_after
    await client.aclose()
