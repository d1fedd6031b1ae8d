"""Failed log-ins from other networks delay a log-in at a new network briefly, and a log-in at a home not at all.

A home of an account is a network at which the account has had a session.
"""

import secrets

import pytest

from svgx_auth.passwords.home_networks import MAX_HOMES
from svgx_common.contract.auth import Tokens, User
from svgx_common.contract.errors import InvalidCredentials, TooManyRequests
from svgx_common.messaging.bus import Bus
from svgx_common.messaging.caller import Client
from svgx_devstack import DevStack
from tests.integration.auth.conftest import Tables, replica
from tests.integration.auth.test_accounts import PASSWORD, create, login
from tests.integration.auth.test_attempts import (
    age_failures,
    check_required_wait,
    forget_failures,
    guess,
    lengthen_waits,
    required_wait,
)
from tests.integration.auth.test_sessions import refresh
from tests.polling import pause

__all__ = ["forget_failures"]

GUESSER, NEW = Client("203.0.113.66"), Client("198.51.100.7")
HOMES = (Client("192.0.2.10"), Client("192.0.2.11"), Client("2001:db8:1:2::1"))


async def guess_until_wait(
    bus: Bus, tables: Tables, name: str, seconds: float = 300, client: Client = GUESSER
) -> None:
    """Guess from one address until the address has to wait `seconds` before its next guess."""
    wait = 0.0
    while wait < seconds:
        error = await guess(bus, name, client)
        if isinstance(error, TooManyRequests):
            assert error.retry_after is not None
            wait = error.retry_after
            if wait > seconds - 1:
                return
            await age_failures(tables, wait)


async def log_in_at(bus: Bus, user: User, client: Client) -> Tokens:
    return await login(bus, user.username, client=client)


@pytest.mark.parametrize("exists", [True, False])
async def test_steady_guesses_do_not_lock_out_the_owner(
    bus: Bus, tables: Tables, exists: bool
) -> None:
    """Proves R-AUTH-20: after any number of failures elsewhere, a new address waits 15 s at most.

    A log-in with an unknown name waits just as long.
    """
    user = await create(bus) if exists else None
    name = user.username if user else f"unknown-{secrets.token_hex(4)}"
    await guess_until_wait(bus, tables, name)
    for _ in range(3):  # the guesser continues
        await age_failures(tables, 300)
        assert isinstance(await guess(bus, name, GUESSER), InvalidCredentials)
        await check_required_wait(bus, name, 300, GUESSER)
        await check_required_wait(bus, name, 15, NEW)
    if user:
        await age_failures(tables, 15)
        await log_in_at(bus, user, NEW)


@pytest.mark.parametrize("exists", [True, False])
async def test_wait_at_an_address_doubles_with_its_own_failures(
    bus: Bus, tables: Tables, exists: bool
) -> None:
    """Proves R-AUTH-20: each failed log-in from a network doubles the network's longest wait, from 15 s to 300 s."""
    name = (await create(bus)).username if exists else f"unknown-{secrets.token_hex(4)}"
    await guess_until_wait(bus, tables, name)
    for longest in (15, 30, 60, 120, 240, 300, 300):
        await check_required_wait(bus, name, longest, NEW)
        await age_failures(tables, longest)
        assert isinstance(await guess(bus, name, NEW), InvalidCredentials)
    await check_required_wait(bus, name, 15, Client("198.51.100.8"))


def spellings(user: User) -> list[str]:
    """Return several spellings of the account's username and e-mail address."""
    return [
        user.username,
        user.username.upper(),
        user.email,
        user.email.upper(),
        f"ｕ{user.username[1:]}",
    ]


async def test_all_names_of_an_account_share_one_count(bus: Bus, tables: Tables) -> None:
    """Proves R-AUTH-20: failures with any spelling of the username or the e-mail address are counted together."""
    user = await create(bus)
    for name in spellings(user):
        assert isinstance(await guess(bus, name), InvalidCredentials)
    await lengthen_waits(tables, 6)
    for name in spellings(user):
        await check_required_wait(bus, name, 2**6)
    assert isinstance(await guess(bus, (await create(bus)).username), InvalidCredentials)


