"""The backing servers run with safe settings, passwords and permissions."""

import asyncio
from pathlib import Path

import asyncpg
import nats
import nats.errors
import pytest
import redis.asyncio

from svgx_devstack import DevStack


async def _query(stack: DevStack, query: str) -> str:
    connection = await asyncpg.connect(stack.postgres_url)
    try:
        return str(await connection.fetchval(query))
    finally:
        await connection.close()


async def test_postgres_runs_with_durability_and_checksums(backing: DevStack) -> None:
    assert await _query(backing, "SHOW fsync") == "on"
    assert await _query(backing, "SHOW synchronous_commit") == "on"
    assert await _query(backing, "SHOW full_page_writes") == "on"
    assert await _query(backing, "SHOW data_checksums") == "on"
    assert await _query(backing, "SHOW server_encoding") == "UTF8"
    assert await _query(backing, "SHOW listen_addresses") == "127.0.0.1"


async def test_postgres_refuses_a_wrong_password(backing: DevStack) -> None:
    url = backing.postgres_url
    password = url.partition("svgx_user:")[2].partition("@")[0]
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(url.replace(password, "wrong"))


async def test_killed_postgres_restarts_with_its_data(backing: DevStack) -> None:
    await _query(backing, "CREATE TABLE IF NOT EXISTS kept AS SELECT 'this' AS content")
    postgres = backing.process("postgres")
    before = postgres.restarts
    postgres.kill()
    await postgres.wait_ready()
    assert postgres.restarts > before
    assert await _query(backing, "SELECT content FROM kept") == "this"
    await _query(backing, "DROP TABLE kept")


async def test_valkey_evicts_only_keys_with_a_time_to_live(backing: DevStack) -> None:
    client = redis.asyncio.Redis.from_url(backing.redis_url)
    try:
        policy = await client.config_get("maxmemory-policy")
        assert policy in (
            {"maxmemory-policy": "volatile-lru"},
            {b"maxmemory-policy": b"volatile-lru"},
        )
    finally:
        await client.aclose()


async def test_servers_in_a_folder_with_special_characters_use_their_configuration(
    tmp_path: Path,
) -> None:
    """A name such as `[x]` is no pattern: Valkey keeps its password and listens on loopback only."""
    stack = DevStack(tmp_path / """a 'b' "c" [x] * ? {y,z} %d $HOME `id` #f @g \\h ~""")
    await stack.up(backing_only=True)
    try:
        assert await _query(stack, "SELECT 1") == "1"
        await (await nats.connect(stack.nats_url("operator"))).close()
        async with redis.asyncio.Redis.from_url(stack.redis_url, decode_responses=True) as client:
            assert await client.config_get("bind") == {"bind": "127.0.0.1"}
        url = stack.redis_url
        async with redis.asyncio.Redis.from_url("redis://" + url.rpartition("@")[2]) as stranger:
            with pytest.raises(redis.AuthenticationError):
                await stranger.ping()
    finally:
        await stack.down()


async def test_nats_user_publishes_on_its_own_subjects_only(backing: DevStack) -> None:
    errors: asyncio.Queue[Exception] = asyncio.Queue()

    async def collect(error: Exception) -> None:
        errors.put_nowait(error)

    client = await nats.connect(
        backing.nats_url("state"), error_cb=collect, inbox_prefix=b"_INBOX.state"
    )
    operator = await nats.connect(backing.nats_url("operator"))
    try:
        subscription = await operator.subscribe("svgx.>")
        await operator.flush()
        await client.publish("svgx.auth.login", b"not mine")
        await client.publish("svgx.canvas.c1.access", b"mine")
        await client.flush()
        message = await subscription.next_msg(timeout=30)
        assert message.data == b"mine"
        refusal = await asyncio.wait_for(errors.get(), timeout=30)
        assert "permissions violation" in str(refusal).lower()
        assert client.max_payload == 1024 * 1024
    finally:
        await client.close()
        await operator.close()


def test_nats_uses_one_processor_at_a_time(backing: DevStack) -> None:
    """The charts limit NATS to one processor too, so figures measured on the devstack apply to the charts."""
    environment = Path(f"/proc/{backing.process('nats').pid}/environ").read_bytes()
    assert b"GOMAXPROCS=1" in environment.split(b"\0")


async def test_unknown_user_or_service_raises_key_error(backing: DevStack) -> None:
    with pytest.raises(KeyError, match="no NATS user 'nobody'"):
        backing.nats_url("nobody")
    with pytest.raises(KeyError, match="no service 'nats'"):
        await backing.add_replica("nats")


async def test_stack_restarted_in_its_folder_keeps_data_and_addresses(tmp_path: Path) -> None:
    stack = DevStack(tmp_path / "deep" / "home")
    await stack.up(backing_only=True)
    first = (stack.postgres_url, stack.redis_url, stack.nats_url("auth"), stack.admin_password)
    await _query(stack, "CREATE TABLE kept AS SELECT 42 AS content")
    await stack.down()
    await stack.up(backing_only=True)
    try:
        assert first == (
            stack.postgres_url,
            stack.redis_url,
            stack.nats_url("auth"),
            stack.admin_password,
        )
        assert await _query(stack, "SELECT content FROM kept") == "42"
    finally:
        await stack.down()


async def test_secret_files_are_readable_by_their_owner_only(backing: DevStack) -> None:
    for name in ("stack.json", "nats.conf", "valkey.conf"):
        assert (backing.home / name).stat().st_mode & 0o077 == 0
