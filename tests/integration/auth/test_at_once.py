"""Accounts created at the same moment. Hashing is left out: it would keep those who race apart."""

import asyncio
import secrets
from collections.abc import AsyncIterator

import pytest

from svgx_auth.accounts import Accounts
from svgx_auth.audit import SERVICE, Audit
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
"""Each round is a race that may be won by chance."""


class Instant(Passwords):
    """Hashes nothing."""

    async def hash_new(
        self, password: str, *, names: tuple[str, ...], field: str = "password"
    ) -> str:
        """At once."""
        return password


@pytest.fixture
async def accounts(backing: DevStack, bus: Bus) -> AsyncIterator[Accounts]:
    """The table, through ten connections."""
    passwords = Instant(memory=19 * 1024, passes=2, lanes=1, workers=1)
    async with postgres.connect(
        backing.postgres_url, schema="auth", package="svgx_auth", pool_size=10
    ) as database:
        # The pool opens its connections one after the other: not during the race.
        await asyncio.gather(*(database.row("any_admin") for _ in range(10)))
        yield Accounts(database, passwords, Revocations(database, bus), Audit(database))
    passwords.close()


def request(username: str, email: str, role: Role = Role.EDITOR) -> CreateUserRequest:
    return CreateUserRequest(username=username, email=email, password=ADMIN_PASSWORD, role=role)


async def test_one_name_has_one_account(accounts: Accounts) -> None:
    """Proves R-AUTH-8: the others are told of the conflict."""
    for _ in range(ROUNDS):
        name = secrets.token_hex(6)
        answers = await asyncio.gather(
            *(accounts.create(request(name, f"{name}@{n}.org"), SERVICE) for n in range(10)),
            return_exceptions=True,
        )
        assert [type(a) for a in answers if not isinstance(a, User)] == [Conflict] * 9


async def test_an_address_and_a_username_do_not_cross(accounts: Accounts) -> None:
    """Proves R-AUTH-8: no unique index sees that one's address is the other's username."""
    for _ in range(ROUNDS):
        first, second = (f"{secrets.token_hex(6)}@example.org" for _ in range(2))
        answers = await asyncio.gather(
            accounts.create(request(first, second), SERVICE),
            accounts.create(request(second, first), SERVICE),
            return_exceptions=True,
        )
        assert {type(answer) for answer in answers} == {User, Conflict}


async def test_one_is_the_first_admin(
    backing: DevStack, accounts: Accounts, tables: Tables
) -> None:
    """Proves R-AUTH-4: of ten replicas with ten names."""
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
