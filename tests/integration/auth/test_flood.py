"""A flood of log-ins delays only log-ins. Log-ins beyond a short queue are refused at once."""

import asyncio
import secrets

import pytest

from svgx_auth.passwords.hashing import Passwords
from svgx_common.contract.auth import (
    CREATE_USER,
    GET_USER,
    LIST_SESSIONS,
    LIST_USERS,
    LOGIN,
    ME,
    UPDATE_USER,
    CreateUserRequest,
    ListSessionsRequest,
    ListUsersRequest,
    LoginRequest,
    MeRequest,
    Tokens,
    UpdateUserRequest,
    UserRequest,
)
from svgx_common.contract.errors import (
    InvalidCredentials,
    Overloaded,
    SvgxError,
    TooManyRequests,
)
from svgx_common.contract.policy import Role
from svgx_common.contract.revocations import LIST_REVOCATIONS, ListRevocationsRequest
from svgx_common.messaging.bus import Bus
from svgx_common.messaging.caller import Client
from tests.integration.auth.conftest import Tables
from tests.integration.auth.test_accounts import PASSWORD, caller_of, create, login
from tests.integration.auth.test_sessions import refresh

ADDRESSES, TRIES = 60, 5


class HeldPasswords:
    """Password checks that wait until the test lets them go on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.go_on = asyncio.Event()
        verify = Passwords.verify

        async def held(passwords: Passwords, password: str, stored: str | None) -> bool:
            await self.go_on.wait()
            return await verify(passwords, password, stored)

        monkeypatch.setattr(Passwords, "verify", held)


async def flood(bus: Bus) -> list[asyncio.Task[Tokens]]:
    """Send wrong log-ins from many addresses, and return their tasks as soon as one log-in was refused."""
    tasks = [
        asyncio.create_task(
            bus.ask(
                LOGIN,
                LoginRequest(username=f"x-{secrets.token_hex(4)}", password="wrong"),
                client=Client(f"192.0.2.{address}"),
                timeout=60,
            )
        )
        for _ in range(TRIES)
        for address in range(ADDRESSES)
    ]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    return tasks


async def test_flood_of_log_ins_delays_no_other_request(
    bus: Bus, tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves R-AUTH-40: while log-ins hold all password slots, requests that check no password are answered.

    Log-ins beyond the queue are refused at once, with a `retry_after` of 2 s.
    """
    await tables.execute("DELETE FROM attempt")
    admin = await create(bus, role=Role.ADMIN)
    signed_in = await login(bus, admin.username)
    caller = caller_of(signed_in)
    held = HeldPasswords(monkeypatch)
    tasks = await flood(bus)
    async with asyncio.timeout(30):
        for _ in range(5):
            signed_in = await refresh(bus, signed_in.refresh_token)
        await bus.ask(ME, MeRequest(), caller=caller)
        await bus.ask(LIST_SESSIONS, ListSessionsRequest(), caller=caller)
        await bus.ask(LIST_USERS, ListUsersRequest(), caller=caller)
        await bus.ask(GET_USER, UserRequest(user_id=admin.id), caller=caller)
        await bus.ask(LIST_REVOCATIONS, ListRevocationsRequest())
        update = UpdateUserRequest(user_id=admin.id, email=f"{secrets.token_hex(4)}@example.org")
        await bus.ask(UPDATE_USER, update, caller=caller)
        # Creating a user needs a password slot, so it ends only after the log-ins go on. It must not be refused.
        name = f"user-{secrets.token_hex(4)}"
        request = CreateUserRequest(
            username=name, email=f"{name}@example.org", password=PASSWORD, role=Role.VIEWER
        )
        creating = asyncio.create_task(bus.ask(CREATE_USER, request, caller=caller))
    refused = [task.exception() for task in tasks if task.done()]
    held.go_on.set()
    await creating
    await asyncio.gather(*tasks, return_exceptions=True)
    assert len(refused) >= ADDRESSES * TRIES - 64
    for error in refused:
        assert isinstance(error, Overloaded | TooManyRequests)
        assert error.retry_after == 2.0


async def test_log_in_that_the_queue_refuses_has_no_audit_entry(
    bus: Bus, tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves R-AUTH-21: a flood adds entries only at the rate at which passwords are checked."""
    await tables.execute("DELETE FROM attempt")
    last = await tables.fetchval("SELECT coalesce(max(id), 0) FROM audit")
    held = HeldPasswords(monkeypatch)
    tasks = await flood(bus)
    held.go_on.set()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    checked = [answer for answer in answers if isinstance(answer, InvalidCredentials)]
    assert 0 < len(checked) < len(answers)
    query = "SELECT count(*) FROM audit WHERE id > $1 AND event LIKE 'log_in_%'"
    assert await tables.fetchval(query, last) == len(checked)


async def test_flood_from_few_addresses_does_not_keep_out_another_address(
    bus: Bus, tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves R-AUTH-40: during a flood from ten addresses, a single log-in from another address succeeds."""
    await tables.execute("DELETE FROM attempt")
    user = await create(bus)
    held = HeldPasswords(monkeypatch)
    tasks = [
        asyncio.create_task(login(bus, "unknown", "wrong", Client(f"192.0.2.{number % 10}")))
        for number in range(100)
    ]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    quiet = asyncio.create_task(login(bus, user.username, client=Client("198.51.100.1")))
    with pytest.raises(SvgxError):
        await asyncio.gather(
            *(asyncio.create_task(login(bus, "y", "z", Client("192.0.2.1"))) for _ in range(40))
        )
    held.go_on.set()
    assert (await quiet).user.id == user.id
    await asyncio.gather(*tasks, return_exceptions=True)
