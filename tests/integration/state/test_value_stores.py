"""One suite for all stores of values: PostgreSQL, Redis and memory."""

import asyncio
import random
import secrets
from collections.abc import AsyncIterator

import pytest

from svgx_common import postgres, redis
from svgx_common.contract.errors import Conflict, SvgxError, TooLarge, VersionConflict
from svgx_common.postgres import load_queries
from svgx_devstack import DevStack
from svgx_state.values.memory import MemoryStore
from svgx_state.values.postgresql import PostgresStore
from svgx_state.values.redis import RedisStore
from svgx_state.values.store import AccountLimits, Draft, StateStore
from tests.blocked import until_blocked
from tests.integration.state.service import Tables
from tests.polling import pause

LIMITS = AccountLimits(keys=5, bytes=1000)
BACKENDS = ("postgresql", "redis", "memory")


@pytest.fixture(scope="module")
async def stores(backing: DevStack) -> AsyncIterator[dict[str, StateStore]]:
    """One store of each kind."""
    client = redis.connect(backing.redis_url)
    async with postgres.connect(
        backing.postgres_url, schema="state", package="svgx_state", pool_size=8
    ) as database:
        yield {
            "postgresql": PostgresStore(database, LIMITS),
            "redis": RedisStore(client, LIMITS),
            "memory": MemoryStore(LIMITS),
        }
    await client.aclose()


@pytest.fixture(params=BACKENDS)
def store(request: pytest.FixtureRequest, stores: dict[str, StateStore]) -> StateStore:
    """Each store in turn."""
    return stores[request.param]


@pytest.fixture
def owner() -> str:
    """A new owner."""
    return f"user-{secrets.token_hex(6)}"


def draft(
    key: str = "key",
    value: str = '"one"',
    *,
    state_type: str = "session",
    metadata: str = "{}",
    seconds: float | None = 60.0,
) -> Draft:
    return Draft(key=key, state_type=state_type, value=value, metadata=metadata, seconds=seconds)


async def test_stored_value_is_read_back_with_its_details(store: StateStore, owner: str) -> None:
    """Proves R-KV-1: value and metadata are read as they were stored, with type, version and times."""
    text = '{"b":1.0,"a":[null,true,12345678901234567890123],"nul":"\\u0000","emoji":"👩‍🎨"}'
    stored = await store.put(owner, draft(value=text, metadata='{"by":"test"}'), None)
    found = await store.get(owner, "key")
    assert found is not None
    assert (found.key, found.value, found.metadata) == ("key", text, '{"by":"test"}')
    assert (found.state_type, found.version) == ("session", stored.version)
    assert found.updated_at == stored.updated_at
    assert found.expires_at == stored.expires_at is not None
    lifetime = (stored.expires_at - stored.updated_at).total_seconds()
    assert lifetime == pytest.approx(60, abs=0.01)


async def test_unknown_key_has_no_value(store: StateStore, owner: str) -> None:
    """Proves R-KV-1: a key that was never stored has no value, and nothing is deleted."""
    assert await store.get(owner, "key") is None
    assert await store.delete(owner, "key", None) is False
    assert await store.keys(owner, "session", "", "", 10) == []


async def test_key_of_another_owner_is_not_seen(store: StateStore, owner: str) -> None:
    """Proves R-KV-2: two owners have separate values under one key."""
    await store.put(owner, draft(value="1"), None)
    await store.put("user-other", draft(value="2"), None)
    found = await store.get(owner, "key")
    assert found is not None
    assert found.value == "1"
    await store.delete("user-other", "key", None)
    assert await store.get(owner, "key") is not None


async def test_write_of_the_stored_version_replaces_the_value(
    store: StateStore, owner: str
) -> None:
    """Proves R-KV-3: a write that names the stored version succeeds, and the version grows."""
    first = await store.put(owner, draft(value="1"), 0)
    second = await store.put(owner, draft(value="2"), first.version)
    third = await store.put(owner, draft(value="3"), None)
    assert first.version < second.version < third.version < 2**53
    found = await store.get(owner, "key")
    assert found is not None
    assert (found.value, found.version) == ("3", third.version)


async def test_write_of_another_version_is_refused_with_the_current_version(
    store: StateStore, owner: str
) -> None:
    """Proves R-KV-3: a write with a stale version changes nothing, and the error has the stored version."""
    first = await store.put(owner, draft(value="1"), None)
    second = await store.put(owner, draft(value="2"), first.version)
    for stale in (0, first.version, second.version + 1):
        with pytest.raises(VersionConflict) as refused:
            await store.put(owner, draft(value="3"), stale)
        assert refused.value.current_version == second.version
        if stale:
            with pytest.raises(VersionConflict) as kept:
                await store.delete(owner, "key", stale)
            assert kept.value.current_version == second.version
    with pytest.raises(VersionConflict) as missing:
        await store.put(owner, draft("new"), 5)
    assert missing.value.current_version == 0
    found = await store.get(owner, "key")
    assert found is not None
    assert found.value == "2"


