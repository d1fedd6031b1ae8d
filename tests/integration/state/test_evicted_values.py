"""Values in Redis after evictions. `DEL` of a key has the same result as its eviction, which a test cannot direct."""

import secrets
from collections.abc import AsyncIterator

import pytest

from svgx_common import redis
from svgx_common.contract.errors import TooLarge
from svgx_common.redis import Redis
from svgx_devstack import DevStack
from svgx_state.values.redis import RedisStore
from svgx_state.values.store import SHARED, AccountLimits, Draft

LIMITS = AccountLimits(keys=4, bytes=1000)
INDEX, SIZES = "svgx:value-keys:{{{}}}", "svgx:value-sizes:{{{}}}"
EVICTIONS = {
    "nothing": [],
    "the index": [INDEX],
    "the sizes": [SIZES],
    "the index and the sizes": [INDEX, SIZES],
    "a value": ["svgx:value:{{{}}}:key-0"],
}

evictions = pytest.mark.parametrize("evicted", EVICTIONS.values(), ids=EVICTIONS)


@pytest.fixture
async def client(backing: DevStack) -> AsyncIterator[Redis]:
    client = redis.connect(backing.redis_url)
    yield client
    await client.aclose()


@pytest.fixture
def store(client: Redis) -> RedisStore:
    return RedisStore(client, LIMITS)


@pytest.fixture
def owner() -> str:
    """A new owner."""
    return f"user-{secrets.token_hex(6)}"


async def fill(store: RedisStore, owner: str, prefix: str = "key", *, size: int = 50) -> int:
    """Store values of `size` bytes until one is refused, and return their number."""
    for number in range(2 * LIMITS.keys):
        value = f'"{prefix}"'.ljust(size - 2)
        draft = Draft(f"{prefix}-{number}", "session", value, metadata="{}", seconds=60)
        try:
            await store.put(owner, draft, None)
        except TooLarge:
            return number
    return 2 * LIMITS.keys


async def evict(client: Redis, owner: str, patterns: list[str]) -> None:
    for pattern in patterns:
        assert await client.delete(pattern.format(owner)) == 1


async def remaining(client: Redis, owner: str) -> list[str]:
    """Return all keys in Redis that contain the owner."""
    return [key async for key in client.scan_iter("*", count=1000) if owner in key]


@evictions
async def test_erasure_leaves_nothing_in_redis(
    client: Redis, store: RedisStore, owner: str, evicted: list[str]
) -> None:
    """Proves R-KV-8: erasing an account removes all its keys from Redis, whichever of them Redis has evicted."""
    other = f"{owner}-other"
    assert await fill(store, other) == LIMITS.keys
    stored = await fill(store, owner)
    await evict(client, owner, evicted)
    left = len([key for key in await remaining(client, owner) if f"value:{{{owner}}}" in key])
    assert left in (stored, stored - 1)
    assert await store.erase(owner) == left
    assert await remaining(client, f"{{{owner}}}") == []
    assert len(await store.keys(other, "session", "", "", 10)) == LIMITS.keys


async def test_erasure_of_an_owner_with_characters_of_patterns_removes_no_other_values(
    store: RedisStore, owner: str
) -> None:
    """Proves R-KV-8: no character of an owner's id selects the values of other owners."""
    await fill(store, owner)
    for pattern in (SHARED, f"{owner[:-1]}?", f"{owner[:-1]}[{owner[-1]}]"):
        await store.erase(pattern)
    assert len(await store.keys(owner, "session", "", "", 10)) == LIMITS.keys


@evictions
@pytest.mark.parametrize("size", [50, 400], ids=["keys", "bytes"])
async def test_limits_hold_after_an_eviction(
    client: Redis, store: RedisStore, owner: str, evicted: list[str], size: int
) -> None:
    """Proves R-KV-6: the values that an account can read are within its limits, also after an eviction.

    The values that can be read are exactly those in the list.
    """
    stored = await fill(store, owner, size=size)
    assert stored == min(LIMITS.keys, LIMITS.bytes // size)
    await evict(client, owner, evicted)
    await fill(store, owner, "later", size=size)
    names = [f"{prefix}-{number}" for prefix in ("key", "later") for number in range(stored)]
    readable = [name for name in names if await store.get(owner, name) is not None]
    listed = await store.keys(owner, "session", "", "", 10)
    assert [each.key for each in listed] == readable
    assert stored - 1 <= len(readable) <= stored
    for key in await remaining(client, owner):
        assert await client.ttl(key) > 0


async def test_value_without_an_index_can_be_written_and_deleted(
    client: Redis, store: RedisStore, owner: str
) -> None:
    """Proves R-KV-3: a value counts as missing after its index was evicted, and its version is not used again."""
    draft = Draft("key", "session", '"old"', metadata="{}", seconds=60)
    first = await store.put(owner, draft, 0)
    await evict(client, owner, [INDEX])
    assert await store.get(owner, "key") is None
    second = await store.put(owner, draft, 0)
    assert second.version > first.version
    await evict(client, owner, [INDEX])
    assert await store.delete(owner, "key", None) is False
    assert await client.exists(f"svgx:value:{{{owner}}}:key") == 0
