"""Changes of values in Redis while the connection is lost between a change and its answer."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import pytest

from svgx_common import redis
from svgx_common.contract.errors import VersionConflict
from svgx_devstack import DevStack
from svgx_devstack.ports import HOST
from svgx_state.values.redis import RedisStore
from svgx_state.values.store import AccountLimits, Draft

DRAFT = Draft("key", "session", '"a"', metadata="{}", seconds=60)


class LosingProxy:
    """A proxy in front of Redis. It can end a connection in place of forwarding an answer."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.answers_to_lose = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forward commands and answers one by one, until an answer is lost or the client ends."""
        server_reader, server_writer = await asyncio.open_connection(HOST, self._port)
        try:
            while command := await reader.read(1 << 16):
                server_writer.write(command)
                answer = await server_reader.read(1 << 16)
                if b"EVALSHA" in command and not answer.startswith(b"-") and self.answers_to_lose:
                    self.answers_to_lose -= 1
                    return
                writer.write(answer)
        finally:
            for each in (writer, server_writer):
                each.transport.abort()


@pytest.fixture
async def proxied(backing: DevStack) -> AsyncIterator[tuple[LosingProxy, RedisStore]]:
    """A proxy in front of Redis, and a store that uses it."""
    target = urlsplit(backing.redis_url)
    assert target.port is not None
    proxy = LosingProxy(target.port)
    server = await asyncio.start_server(proxy.serve, HOST, 0)
    port = server.sockets[0].getsockname()[1]
    credentials = target.netloc.rpartition("@")[0]
    client = redis.connect(target._replace(netloc=f"{credentials}@{HOST}:{port}").geturl())
    try:
        yield proxy, RedisStore(client, AccountLimits(keys=4, bytes=1000))
    finally:
        await client.aclose()
        server.close()


async def test_conditional_write_with_a_lost_answer_succeeds(
    proxied: tuple[LosingProxy, RedisStore],
) -> None:
    """The repetition of a write returns the version that the first attempt has stored. Proves R-KV-3."""
    proxy, store = proxied
    owner = f"user-{secrets.token_hex(6)}"
    await store.put(f"other-{owner}", DRAFT, None)  # loads the script
    proxy.answers_to_lose = 1
    written = await store.put(owner, DRAFT, 0)
    assert not proxy.answers_to_lose
    stored = await store.get(owner, "key")
    assert stored is not None
    assert stored.version == written.version
    proxy.answers_to_lose = 1
    replaced = await store.put(owner, DRAFT, written.version)
    assert not proxy.answers_to_lose
    with pytest.raises(VersionConflict):
        await store.put(owner, DRAFT, written.version)
    assert replaced.version > written.version


@pytest.mark.parametrize("is_conditional", [True, False])
async def test_deletion_with_a_lost_answer_succeeds(
    proxied: tuple[LosingProxy, RedisStore], *, is_conditional: bool
) -> None:
    """The repetition of a deletion does not report that the value is missing. Proves R-KV-3."""
    proxy, store = proxied
    owner = f"user-{secrets.token_hex(6)}"
    assert not await store.delete(owner, "key", None)
    written = await store.put(owner, DRAFT, 0)
    proxy.answers_to_lose = 1
    assert await store.delete(owner, "key", written.version if is_conditional else None)
    assert not proxy.answers_to_lose
    assert not await store.delete(owner, "key", None)