async def test_version_of_a_deleted_value_is_not_used_again(store: StateStore, owner: str) -> None:
    """Proves R-KV-3: a client that read a value before its deletion cannot overwrite the next value of the key."""
    first = await store.put(owner, draft(value="1"), 0)
    assert await store.delete(owner, "key", first.version) is True
    assert await store.get(owner, "key") is None
    second = await store.put(owner, draft(value="2"), 0)
    assert second.version > first.version
    with pytest.raises(VersionConflict):
        await store.put(owner, draft(value="3"), first.version)


async def test_concurrent_writes_of_one_version_have_one_winner(
    store: StateStore, owner: str
) -> None:
    """Proves R-KV-3: of writers that read the same version, exactly one succeeds."""
    first = await store.put(owner, draft(value="0"), None)
    writes = (store.put(owner, draft(value=str(n)), first.version) for n in range(1, 9))
    results = await asyncio.gather(*writes, return_exceptions=True)
    winners = [each for each in results if not isinstance(each, BaseException)]
    assert len(winners) == 1
    assert all(isinstance(each, VersionConflict) for each in results if each not in winners)
    found = await store.get(owner, "key")
    assert found is not None
    assert found.version == winners[0].version


async def test_write_and_deletion_of_one_version_have_one_winner(
    store: StateStore, owner: str
) -> None:
    """Proves R-KV-3: of a write and a deletion that name the same version, exactly one succeeds."""
    for number in range(20):
        key = f"key-{number % LIMITS.keys}"
        first = await store.put(owner, draft(key, "0"), None)
        written, deleted = await asyncio.gather(
            store.put(owner, draft(key, "1"), first.version),
            store.delete(owner, key, first.version),
            return_exceptions=True,
        )
        found = await store.get(owner, key)
        if isinstance(written, BaseException):
            assert isinstance(written, VersionConflict)
            assert written.current_version == 0
            assert deleted is True
            assert found is None
        else:
            assert isinstance(deleted, VersionConflict)
            assert found is not None
            assert found.version == written.version


@pytest.mark.parametrize(
    ("removal", "arguments"),
    [("delete_stored_value", ("key", None)), ("erase_stored_values", ())],
    ids=["deletion", "erasure"],
)
async def test_write_of_a_version_that_is_being_removed_is_refused(
    stores: dict[str, StateStore],
    owner: str,
    tables: Tables,
    removal: str,
    arguments: tuple[str | None, ...],
) -> None:
    """Proves R-KV-3: a write waits for the commit of the value's removal, and is then refused with version 0."""
    store = stores["postgresql"]
    first = await store.put(owner, draft(), None)
    async with tables.transaction():
        await tables.execute(load_queries("svgx_state")[removal].sql, owner, *arguments)
        write = asyncio.create_task(store.put(owner, draft(value="2"), first.version))
        await until_blocked(tables)
    with pytest.raises(VersionConflict) as refused:
        await write
    assert refused.value.current_version == 0
    assert await store.get(owner, "key") is None


async def test_key_of_another_type_is_refused(store: StateStore, owner: str) -> None:
    """Proves R-KV-4: a key keeps its type until it is deleted."""
    await store.put(owner, draft(), None)
    with pytest.raises(Conflict, match="type session"):
        await store.put(owner, draft(state_type="cache"), None)
    await store.delete(owner, "key", None)
    await store.put(owner, draft(state_type="cache"), None)


async def test_value_ends_after_its_time_to_live(store: StateStore, owner: str) -> None:
    """Proves R-KV-5: an expired value is not read, listed or counted, and its key can be created again."""
    first = await store.put(owner, draft(seconds=0.05), 0)
    await store.put(owner, draft("other"), None)
    while await store.get(owner, "key") is not None:
        await pause()
    assert [each.key for each in await store.keys(owner, "session", "", "", 10)] == ["other"]
    assert await store.delete(owner, "key", None) is False
    with pytest.raises(VersionConflict):
        await store.put(owner, draft(), first.version)
    for number in range(LIMITS.keys - 2):
        await store.put(owner, draft(f"more-{number}"), None)
    second = await store.put(owner, draft(state_type="cache"), 0)
    assert second.version > first.version


async def test_write_extends_the_time_to_live(store: StateStore, owner: str) -> None:
    """Proves R-KV-5: the time to live starts again with each write."""
    first = await store.put(owner, draft(seconds=5), None)
    second = await store.put(owner, draft(seconds=60), None)
    assert first.expires_at is not None
    assert second.expires_at is not None
    assert (second.expires_at - first.expires_at).total_seconds() > 50


