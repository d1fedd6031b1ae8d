"""NATS, PostgreSQL and Valkey as the stack starts them."""

import asyncio
from pathlib import Path

import asyncpg
import nats
import nats.errors
import pytest
import redis.asyncio

from svgx_devstack import DevStack


async def _text(stack: DevStack, query: str) -> str:
    connection = await asyncpg.connect(stack.postgres_url)
    try:
        return str(await connection.fetchval(query))
    finally:
        await connection.close()


async def test_postgres_keeps_its_promises(backing: DevStack) -> None:
    assert await _text(backing, "SHOW fsync") == "on"
    assert await _text(backing, "SHOW synchronous_commit") == "on"
    assert await _text(backing, "SHOW full_page_writes") == "on"
    assert await _text(backing, "SHOW data_checksums") == "on"
    assert await _text(backing, "SHOW server_encoding") == "UTF8"
    assert await _text(backing, "SHOW listen_addresses") == "127.0.0.1"


async def test_postgres_wants_the_password(backing: DevStack) -> None:
    url = backing.postgres_url
    password = url.partition("svgx_user:")[2].partition("@")[0]
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(url.replace(password, "wrong"))


async def test_postgres_survives_a_kill_of_everything(backing: DevStack) -> None:
    await _text(backing, "CREATE TABLE IF NOT EXISTS kept AS SELECT 'this' AS what")
    postgres = backing.process("postgres")
    before = postgres.restarts
    postgres.kill()
    await postgres.wait_ready()
    assert postgres.restarts == before + 1
    assert await _text(backing, "SELECT what FROM kept") == "this"
    await _text(backing, "DROP TABLE kept")


async def test_valkey_forgets_in_order(backing: DevStack) -> None:
    client = redis.asyncio.Redis.from_url(backing.redis_url)
    try:
        policy = await client.config_get("maxmemory-policy")
        assert policy in (
            {"maxmemory-policy": "volatile-lru"},
            {b"maxmemory-policy": b"volatile-lru"},
        )
    finally:
        await client.aclose()


async def test_nats_keeps_users_to_their_subjects(backing: DevStack) -> None:
    denied: asyncio.Queue[Exception] = asyncio.Queue()

    async def note(error: Exception) -> None:
        denied.put_nowait(error)

    client = await nats.connect(
        backing.nats_url("state"), error_cb=note, inbox_prefix=b"_INBOX.state"
    )
    operator = await nats.connect(backing.nats_url("operator"))
    try:
        heard = await operator.subscribe("svgx.>")
        await operator.flush()
        await client.publish("svgx.auth.login", b"not mine")
        await client.publish("svgx.canvas.c1.access", b"mine")
        await client.flush()
        message = await heard.next_msg(timeout=5)
        assert message.data == b"mine"
        refusal = await asyncio.wait_for(denied.get(), timeout=5)
        assert "permissions violation" in str(refusal).lower()
        assert client.max_payload == 1024 * 1024
    finally:
        await client.close()
        await operator.close()


async def test_unknown_names_are_refused(backing: DevStack) -> None:
    with pytest.raises(KeyError, match="no NATS user 'nobody'"):
        backing.nats_url("nobody")
    with pytest.raises(KeyError, match="no service 'nats'"):
        await backing.add_replica("nats")


async def test_the_same_folder_brings_everything_back(tmp_path: Path) -> None:
    stack = DevStack(tmp_path / "deep" / "home")
    await stack.up(backing_only=True)
    first = (stack.postgres_url, stack.redis_url, stack.nats_url("auth"), stack.admin_password)
    await _text(stack, "CREATE TABLE kept AS SELECT 42 AS what")
    await stack.down()
    await stack.up(backing_only=True)
    try:
        assert first == (
            stack.postgres_url,
            stack.redis_url,
            stack.nats_url("auth"),
            stack.admin_password,
        )
        assert await _text(stack, "SELECT what FROM kept") == "42"
    finally:
        await stack.down()


async def test_secrets_are_private(backing: DevStack) -> None:
    for name in ("stack.json", "nats.conf", "valkey.conf"):
        assert (backing.home / name).stat().st_mode & 0o077 == 0
