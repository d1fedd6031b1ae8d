"""Accounts created at the same time. Passwords are not hashed, because hashing would separate the racing requests."""

import asyncio
import secrets
from collections.abc import AsyncIterator

import pytest

from svgx_auth.accounts import Accounts
from svgx_auth.audit import SERVICE_ORIGIN, Audit
from svgx_auth.passwords.hashing import Passwords
from svgx_auth.revocations import Revocations
from svgx_common import postgres
from svgx_common.contract.auth import CreateUserRequest, User
from svgx_common.contract.errors import Conflict
from svgx_common.contract.policy import Role
from svgx_common.messaging.bus import Bus
from svgx_devstack import DevStack
from tests.integration.auth.conftest import ADMIN_PASSWORD, Tables, replica

ROUNDS = 10
"""Number of rounds of each race, because one round could pass by chance."""


class InstantPasswords(Passwords):
    """Passwords without hashing."""

    async def hash_new(
        self, password: str, *, names: tuple[str, ...], field: str = "password"
    ) -> str:
        """Return the password itself, at once."""
        return password


@pytest.fixture
async def accounts(backing: DevStack, bus: Bus) -> AsyncIterator[Accounts]:
    """Yield an `Accounts` with ten connections to the database."""
    passwords = InstantPasswords(memory=19 * 1024, passes=2, lanes=1, workers=1)
    async with postgres.connect(
        backing.postgres_url, schema="auth", package="svgx_auth", pool_size=10
    ) as database:
        # Open all connections before the race, because the pool opens them one after the other.
        await asyncio.gather(*(database.row("any_admin") for _ in range(10)))
        yield Accounts(database, passwords, Revocations(database, bus), Audit(database))
    passwords.close()


def request(username: str, email: str, role: Role = Role.EDITOR) -> CreateUserRequest:
    return CreateUserRequest(username=username, email=email, password=ADMIN_PASSWORD, role=role)


async def test_simultaneous_requests_with_one_name_create_one_account(accounts: Accounts) -> None:
    """Proves R-AUTH-8: of ten requests with the same username, one succeeds and nine get `Conflict`."""
    for _ in range(ROUNDS):
        name = secrets.token_hex(6)
        answers = await asyncio.gather(
            *(accounts.create(request(name, f"{name}@{n}.org"), SERVICE_ORIGIN) for n in range(10)),
            return_exceptions=True,
        )
        errors = [type(answer) for answer in answers if not isinstance(answer, User)]
        assert errors == [Conflict] * 9


async def test_email_address_cannot_become_another_accounts_username(accounts: Accounts) -> None:
    """Proves R-AUTH-8: of two simultaneous requests, each with the other's email address as username, one fails.

    No unique index of the database prevents an email address that is another account's username.
    """
    for _ in range(ROUNDS):
        first, second = (f"{secrets.token_hex(6)}@example.org" for _ in range(2))
        answers = await asyncio.gather(
            accounts.create(request(first, second), SERVICE_ORIGIN),
            accounts.create(request(second, first), SERVICE_ORIGIN),
            return_exceptions=True,
        )
        assert {type(answer) for answer in answers} == {User, Conflict}


async def test_simultaneous_replicas_create_one_first_admin(
    backing: DevStack, accounts: Accounts, tables: Tables
) -> None:
    """Proves R-AUTH-4: ten simultaneous attempts to create the first admin, with ten names, create one admin.

    Ten replicas that start at the same time make such attempts.
    """
    for _ in range(ROUNDS):
        await tables.execute("TRUNCATE account CASCADE")
        await asyncio.gather(
            *(
                accounts.create_first_admin(request(f"boss{n}", f"boss{n}@e.org", Role.ADMIN))
                for n in range(10)
            )
        )
        assert await tables.fetchval("SELECT count(*) FROM account") == 1
    await tables.execute("TRUNCATE account CASCADE")
    async with replica(backing):
        pass
