"""Changes of the caller's own password."""

import asyncio

import pytest

from svgx_common.contract.auth import CHANGE_PASSWORD, ChangePasswordRequest, Tokens
from svgx_common.contract.errors import Conflict, Forbidden, Invalid, InvalidCredentials
from svgx_common.messaging.bus import Bus
from tests.blocked import until_blocked
from tests.integration.auth.conftest import Tables
from tests.integration.auth.test_accounts import PASSWORD, caller_of, create, login
from tests.integration.auth.test_sessions import expect_refused_refresh, refresh

NEW = "another one nobody thinks of"


async def change(bus: Bus, of: Tokens, old: str = PASSWORD, new: str = NEW) -> None:
    request = ChangePasswordRequest(old_password=old, new_password=new)
    await bus.ask(CHANGE_PASSWORD, request, caller=caller_of(of))


async def test_password_change_ends_the_other_sessions(bus: Bus) -> None:
    """Proves R-AUTH-17: a change ends all sessions except the caller's, and only the new password is valid."""
    user = await create(bus)
    here, there = await login(bus, user.username), await login(bus, user.username)
    await change(bus, here)
    await expect_refused_refresh(bus, there.refresh_token)
    await refresh(bus, here.refresh_token)
    with pytest.raises(InvalidCredentials):
        await login(bus, user.username)
    await login(bus, user.username, NEW)


async def test_password_change_requires_the_old_password(bus: Bus) -> None:
    """Proves R-AUTH-17: an access token without the old password cannot change the password."""
    user = await create(bus)
    here, there = await login(bus, user.username), await login(bus, user.username)
    with pytest.raises(Forbidden) as refusal:
        await change(bus, here, old="not the password")
    assert refusal.value.field == "old_password"
    await refresh(bus, there.refresh_token)
    await login(bus, user.username)


@pytest.mark.parametrize("new", ["password1234", PASSWORD, "the e-mail address"])
async def test_easy_or_unchanged_password_is_refused(bus: Bus, new: str) -> None:
    """Proves R-AUTH-14 and R-AUTH-17: an easy or unchanged password is refused with the field's name."""
    user = await create(bus)
    signed_in = await login(bus, user.username)
    with pytest.raises(Invalid) as refusal:
        await change(bus, signed_in, new=user.email if new == "the e-mail address" else new)
    assert refusal.value.field == "new_password"
    await login(bus, user.username)


async def test_easy_password_creates_no_account(bus: Bus) -> None:
    """Proves R-AUTH-14: an account cannot be created with an easy password."""
    with pytest.raises(Invalid) as refusal:
        await create(bus, password="password1234")
    assert refusal.value.field == "password"


async def test_one_of_two_simultaneous_changes_succeeds(bus: Bus, tables: Tables) -> None:
    """Proves R-AUTH-17: of two simultaneous changes with the same old password, one succeeds, one gets `Conflict`."""
    user = await create(bus)
    signed_in = await login(bus, user.username)
    await tables.execute("BEGIN")
    await tables.execute("SELECT FROM account WHERE id = $1 FOR UPDATE", user.id)
    changes = [asyncio.create_task(change(bus, signed_in, new=f"{NEW} {n}")) for n in range(2)]
    await until_blocked(tables, 2)
    await tables.execute("COMMIT")
    answers = await asyncio.gather(*changes, return_exceptions=True)
    assert [type(answer) for answer in answers if answer is not None] == [Conflict]


@pytest.mark.parametrize("column", ["password_hash", "disabled_at", "deleted_at"])
async def test_password_change_of_an_account_that_changes_meanwhile_is_refused(
    bus: Bus, tables: Tables, column: str
) -> None:
    """Proves R-AUTH-17: the error says that the account was changed, also if it was disabled or deleted meanwhile."""
    user = await create(bus)
    signed_in = await login(bus, user.username)
    await tables.execute("BEGIN")
    value = "'new'" if column == "password_hash" else "clock_timestamp()"
    await tables.execute(f"UPDATE account SET {column} = {value} WHERE id = $1", user.id)
    changing = asyncio.create_task(change(bus, signed_in))
    await until_blocked(tables)
    await tables.execute("COMMIT")
    with pytest.raises(Conflict) as refusal:
        await changing
    assert refusal.value.detail == "the account was changed during this request; try again"


async def test_log_in_during_a_password_change_is_refused(bus: Bus, tables: Tables) -> None:
    """Proves R-AUTH-17: a log-in is refused when the password changes after it was checked."""
    user = await create(bus)
    await tables.execute("BEGIN")
    await tables.execute("UPDATE account SET password_hash = 'new' WHERE id = $1", user.id)
    signing_in = asyncio.create_task(login(bus, user.username))
    await until_blocked(tables)
    await tables.execute("COMMIT")
    with pytest.raises(InvalidCredentials):
        await signing_in
