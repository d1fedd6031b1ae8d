"""A gateway's revocations after a start without the auth service, a lost broadcast, and the expiry of tokens."""

import asyncio
import time
from collections.abc import AsyncIterator

import asyncpg
import pytest

from svgx_common.contract.auth import Tokens
from svgx_common.contract.errors import Unavailable
from svgx_common.contract.revocations import REVOKED, Revocation, RevocationList
from svgx_common.messaging.bus import Bus
from svgx_devstack import DevStack
from svgx_gateway import watched_copy
from tests.integration.auth.conftest import replica
from tests.integration.auth.test_accounts import caller_of, create, login
from tests.integration.auth.test_revocations import Gateway, started


@pytest.fixture
async def lone_bus(backing: DevStack) -> AsyncIterator[Bus]:
    """Yield a gateway's connection to NATS. No auth service runs."""
    bus = await Bus.connect(backing.nats_url("gateway"), "gateway", "alone")
    try:
        yield bus
    finally:
        await bus.close()


async def test_callers_are_refused_until_auth_has_answered(
    backing: DevStack, lone_bus: Bus
) -> None:
    """Callers get `unavailable` until the auth service has answered, and are then admitted. Proves R-AUTH-19."""
    async with replica(backing):
        signed_in = await login(lone_bus, (await create(lone_bus)).username)
    gateway = Gateway(lone_bus)
    await gateway.revocations.start()
    try:
        with pytest.raises(Unavailable):
            await gateway.admits(signed_in)
        with pytest.raises(ConnectionError):
            await gateway.revocations.ready()
        async with replica(backing):
            await gateway.wait_ready()
            assert await gateway.admits(signed_in)
        assert await gateway.admits(signed_in)
    finally:
        await gateway.revocations.stop()


async def end_without_broadcast(backing: DevStack, session_id: str) -> None:
    """End a session in the database, as when the auth service is killed between its commit and its broadcast."""
    connection = await asyncpg.connect(backing.postgres_url)
    await connection.execute(
        "UPDATE auth.session SET ended_at = clock_timestamp() WHERE id = $1",
        session_id,
    )
    await connection.close()


async def end_and_wait_for_poll(backing: DevStack, gateway: Gateway, signed_in: Tokens) -> None:
    """End a session without a broadcast, and wait until the gateway has read its revocation."""
    gateway.revoked.clear()
    await end_without_broadcast(backing, caller_of(signed_in).session_id)
    async with asyncio.timeout(10):
        await gateway.revoked.wait()


async def test_lost_broadcast_is_repaired_by_polling(
    backing: DevStack, lone_bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gateway receives a revocation with its next poll when there was no broadcast. Proves R-AUTH-19."""
    monkeypatch.setattr(watched_copy, "POLL_SECONDS", 0.05)
    async with replica(backing):
        signed_in = await login(lone_bus, (await create(lone_bus)).username)
        async with started(lone_bus) as gateway:
            await end_and_wait_for_poll(backing, gateway, signed_in)
            assert not await gateway.admits(signed_in)


async def test_reconnect_to_nats_reads_revocations_at_once(
    backing: DevStack, lone_bus: Bus
) -> None:
    """After a reconnect to NATS the gateway does not wait for the next poll. Proves R-AUTH-19."""
    async with replica(backing):
        signed_in = await login(lone_bus, (await create(lone_bus)).username)
        async with started(lone_bus) as gateway:
            gateway.revoked.clear()
            await end_without_broadcast(backing, caller_of(signed_in).session_id)
            nats = backing.process("nats")
            nats.kill()
            await nats.wait_ready()
            async with asyncio.timeout(watched_copy.POLL_SECONDS / 2):
                await gateway.revoked.wait()
            assert not await gateway.admits(signed_in)


async def test_expired_revocations_are_removed_from_memory(
    backing: DevStack, lone_bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A revocation is removed when its tokens have expired. Proves R-AUTH-19."""
    monkeypatch.setattr(watched_copy, "POLL_SECONDS", 0.05)
    async with replica(backing):
        signed_in = await login(lone_bus, (await create(lone_bus)).username)
        past = time.time() - 1
        expired_session = Revocation(user_id="u", session_id="expired", until=past, reason="logout")
        expired_account = Revocation(
            user_id="expired", before_version=7, until=past, reason="account"
        )
        caller = caller_of(signed_in)
        current = Revocation(
            user_id=caller.user_id,
            session_id=caller.session_id,
            until=time.time() + 3600,
            reason="logout",
        )
        async with started(lone_bus) as gateway:
            message = (
                RevocationList(items=[expired_session, expired_account, current])
                .model_dump_json()
                .encode()
            )
            # Only the auth service may publish this message, so the listener is called directly.
            await gateway.revocations._on_broadcast(REVOKED.subject, message)
            assert "expired" in gateway.revocations._sessions
            async with asyncio.timeout(10):
                while "expired" in gateway.revocations._sessions:
                    await lone_bus.settle()
            assert "expired" not in gateway.revocations._accounts
            assert not await gateway.admits(signed_in)


async def test_revocation_is_kept_after_the_clock_of_the_gateway_was_ahead(
    backing: DevStack, lone_bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gateway with a clock that is ahead for a while forgets no revocation of a valid token. Proves R-AUTH-19."""
    monkeypatch.setattr(watched_copy, "POLL_SECONDS", 0.05)
    async with replica(backing):
        signed_in = await login(lone_bus, (await create(lone_bus)).username)
        async with started(lone_bus) as gateway:
            await end_and_wait_for_poll(backing, gateway, signed_in)
            now = time.time
            with monkeypatch.context() as patched:
                patched.setattr(time, "time", lambda: now() + 86_400)
                for _ in range(2):
                    await gateway.revocations._read()
            assert not await gateway.admits(signed_in)
