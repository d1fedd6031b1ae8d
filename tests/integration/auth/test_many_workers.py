"""A flood of log-ins at a replica with many password workers."""

import asyncio

import pytest

from svgx_auth.passwords.hashing import Passwords
from svgx_common.contract.auth import (
    LIST_USERS,
    UPDATE_USER,
    ListUsersRequest,
    UpdateUserRequest,
)
from svgx_common.contract.errors import Overloaded, TooManyRequests
from svgx_common.contract.policy import Role
from svgx_common.messaging.bus import Bus
from svgx_common.messaging.caller import Caller
from svgx_devstack import DevStack
from tests.integration.auth.conftest import replica
from tests.integration.auth.test_accounts import PASSWORD, create
from tests.integration.auth.test_flood import ADDRESSES, TRIES, HeldPasswords, flood


@pytest.mark.parametrize(("connections", "slots"), [(60, 45), (10, 7)])
async def test_flood_is_refused_at_once_with_many_workers(
    backing: DevStack, monkeypatch: pytest.MonkeyPatch, connections: int, slots: int
) -> None:
    """Proves R-AUTH-40: with 64 workers, the queue refuses all log-ins that do not fit into it."""
    held = HeldPasswords(monkeypatch)
    async with replica(backing, workers=64, connections=connections):
        gateway = await Bus.connect(backing.nats_url("gateway"), "gateway", "flood")
        try:
            waiting = set(await flood(gateway))
            refused: set[asyncio.Task[object]] = set()
            async with asyncio.timeout(30):
                while len(refused) < ADDRESSES * TRIES - slots - 32:
                    done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                    refused |= done
            assert len(waiting) == slots + 32
            for task in refused:
                assert isinstance(task.exception(), Overloaded | TooManyRequests)
            held.go_on.set()
            await asyncio.gather(*waiting, return_exceptions=True)
        finally:
            await gateway.close()


async def test_password_updates_by_admins_do_not_block_quick_operations(
    backing: DevStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves R-AUTH-40: quick operations are answered while many `UPDATE_USER` requests wait for password workers.

    The requests that wait occupy additional slots of the responder, so that 64 slots remain for quick operations.
    """
    go_on, held = asyncio.Event(), asyncio.Semaphore(0)

    async def hold(_: Passwords, __: str, **___: object) -> str:
        held.release()
        await go_on.wait()
        return "a hash"

    slots, waiting = 45, 32
    async with replica(backing, workers=64, connections=60):
        gateway = await Bus.connect(backing.nats_url("gateway"), "gateway", "many")
        try:
            user = await create(gateway)
            monkeypatch.setattr(Passwords, "hash_new", hold)
            request = UpdateUserRequest(user_id=user.id, password=PASSWORD)
            updates = [
                asyncio.create_task(
                    gateway.ask(
                        UPDATE_USER,
                        request,
                        caller=Caller(f"admin-{number}", "admin", Role.ADMIN, "session"),
                        timeout=60,
                    )
                )
                for number in range(slots + waiting)
            ]
            for _ in range(slots):
                await held.acquire()
            async with asyncio.timeout(30):
                for _ in range(20):
                    await gateway.ask(LIST_USERS, ListUsersRequest(limit=1))
            assert not any(update.done() for update in updates)
            go_on.set()
            await asyncio.gather(*updates)
        finally:
            go_on.set()
            await gateway.close()