async def test_keys_over_the_limit_are_refused(store: StateStore, owner: str) -> None:
    """Proves R-KV-6: a new key over the account's limit is refused; stored keys can still be changed and deleted."""
    for number in range(LIMITS.keys):
        await store.put(owner, draft(f"key-{number}"), None)
    with pytest.raises(TooLarge) as refused:
        await store.put(owner, draft("one-more"), None)
    assert (refused.value.field, refused.value.limit) == ("key", LIMITS.keys)
    await store.put(owner, draft("key-0", '"changed"'), None)
    await store.delete(owner, "key-1", None)
    await store.put(owner, draft("one-more"), None)


async def test_bytes_over_the_limit_are_refused(store: StateStore, owner: str) -> None:
    """Proves R-KV-6: the bytes of an account's values and metadata are limited; a smaller value fits again."""
    await store.put(owner, draft("one", '"' + "x" * 598 + '"'), None)
    with pytest.raises(TooLarge) as refused:
        await store.put(owner, draft("two", '"' + "é" * 198 + '"'), None)
    assert (refused.value.field, refused.value.limit) == ("value", LIMITS.bytes)
    await store.put(owner, draft("two", '"' + "é" * 197 + '"', metadata="{}"), None)
    await store.put(owner, draft("one", "1"), None)
    await store.put(owner, draft("two", '"' + "x" * 900 + '"'), None)


async def test_keys_are_listed_by_type_and_prefix_in_pages(store: StateStore, owner: str) -> None:
    """Proves R-KV-7: a list has the keys of one type with the prefix, in the order of their code points."""
    for key in ("b.2", "b.10", "B.1", "a", "b_1"):
        await store.put(owner, draft(key, state_type="cache" if key == "a" else "session"), None)
    listed = await store.keys(owner, "session", "", "", 10)
    assert [each.key for each in listed] == ["B.1", "b.10", "b.2", "b_1"]
    listed = await store.keys(owner, "session", "b.", "", 10)
    assert [each.key for each in listed] == ["b.10", "b.2"]
    listed = await store.keys(owner, "session", "", "b.10", 1)
    assert [each.key for each in listed] == ["b.2"]
    listed = await store.keys(owner, "session", "b%", "", 10)
    assert listed == []


async def test_erased_owner_has_no_values(store: StateStore, owner: str) -> None:
    """Proves R-KV-8: erasing an account removes all of its values, and no others."""
    await store.put("user-stays", draft(), None)
    for number in range(3):
        await store.put(owner, draft(f"key-{number}"), None)
    assert await store.erase(owner) == 3
    assert await store.keys(owner, "session", "", "", 10) == []
    assert await store.get("user-stays", "key") is not None
    for number in range(LIMITS.keys):
        await store.put(owner, draft(f"again-{number}"), None)


async def test_values_without_time_to_live_stay(stores: dict[str, StateStore], owner: str) -> None:
    """Proves R-KV-5: `expire` deletes exactly the expired values."""
    for name in ("postgresql", "memory"):
        store = stores[name]
        await store.put(owner, draft("stays", seconds=None), None)
        await store.put(owner, draft("ends", seconds=0.01), None)
        while await store.get(owner, "ends") is not None:
            await pause()
        # Values of other tests may expire meanwhile.
        expired = 0
        while count := await store.expire():
            expired += count
        assert expired >= 1
        assert await store.get(owner, "stays") is not None


async def test_random_operations_give_the_same_results_in_all_stores(
    stores: dict[str, StateStore], owner: str
) -> None:
    """Proves R-KV-1 and R-KV-3: seeded random operations have the same outcome in each store."""
    seed = secrets.randbits(32)
    print(f"seed {seed}")
    random_ = random.Random(seed)
    versions: dict[str, dict[str, list[int]]] = {name: {} for name in BACKENDS}
    for _ in range(150):
        key = random_.choice("abcdefg")
        action = random_.choice(("put", "put", "put", "delete", "get", "keys"))
        # The expected version: None for any, 0 for a new key, -1 or -2 for the key's newest or previous version.
        choice = random_.choice((None, 0, -1, -1, -2))
        size = random_.choice((1, 50, 400))
        state_type = random_.choice(("session",) * 9 + ("cache",))
        outcomes = []
        for name in BACKENDS:
            store, known = stores[name], versions[name].setdefault(key, [])
            expected = choice if not choice else (known[choice] if len(known) >= -choice else 7)
            try:
                match action:
                    case "put":
                        new = draft(key, '"' + "x" * size + '"', state_type=state_type)
                        known.append((await store.put(owner, new, expected)).version)
                        outcomes.append("ok")
                    case "delete":
                        outcomes.append(str(await store.delete(owner, key, expected or None)))
                    case "get":
                        found = await store.get(owner, key)
                        outcomes.append(str(found and (found.value, found.state_type)))
                    case _:
                        listed = await store.keys(owner, "session", "", "", 10)
                        outcomes.append(str([each.key for each in listed]))
            except SvgxError as error:
                outcomes.append(f"{error.code} {error.field}")
        assert outcomes[0] == outcomes[1] == outcomes[2], (seed, action, key, outcomes)
