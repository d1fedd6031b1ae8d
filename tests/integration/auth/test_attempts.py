"""Failed log-ins: guessing passwords gets slower, for existing and unknown names alike."""

import asyncio
import math
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

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
from tests.polling import pause

HOME, ELSEWHERE = Client("192.0.2.1", "home"), Client("203.0.113.66", "elsewhere")


@pytest.fixture(autouse=True)
async def forget_failures(tables: Tables) -> None:
    """Forget the failures of other tests."""
    await tables.execute("DELETE FROM attempt")


async def age_failures(tables: Tables, seconds: float) -> None:
    """Move all failures `seconds` into the past."""
    await tables.execute(
        "UPDATE attempt SET last_at = last_at - make_interval(secs => $1)", seconds
    )


async def lengthen_waits(tables: Tables, doublings: int = 6) -> None:
    """Double all waits `doublings` times, as this number of further failures would.

    A short wait could end before the next request of a test arrives.
    """
    await tables.execute("UPDATE attempt SET failures = failures + $1", doublings)


@asynccontextmanager
async def lengthened(tables: Tables, wait: float) -> AsyncIterator[float]:
    """Within the block, make a wait of less than 16 s last 32 s. Yield the seconds of the wait in the block."""
    doublings = 0 if wait >= 16 else round(math.log2(32 / wait))
    await lengthen_waits(tables, doublings)
    yield wait * 2**doublings
    await lengthen_waits(tables, -doublings)


async def guess(bus: Bus, name: str, client: Client | None = None) -> SvgxError:
    """Try to log in with a wrong password, and return the error."""
    with pytest.raises((InvalidCredentials, TooManyRequests)) as error:
        await login(bus, name, "a guess", client)
    return error.value


async def required_wait(bus: Bus, name: str, client: Client | None = None) -> float:
    """Return the seconds that a client has to wait before the next attempt."""
    error = await guess(bus, name, client)
    assert isinstance(error, TooManyRequests)
    assert error.retry_after is not None
    return error.retry_after


async def check_required_wait(
    bus: Bus, name: str, longest: float, client: Client | None = None
) -> None:
    """Check that a client has to wait `longest` seconds after its last failure.

    The last failure may be up to ten seconds old.
    """
    assert max(longest - 10, 0) < await required_wait(bus, name, client) <= longest


@pytest.mark.parametrize("exists", [True, False])
async def test_each_failure_doubles_the_wait(bus: Bus, tables: Tables, exists: bool) -> None:
    """Proves R-AUTH-20: after five failures, each failure doubles the wait, for existing and unknown names.

    An attempt during the wait does not lengthen the wait. The metric of failed log-ins counts the attempt.
    """
    name = (await create(bus)).username if exists else f"unknown-{secrets.token_hex(4)}"
    before = failed_logins()
    for _ in range(5):
        assert isinstance(await guess(bus, name), InvalidCredentials)
    for wait in (1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300):
        async with lengthened(tables, wait) as longest:
            for written in (name, name.upper()):
                await check_required_wait(bus, written, longest)
        await age_failures(tables, wait)
        assert isinstance(await guess(bus, name), InvalidCredentials)
    assert failed_logins() - before == 5 + 11 * 3


async def test_right_password_has_to_wait_too(bus: Bus, tables: Tables) -> None:
    """Proves R-AUTH-20: an attempt with the right password has to wait too.

    Otherwise, a success during the wait would reveal the password. After a log-in, the failures are forgotten.
    """
    user = await create(bus)
    for _ in range(5):
        await guess(bus, user.username)
    await lengthen_waits(tables)
    with pytest.raises(TooManyRequests):
        await login(bus, user.username)
    await age_failures(tables, 64)
    await login(bus, user.username)
    for _ in range(5):
        assert isinstance(await guess(bus, user.username), InvalidCredentials)


@pytest.mark.parametrize("failures", [1, 6])
async def test_clock_set_back_after_failures_does_not_lengthen_the_wait(
    bus: Bus, tables: Tables, failures: int
) -> None:
    """Proves R-AUTH-20: failures with times an hour after the clock delay no attempt, and the next failures do."""
    user = await create(bus)
    for _ in range(failures):
        await guess(bus, user.username)
    await age_failures(tables, -3600)
    assert isinstance(await guess(bus, user.username), InvalidCredentials)
    for _ in range(5):
        await guess(bus, user.username)
    await lengthen_waits(tables, 6)
    assert await required_wait(bus, user.username) <= 4 * 2**6
    await age_failures(tables, -3600)
    await login(bus, user.username)


async def test_five_of_many_simultaneous_guesses_are_answered(backing: DevStack, bus: Bus) -> None:
    """Proves R-AUTH-20: of 40 guesses at the same time on two replicas, five get an answer about the password."""
    name = (await create(bus)).username
    async with replica(backing):
        started = time.monotonic()
        answers = await asyncio.gather(*(guess(bus, name) for _ in range(40)))
        waited = math.ceil(time.monotonic() - started)
    answered = sum(isinstance(answer, InvalidCredentials) for answer in answers)
    # On a slow machine, one more guess may be answered in each second that the test takes.
    assert 5 <= answered <= 5 + waited


