"""Stored values in replicas that each test starts: state types, caches, and an outage of Redis."""

import asyncio

import pytest
from prometheus_client import REGISTRY

from svgx_common.contract.errors import (
    Conflict,
    Invalid,
    NotFound,
    TooLarge,
    Unavailable,
    VersionConflict,
)
from svgx_common.contract.storage import values
from svgx_common.contract.storage.erasure import ERASE_AUTHOR, EraseAuthorRequest
from svgx_devstack import DevStack
from tests.integration.state.service import Client, replica, user
from tests.integration.state.values_client import delete, page, persist, retrieve

TYPES = {
    "general": {"backend": "postgresql"},
    "session": {"backend": "redis", "ttl_seconds": 60, "max_bytes": 100},
    "draft": {"backend": "memory", "ttl_seconds": 60},
    "shared": {"backend": "postgresql", "shared": True},
}


async def test_value_of_each_type_is_found_by_its_key(client: Client, backing: DevStack) -> None:
    """Proves R-KV-4: a key is found without its type, in each backend, and keeps its type."""
    me = client.me
    async with replica(backing, state_types=TYPES):
        for name in ("general", "session", "draft"):
            value = {"type": name, "list": [1, 2.5, None]}
            await persist(client, me, name, value, state_type=name, metadata={"tab": 1})
            found = await retrieve(client, me, name)
            assert (found.value, found.state_type) == (value, name)
            assert found.metadata == {"tab": 1}
            assert (found.expires_at is None) == (name == "general")
            assert await retrieve(client, me, name, state_type=name) == found
            other = "session" if name == "general" else "general"
            with pytest.raises(NotFound):
                await retrieve(client, me, name, state_type=other)
            with pytest.raises(Conflict, match=f"type {name}"):
                await persist(client, me, name, 1, state_type=other)
            with pytest.raises(VersionConflict):
                await delete(client, me, name, version=1)
            with pytest.raises(NotFound):
                await delete(client, me, name, state_type=other)
            await delete(client, me, name, version=found.version)
            with pytest.raises(NotFound):
                await retrieve(client, me, name)
            with pytest.raises(NotFound):
                await delete(client, me, name)
        with pytest.raises(Invalid, match="the types are draft, general, session, shared"):
            await persist(client, me, "key", 1, state_type="unknown")
        with pytest.raises(Invalid, match="canvases are edited"):
            await persist(client, me, "key", 1, state_type="canvas")
        with pytest.raises(TooLarge) as refused:
            await persist(client, me, "key", "x" * 99, state_type="session")
        assert (refused.value.field, refused.value.limit) == ("value", 100)


def cache_requests(outcome: str) -> float:
    """Return the number of requests with this outcome to all caches of this process."""
    name = "svgx_engine_value_cache_requests_total"
    return REGISTRY.get_sample_value(name, {"outcome": outcome}) or 0


async def test_write_is_read_at_once_from_each_replica(client: Client, backing: DevStack) -> None:
    """Proves R-KV-9: a read that begins after the answer to a write returns the new value, from each replica."""
    me = client.me
    before = cache_requests("hit")
    async with replica(backing), replica(backing):
        for number in range(100):
            await persist(client, me, "counter", number)
            seen = [(await retrieve(client, me, "counter")).value for _ in range(4)]
            assert seen == [number] * 4
        assert cache_requests("hit") - before >= 100


async def test_erasure_is_seen_at_once_by_each_replica(client: Client, backing: DevStack) -> None:
    """Proves R-KV-9: a read that begins after the answer to an erasure finds no value, from each replica."""
    async with replica(backing), replica(backing):
        for _ in range(10):
            me = user()
            for key in ("one", "two"):
                await persist(client, me, key, 1)
                for _ in range(6):
                    await retrieve(client, me, key)
            request = EraseAuthorRequest(user_id=me.user_id, pseudonym=f"erased-{me.user_id}")
            await client.bus.ask(ERASE_AUTHOR, request)
            for key in ("one", "two") * 4:
                with pytest.raises(NotFound):
                    await retrieve(client, me, key)


async def test_concurrent_readers_of_one_key_ask_the_database_once(
    client: Client, backing: DevStack
) -> None:
    """Proves R-KV-9: 60 simultaneous readers cause one query in a replica."""
    async with replica(backing):
        await persist(client, client.me, "popular", "x")
        before = cache_requests("miss")
        request = values.ValueRequest(key="popular", state_type="general")
        found = await asyncio.gather(
            *(client.bus.ask(values.RETRIEVE_VALUE, request, caller=client.me) for _ in range(60))
        )
        assert [each.value for each in found] == ["x"] * 60
        assert cache_requests("miss") - before == 1


async def test_outage_of_redis_affects_only_its_types(client: Client, backing: DevStack) -> None:
    """Proves R-KV-10: without Redis, requests for its state types get 503 with the reason, and all others work."""
    me = client.me
    async with replica(backing, state_types=TYPES, redis_url="redis://127.0.0.1:1/0") as health:
        with pytest.raises(Unavailable, match="values in Redis"):
            await persist(client, me, "tab", 1, state_type="session")
        with pytest.raises(Unavailable, match="values in Redis"):
            await retrieve(client, me, "tab", state_type="session")
        with pytest.raises(Unavailable, match="values in Redis"):
            await page(client, me, state_type="session")
        version = await persist(client, me, "kept", 1)
        assert (await retrieve(client, me, "kept")).value == 1
        with pytest.raises(Unavailable, match="set the state_type"):
            await retrieve(client, me, "unknown")
        with pytest.raises(NotFound):
            await retrieve(client, me, "unknown", state_type="general")
        await delete(client, me, "kept", version=version)
        report = await health.report()
        assert report.status == "ok"
