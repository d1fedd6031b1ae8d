"""Guessing passwords: it gets slower, for existing and other names alike."""

import asyncio
import math
import secrets
import time

import pytest

from svgx_auth.passwords.hashing import Passwords
from svgx_common.contract.auth import Tokens
from svgx_common.contract.errors import Forbidden, InvalidCredentials, SvgxError, TooManyRequests
from svgx_common.messaging.bus import Bus
from svgx_common.messaging.caller import Client
from svgx_devstack import DevStack
from tests.integration.auth.conftest import Tables, replica
from tests.integration.auth.test_accounts import PASSWORD, create, login
from tests.integration.auth.test_log_in import failed_logins
from tests.integration.auth.test_password_change import change

HOME, ELSEWHERE = Client("192.0.2.1", "home"), Client("203.0.113.66", "elsewhere")


@pytest.fixture(autouse=True)
async def nothing_has_failed(tables: Tables) -> None:
    """Nobody has to wait for another test's failures."""
    await tables.execute("DELETE FROM attempt")


async def later(tables: Tables, seconds: float) -> None:
    """Every failure was so much earlier."""
    await tables.execute(
        "UPDATE attempt SET last_at = last_at - make_interval(secs => $1)", seconds
    )


async def guess(bus: Bus, name: str, client: Client | None = None) -> SvgxError:
    with pytest.raises((InvalidCredentials, TooManyRequests)) as refused:
        await login(bus, name, "a guess", client)
    return refused.value


async def wait_of(bus: Bus, name: str, client: Client | None = None) -> float:
    """How long somebody is told to wait."""
    refused = await guess(bus, name, client)
    assert isinstance(refused, TooManyRequests)
    assert refused.retry_after is not None
    return refused.retry_after


@pytest.mark.parametrize("exists", [True, False])
async def test_each_failure_doubles_the_wait(bus: Bus, tables: Tables, exists: bool) -> None:
    """Proves R-AUTH-20: for a name that exists and for one that does not; too soon counts nothing."""
    name = (await create(bus)).username if exists else f"nobody-{secrets.token_hex(4)}"
    before = failed_logins()
    for _ in range(5):
        assert isinstance(await guess(bus, name), InvalidCredentials)
    for wait in (1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300):
        for written in (name, name.upper()):
            assert wait - 1 < await wait_of(bus, written) <= wait
        await later(tables, wait)
        assert isinstance(await guess(bus, name), InvalidCredentials)
    assert failed_logins() - before == 5 + 11 * 3


async def test_the_right_password_waits_too(bus: Bus, tables: Tables) -> None:
    """Proves R-AUTH-20: or the wait would tell that it is right. Then all is forgotten."""
    user = await create(bus)
    for _ in range(6):
        await guess(bus, user.username)
    with pytest.raises(TooManyRequests):
        await login(bus, user.username)
    await later(tables, 1)
    await login(bus, user.username)
    for _ in range(5):
        assert isinstance(await guess(bus, user.username), InvalidCredentials)


async def test_of_many_guesses_at_once_five_are_answered(backing: DevStack, bus: Bus) -> None:
    """Proves R-AUTH-20: on two replicas, and whatever the others were, they learn nothing."""
    name = (await create(bus)).username
    async with replica(backing):
        started = time.monotonic()
        answers = await asyncio.gather(*(guess(bus, name) for _ in range(40)))
        waited = math.ceil(time.monotonic() - started)
    answered = sum(isinstance(answer, InvalidCredentials) for answer in answers)
    # One more for each second that a slow machine took.
    assert 5 <= answered <= 5 + waited


