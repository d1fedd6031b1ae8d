"""Refused log-ins, and hashes with outdated parameters."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
from argon2 import PasswordHasher, extract_parameters
from prometheus_client import REGISTRY

from svgx_auth.accounts import Account, Accounts
from svgx_auth.audit import Audit
from svgx_auth.passwords.hashing import Passwords
from svgx_auth.revocations import Revocations
from svgx_common import postgres
from svgx_common.contract.errors import InvalidCredentials
from svgx_common.messaging.bus import Bus
from svgx_devstack import DevStack
from tests.integration.auth.conftest import Tables, replica
from tests.integration.auth.test_accounts import PASSWORD, create, login


@pytest.fixture(scope="module")
async def service(backing: DevStack) -> AsyncIterator[None]:
    """Run one replica with the default hash settings, because the tests time the hashes and read their settings."""
    async with replica(backing, cheap_hashes=False):
        yield


def failed_logins() -> float:
    return REGISTRY.get_sample_value("svgx_engine_failed_logins_total") or 0.0


async def refusal_seconds(bus: Bus, username: str, password: str) -> float:
    started = time.perf_counter()
    with pytest.raises(InvalidCredentials):
        await login(bus, username, password)
    return time.perf_counter() - started


async def test_refused_log_ins_take_the_same_time_and_are_counted(bus: Bus, tables: Tables) -> None:
    """Proves R-AUTH-5: a wrong password, an unknown name and a disabled account take the same time.

    Without a hash to check, an unknown name would be refused twenty times faster.
    """
    user, disabled = await create(bus), await create(bus)
    await tables.execute("UPDATE account SET disabled_at = now() WHERE id = $1", disabled.id)
    before = failed_logins()
    times: dict[str, list[float]] = {"wrong": [], "unknown": [], "disabled": []}
    for _ in range(7):
        await tables.execute("DELETE FROM attempt")
        times["wrong"].append(await refusal_seconds(bus, user.username, "wrong"))
        times["unknown"].append(await refusal_seconds(bus, "unknown", "wrong"))
        times["disabled"].append(await refusal_seconds(bus, disabled.username, PASSWORD))
    # Other load on the machine only adds to a time, so compare the shortest times.
    shortest = [min(seconds) for seconds in times.values()]
    assert max(shortest) < 3 * min(shortest), times
    assert failed_logins() - before == 21
    await login(bus, user.username)
    assert failed_logins() - before == 21


async def test_outdated_hash_is_renewed_at_log_in(bus: Bus, tables: Tables) -> None:
    """Proves R-AUTH-2: a log-in renews an outdated hash with the current parameters, for the same password."""
    user = await create(bus)
    outdated = PasswordHasher(time_cost=1, memory_cost=8 * 1024, parallelism=1).hash(PASSWORD)
    await tables.execute("UPDATE account SET password_hash = $2 WHERE id = $1", user.id, outdated)
    await login(bus, user.username)
    renewed = await tables.fetchval("SELECT password_hash FROM account WHERE id = $1", user.id)
    assert extract_parameters(renewed).memory_cost == 19456
    await login(bus, user.username)


async def test_simultaneous_log_ins_renew_an_outdated_hash(bus: Bus, tables: Tables) -> None:
    """Proves R-AUTH-2: simultaneous log-ins that renew the same hash all succeed."""
    user = await create(bus)
    outdated = PasswordHasher(time_cost=1, memory_cost=8 * 1024, parallelism=1).hash(PASSWORD)
    await tables.execute("UPDATE account SET password_hash = $2 WHERE id = $1", user.id, outdated)
    await asyncio.gather(*(login(bus, user.username) for _ in range(6)))


async def test_renewing_a_hash_does_not_restore_an_old_password(
    backing: DevStack, bus: Bus, tables: Tables
) -> None:
    """Proves R-AUTH-2: the renewal of a hash does not replace a password that was changed after the check."""
    user = await create(bus)
    row = await tables.fetchrow("SELECT * FROM account WHERE id = $1", user.id)
    assert row is not None
    await tables.execute("UPDATE account SET password_hash = 'another' WHERE id = $1", user.id)
    passwords = Passwords(memory=19 * 1024, passes=2, lanes=1, workers=1)
    async with postgres.connect(
        backing.postgres_url, schema="auth", package="svgx_auth", pool_size=1
    ) as database:
        accounts = Accounts(database, passwords, Revocations(database, bus), Audit(database))
        await accounts.rehash(Account.from_row(row), PASSWORD)
    passwords.close()
    stored = await tables.fetchval("SELECT password_hash FROM account WHERE id = $1", user.id)
    assert stored == "another"


async def test_password_may_contain_any_characters(bus: Bus) -> None:
    """Proves R-AUTH-14: a password may contain any characters, even NUL, and all of them count."""
    user = await create(bus, password="\x00\n\x7f a long 😀 password")
    await login(bus, user.username, "\x00\n\x7f a long 😀 password")
    with pytest.raises(InvalidCredentials):
        await login(bus, user.username, "\x00")


async def test_password_does_not_expire(bus: Bus, tables: Tables) -> None:
    """Proves R-AUTH-14: the password of an account that was not used for ten years is still accepted."""
    user = await create(bus)
    columns = await tables.fetch(
        "SELECT column_name FROM information_schema.columns WHERE table_schema = 'auth'"
        " AND table_name = 'account' AND data_type LIKE 'timestamp%'"
    )
    times = {row["column_name"] for row in columns}
    assert "created_at" in times
    changes = ", ".join(f"{name} = {name} - interval '10 years'" for name in times)
    await tables.execute(f"UPDATE account SET {changes} WHERE id = $1", user.id)
    await login(bus, user.username)
