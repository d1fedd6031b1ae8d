"""The read-through cache of values."""

import asyncio
from collections.abc import Callable
from datetime import timedelta

import pytest

from svgx_common.contract.errors import Unavailable
from svgx_common.contract.storage.values import ALL_KEYS
from svgx_state.values import cache as cache_module
from svgx_state.values.cache import MAX_AGE_SECONDS, OVERHEAD_BYTES, CachedStore
from svgx_state.values.memory import MemoryStore
from svgx_state.values.store import AccountLimits, Draft, StoredKey, StoredValue
from tests.clock import datetime_with_offset

LIMITS = AccountLimits(keys=10_000, bytes=2**30)


class SlowStore(MemoryStore):
    """A store that counts its reads, and delays them until the test allows them."""

    def __init__(self) -> None:
        super().__init__(LIMITS)
        self.reads = 0
        self.started = asyncio.Event()
        self.allowed = asyncio.Event()
        self.allowed.set()
        self.failing = False

    async def get(self, owner: str, key: str) -> StoredValue | None:
        """Read the value, and return it when the test allows reads."""
        self.reads += 1
        found = await super().get(owner, key)
        self.started.set()
        await self.allowed.wait()
        if self.failing:
            raise Unavailable
        return found


async def _announce(_: str, __: str) -> None:
    pass


def make_cache(
    max_bytes: int = 2**20, clock: Callable[[], float] = lambda: 0.0
) -> tuple[SlowStore, CachedStore]:
    store = SlowStore()
    return store, CachedStore(store, _announce, max_bytes, clock)


def draft(value: str, key: str = "key", seconds: float | None = None) -> Draft:
    return Draft(key=key, state_type="general", value=value, metadata="{}", seconds=seconds)


async def value_of(cache: CachedStore, key: str = "key") -> str | None:
    found = await cache.get("me", key)
    return found.value if found else None


async def test_thousand_concurrent_readers_share_one_read() -> None:
    """Proves R-KV-9: readers of one key at the same time cause one read of the store, also for a missing key."""
    store, cache = make_cache()
    await cache.put("me", draft("1"), None)
    store.allowed.clear()
    readers = [asyncio.create_task(value_of(cache)) for _ in range(1000)]
    missing = [asyncio.create_task(value_of(cache, "missing")) for _ in range(1000)]
    await store.started.wait()
    store.allowed.set()
    assert await asyncio.gather(*readers) == ["1"] * 1000
    assert await asyncio.gather(*missing) == [None] * 1000
    assert store.reads == 2
    assert await value_of(cache) == "1"
    assert store.reads == 2


async def test_reader_that_gives_up_does_not_end_the_read_of_others() -> None:
    """Proves R-KV-9: a cancelled reader leaves the shared read running."""
    store, cache = make_cache()
    await cache.put("me", draft("1"), None)
    store.allowed.clear()
    first, second = (asyncio.create_task(value_of(cache)) for _ in range(2))
    await store.started.wait()
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    store.allowed.set()
    assert await second == "1"
    assert store.reads == 1


async def test_failed_read_fails_all_its_readers_and_is_not_cached() -> None:
    """Proves R-KV-9: a failure of the store reaches all readers, and the next reader asks the store again."""
    store, cache = make_cache()
    await cache.put("me", draft("1"), None)
    store.failing = True
    results = await asyncio.gather(*(value_of(cache) for _ in range(5)), return_exceptions=True)
    assert all(isinstance(each, Unavailable) for each in results)
    store.failing = False
    assert await value_of(cache) == "1"
    assert store.reads == 2


async def test_read_that_a_write_overtakes_is_not_cached() -> None:
    """Proves R-KV-9: a read that began before a write neither fills the cache nor serves later readers."""
    store, cache = make_cache()
    await cache.put("me", draft("old"), None)
    store.allowed.clear()
    early = asyncio.create_task(value_of(cache))
    await store.started.wait()
    await cache.put("me", draft("new"), None)
    late = asyncio.create_task(value_of(cache))
    await asyncio.sleep(0)
    store.allowed.set()
    assert await early == "old"
    assert await late == "new"
    assert await value_of(cache) == "new"
    assert store.reads == 2