async def test_renamed_account_keeps_its_failures(bus: Bus, tables: Tables) -> None:
    """Proves R-AUTH-20: failures belong to the account, not to the text that named it."""
    user = await create(bus)
    for _ in range(5):
        await guess(bus, user.username)
    await tables.execute("UPDATE account SET username = $2 WHERE id = $1", user.id, "renamed")
    await lengthen_waits(tables, 6)
    await check_required_wait(bus, "renamed", 2**6)


async def test_failures_elsewhere_delay_no_home(bus: Bus, tables: Tables) -> None:
    """Proves R-AUTH-20: failures elsewhere delay no log-in at a home of the account.

    A network stays a home after the session has moved to another network.
    """
    user = await create(bus)
    signed_in = await login(bus, user.username, client=HOMES[0])
    for home in HOMES[1:]:
        signed_in = await refresh(bus, signed_in.refresh_token, client=home)
    await guess_until_wait(bus, tables, user.username)
    for home in HOMES:
        await log_in_at(bus, user, home)
    await check_required_wait(bus, user.username, 15, NEW)


@pytest.mark.parametrize(
    ("home", "client", "known"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True),
        ("2001:db8:1:2::1", "2001:0DB8:1:2::1", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
    ],
)
async def test_homes_are_networks(
    bus: Bus, tables: Tables, home: str, client: str, known: bool
) -> None:
    """Proves R-AUTH-20: a home is one IPv4 address, or all addresses of an IPv6 /64 network."""
    user = await create(bus)
    await login(bus, user.username, client=Client(home))
    await guess_until_wait(bus, tables, user.username)
    if known:
        await log_in_at(bus, user, Client(client))
    else:
        await required_wait(bus, user.username, Client(client))


async def test_failures_at_a_home_are_counted_only_there(bus: Bus, tables: Tables) -> None:
    """Proves R-AUTH-20: guesses at one home delay neither the other homes nor new addresses."""
    user = await create(bus)
    for home in HOMES[:2]:
        await login(bus, user.username, client=home)
    await guess_until_wait(bus, tables, user.username, client=HOMES[0])
    await log_in_at(bus, user, HOMES[1])
    await log_in_at(bus, user, NEW)
    await check_required_wait(bus, user.username, 300, HOMES[0])


async def test_homes_are_bounded_and_forgotten(backing: DevStack, bus: Bus, tables: Tables) -> None:
    """Proves R-AUTH-20: an account keeps the 20 homes used last, and forgets a home 90 days after its last use."""
    user = await create(bus)
    signed_in = await login(bus, user.username, client=HOMES[0])
    for number in range(MAX_HOMES + 5):
        signed_in = await refresh(
            bus, signed_in.refresh_token, client=Client(f"192.0.2.{100 + number}")
        )
    count = "SELECT count(*) FROM home WHERE account_id = $1"
    assert await tables.fetchval(count, user.id) == MAX_HOMES
    newest = "SELECT network FROM home WHERE account_id = $1 ORDER BY last_used_at DESC LIMIT 1"
    assert await tables.fetchval(newest, user.id) == f"192.0.2.{100 + MAX_HOMES + 4}"
    await tables.execute("UPDATE home SET last_used_at = last_used_at - interval '91 days'")
    async with replica(backing):
        while await tables.fetchval(count, user.id):
            await pause()


async def test_session_of_an_earlier_version_is_a_home(bus: Bus, tables: Tables) -> None:
    """Proves R-AUTH-20: sessions that were opened before homes were stored count as homes too."""
    user = await create(bus)
    await login(bus, user.username, client=HOMES[0])
    await tables.execute("DELETE FROM home")
    await guess_until_wait(bus, tables, user.username)
    await log_in_at(bus, user, HOMES[0])


async def test_success_at_a_new_address_forgets_the_failures(bus: Bus, tables: Tables) -> None:
    """Proves R-AUTH-20: after the owner's log-in, the account's failures from new networks are forgotten."""
    user = await create(bus)
    await guess_until_wait(bus, tables, user.username)
    await age_failures(tables, 15)
    await log_in_at(bus, user, NEW)
    await login(bus, user.username, PASSWORD, Client("198.51.100.9"))