async def test_right_guess_among_failures_is_refused(
    bus: Bus, tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves R-AUTH-20: the right password is refused when other attempts fail while it is verified."""
    user = await create(bus)
    verified, go_on = asyncio.Event(), asyncio.Event()
    verify = Passwords.verify

    async def slow_verify(self: Passwords, password: str, stored: str | None) -> bool:
        matches = await verify(self, password, stored)
        if password == PASSWORD:
            verified.set()
            await go_on.wait()
        return matches

    monkeypatch.setattr(Passwords, "verify", slow_verify)
    right = asyncio.create_task(login(bus, user.username))
    await verified.wait()
    for _ in range(5):
        await guess(bus, user.username)
    await lengthen_waits(tables)
    go_on.set()
    with pytest.raises(TooManyRequests):
        await right


async def test_simultaneous_right_log_ins_all_succeed(bus: Bus) -> None:
    """Proves R-AUTH-20: 20 log-ins with the right password at the same time all succeed."""
    user = await create(bus)
    answers = await asyncio.gather(*(login(bus, user.username, client=HOME) for _ in range(20)))
    assert all(isinstance(answer, Tokens) for answer in answers)


async def test_address_has_its_own_wait(bus: Bus, tables: Tables) -> None:
    """Proves R-AUTH-20: failures from one address are counted over all names, and the wait is at most a minute.

    Successful log-ins do not reset the count.
    """
    user = await create(bus)
    for number in range(50):
        if number % 10 == 0:
            await login(bus, user.username, client=ELSEWHERE)
        assert isinstance(await guess(bus, f"name-{number}", ELSEWHERE), InvalidCredentials)
    for wait in (1, 2, 4, 8, 16, 32, 60, 60):
        async with lengthened(tables, wait) as longest:
            with pytest.raises(TooManyRequests):
                await login(bus, user.username, client=ELSEWHERE)
            await check_required_wait(bus, "another", longest, ELSEWHERE)
        await age_failures(tables, wait)
        await login(bus, user.username, client=ELSEWHERE)
        await guess(bus, f"name-{secrets.token_hex(4)}", ELSEWHERE)
    await login(bus, user.username, client=HOME)


async def test_rare_failures_of_a_network_do_not_add_up(bus: Bus, tables: Tables) -> None:
    """Proves R-AUTH-20: a network's count halves each hour, so a failure every six hours causes no wait.

    The count of an account does not halve, but a log-in resets it.
    """
    users = [await create(bus) for _ in range(4)]
    for number in range(60):
        user = users[number % 4]
        assert isinstance(await guess(bus, user.username, ELSEWHERE), InvalidCredentials)
        await login(bus, user.username, client=ELSEWHERE)
        await age_failures(tables, 6 * 3600)
    for user in users:
        assert isinstance(await guess(bus, user.username, ELSEWHERE), InvalidCredentials)
        await login(bus, user.username, client=ELSEWHERE)


async def test_network_that_guesses_all_the_time_gets_one_answer_a_minute(
    bus: Bus, tables: Tables
) -> None:
    """Proves R-AUTH-20: the wait for a network stays a minute while a client guesses after each wait."""
    await guess(bus, "first", ELSEWHERE)
    await tables.execute("UPDATE attempt SET failures = 56 WHERE key LIKE 'address:%'")
    for number in range(60):
        await check_required_wait(bus, f"name-{number}", 60, ELSEWHERE)
        await age_failures(tables, 60)
        assert isinstance(await guess(bus, f"name-{number}", ELSEWHERE), InvalidCredentials)
    await check_required_wait(bus, "last", 60, ELSEWHERE)


async def test_failures_elsewhere_do_not_lock_out_a_known_address(bus: Bus, tables: Tables) -> None:
    """Proves R-AUTH-20: failures elsewhere do not delay log-ins from an address at which the account has a session.

    Failures from the address of the session are counted separately.
    """
    user = await create(bus)
    await login(bus, user.username, client=HOME)
    for _ in range(5):
        await guess(bus, user.username, ELSEWHERE)
    await lengthen_waits(tables)
    with pytest.raises(TooManyRequests):
        await login(bus, user.username, client=ELSEWHERE)
    await login(bus, user.username, client=HOME)
    for _ in range(5):
        assert isinstance(await guess(bus, user.username, HOME), InvalidCredentials)
    await lengthen_waits(tables)
    await required_wait(bus, user.username, HOME)


async def test_failures_are_forgotten_after_a_day(
    backing: DevStack, bus: Bus, tables: Tables
) -> None:
    """Proves R-AUTH-20: failures are forgotten after a day, and their rows are removed."""
    name = (await create(bus)).username
    for _ in range(5):
        await guess(bus, name)
    await age_failures(tables, 86401)
    for _ in range(5):
        assert isinstance(await guess(bus, name), InvalidCredentials)
    await lengthen_waits(tables)
    await required_wait(bus, name)
    await age_failures(tables, 86401)
    async with replica(backing):
        async with asyncio.timeout(10):
            while await tables.fetchval("SELECT count(*) FROM attempt"):
                await pause()


async def test_entered_name_is_not_stored(bus: Bus, tables: Tables) -> None:
    """Proves R-AUTH-7: an entered name is stored neither as text nor as plain hash, because it may be a password."""
    entered = PASSWORD.replace(" ", "-")
    await guess(bus, entered)
    rows = await tables.fetchval("SELECT string_agg(a::text, ' ') FROM attempt a")
    hashed = await tables.fetchval("SELECT encode(sha256(convert_to($1, 'UTF8')), 'hex')", entered)
    for secret in (entered, entered.encode().hex(), hashed):
        assert secret not in rows


async def test_password_change_attempts_are_limited(bus: Bus, tables: Tables) -> None:
    """Proves R-AUTH-20: guesses of the old password for a password change are limited like log-ins."""
    user = await create(bus)
    signed_in = await login(bus, user.username)
    for _ in range(5):
        with pytest.raises(Forbidden):
            await change(bus, signed_in, old="a guess")
    await lengthen_waits(tables)
    with pytest.raises(TooManyRequests):
        await change(bus, signed_in)
    await age_failures(tables, 64)
    await change(bus, signed_in)