async def test_change_by_another_replica_removes_the_entry() -> None:
    """Proves R-KV-9: an announced change removes only the changed key from the cache."""
    store, cache = make_cache()
    await cache.put("me", draft("1", "a"), None)
    await cache.put("me", draft("1", "b"), None)
    assert [await value_of(cache, key) for key in "ab"] == ["1", "1"]
    await store.put("me", draft("2", "a"), None)
    assert await value_of(cache, "a") == "1"
    cache.forget("me", "a")
    assert [await value_of(cache, key) for key in "ab"] == ["2", "1"]
    assert store.reads == 3
    cache.clear()
    assert cache.size == 0
    assert await value_of(cache, "b") == "1"
    assert store.reads == 4


async def test_erasure_removes_only_the_values_of_its_owner() -> None:
    """Proves R-KV-9: an erasure is announced, and a read that began before it does not fill the cache."""
    announced: list[tuple[str, str]] = []

    async def announce(owner: str, key: str) -> None:
        announced.append((owner, key))

    store = SlowStore()
    cache = CachedStore(store, announce, 2**20)
    await cache.put("me", draft("1", "a"), None)
    await cache.put("me", draft("1", "b"), None)
    await cache.put("other", draft("1", "a"), None)
    assert await cache.get("other", "a") is not None
    assert await value_of(cache, "a") == "1"
    store.allowed.clear()
    store.started.clear()
    early = asyncio.create_task(value_of(cache, "b"))
    await store.started.wait()
    assert await cache.erase("me") == 2
    store.allowed.set()
    assert await early == "1"
    assert [await value_of(cache, key) for key in "ab"] == [None, None]
    assert announced[3:] == [("me", ALL_KEYS)]
    reads = store.reads
    assert await cache.get("other", "a") is not None
    assert store.reads == reads


async def test_entry_is_used_for_a_limited_time() -> None:
    """Proves R-KV-9: after a lost announcement, the old value is returned for less than `MAX_AGE_SECONDS`."""
    now = 0.0
    store, cache = make_cache(clock=lambda: now)
    await cache.put("me", draft("1"), None)
    await value_of(cache)
    await store.put("me", draft("2"), None)
    now = MAX_AGE_SECONDS - 0.1
    assert await value_of(cache) == "1"
    now = MAX_AGE_SECONDS
    assert await value_of(cache) == "2"


async def test_cache_never_exceeds_its_byte_limit() -> None:
    """Proves R-KV-9: the cache is bounded in bytes; the keys that were read longest ago are removed first."""
    size = OVERHEAD_BYTES + 102
    store, cache = make_cache(max_bytes=3 * size)
    for key in ("a", "b", "c", "d"):
        await cache.put("me", draft('"' + "x" * 98 + '"', key), None)
    for key in ("a", "b", "c", "a", "d"):
        await value_of(cache, key)
        assert cache.size <= 3 * size
    assert store.reads == 4
    await value_of(cache, "a")
    assert store.reads == 4
    await value_of(cache, "b")
    assert store.reads == 5


async def test_cache_with_a_limit_of_0_bytes_asks_the_store_each_time() -> None:
    """Proves R-KV-9: with a limit of 0 bytes nothing is cached, so each read asks the store again."""
    store, cache = make_cache(max_bytes=0)
    await cache.put("me", draft("1"), None)
    assert [await value_of(cache) for _ in range(3)] == ["1"] * 3
    assert (store.reads, cache.size) == (3, 0)


async def test_expired_value_is_not_returned_from_the_cache(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Proves R-KV-5: the cache does not extend a value's time to live."""
    store, cache = make_cache()
    await cache.put("me", draft("1", seconds=60), None)
    assert await value_of(cache) == "1"
    later = datetime_with_offset(timedelta(seconds=61))
    monkeypatch.setattr(cache_module, "datetime", later)
    monkeypatch.setattr(store, "_clock", lambda: later.now().timestamp())
    assert await value_of(cache) is None
    assert store.reads > 1


async def test_write_is_announced_also_after_a_failure() -> None:
    """Proves R-KV-9: a write with an unknown outcome is announced, because it may have been committed."""
    announced: list[tuple[str, str]] = []

    async def announce(owner: str, key: str) -> None:
        announced.append((owner, key))

    class FailingStore(MemoryStore):
        async def put(self, owner: str, draft: Draft, expected: int | None) -> StoredKey:
            raise Unavailable

    cache = CachedStore(FailingStore(LIMITS), announce, 2**20)
    with pytest.raises(Unavailable):
        await cache.put("me", draft("1"), None)
    await cache.delete("me", "other", None)
    assert announced == [("me", "key"), ("me", "other")]