async def test_a_right_guess_among_many_is_not_told(
    bus: Bus, tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves R-AUTH-20: it was verified while others failed."""
    user = await create(bus)
    verified, go_on = asyncio.Event(), asyncio.Event()
    verify = Passwords.verify

    async def slow(self: Passwords, password: str, stored: str | None) -> bool:
        found = await verify(self, password, stored)
        if password == PASSWORD:
            verified.set()
            await go_on.wait()
        return found

    monkeypatch.setattr(Passwords, "verify", slow)
    right = asyncio.create_task(login(bus, user.username))
    await verified.wait()
    for _ in range(5):
        await guess(bus, user.username)
    go_on.set()
    with pytest.raises(TooManyRequests):
        await right


async def test_many_who_are_right_do_not_hinder_each_other(bus: Bus) -> None:
    """Proves R-AUTH-20."""
    user = await create(bus)
    answers = await asyncio.gather(*(login(bus, user.username, client=HOME) for _ in range(20)))
    assert all(isinstance(answer, Tokens) for answer in answers)


async def test_an_address_has_its_own_wait(bus: Bus, tables: Tables) -> None:
    """Proves R-AUTH-20: over all names, also between log-ins that succeed; up to a minute."""
    user = await create(bus)
    for number in range(50):
        if number % 10 == 0:
            await login(bus, user.username, client=ELSEWHERE)
        assert isinstance(await guess(bus, f"name-{number}", ELSEWHERE), InvalidCredentials)
    for wait in (1, 2, 4, 8, 16, 32, 60, 60):
        with pytest.raises(TooManyRequests):
            await login(bus, user.username, client=ELSEWHERE)
        assert wait - 1 < await wait_of(bus, "another", ELSEWHERE) <= wait
        await later(tables, wait)
        await login(bus, user.username, client=ELSEWHERE)
        await guess(bus, f"name-{secrets.token_hex(4)}", ELSEWHERE)
    await login(bus, user.username, client=HOME)


async def test_nobody_is_locked_out_where_they_are_at_home(bus: Bus, tables: Tables) -> None:
    """Proves R-AUTH-20: somebody else's failures are somebody else's wait; guessing at home has its own."""
    user = await create(bus)
    await login(bus, user.username, client=HOME)
    for _ in range(5):
        await guess(bus, user.username, ELSEWHERE)
    with pytest.raises(TooManyRequests):
        await login(bus, user.username, client=ELSEWHERE)
    await login(bus, user.username, client=HOME)
    for _ in range(5):
        assert isinstance(await guess(bus, user.username, HOME), InvalidCredentials)
    await wait_of(bus, user.username, HOME)


async def test_failures_are_forgotten(backing: DevStack, bus: Bus, tables: Tables) -> None:
    """Proves R-AUTH-20: after a day, and removed."""
    name = (await create(bus)).username
    for _ in range(5):
        await guess(bus, name)
    await later(tables, 86401)
    for _ in range(5):
        assert isinstance(await guess(bus, name), InvalidCredentials)
    await wait_of(bus, name)
    await later(tables, 86401)
    async with replica(backing):
        async with asyncio.timeout(10):
            while await tables.fetchval("SELECT count(*) FROM attempt"):
                pass


async def test_what_was_typed_is_not_stored(bus: Bus, tables: Tables) -> None:
    """Proves R-AUTH-7: people type their password as their name."""
    await guess(bus, PASSWORD.replace(" ", "-"))
    (row,) = await tables.fetch("SELECT a::text FROM attempt a")
    typed = PASSWORD.replace(" ", "-")
    hashed = await tables.fetchval("SELECT encode(sha256(convert_to($1, 'UTF8')), 'hex')", typed)
    for secret in (typed, typed.encode().hex(), hashed):
        assert secret not in row[0]


async def test_a_token_does_not_guess_the_password(bus: Bus, tables: Tables) -> None:
    """Proves R-AUTH-20: changing the password takes the old one, and no more guesses than logging in."""
    user = await create(bus)
    signed_in = await login(bus, user.username)
    for _ in range(5):
        with pytest.raises(Forbidden):
            await change(bus, signed_in, old="a guess")
    with pytest.raises(TooManyRequests):
        await change(bus, signed_in)
    await later(tables, 1)
    await change(bus, signed_in)
