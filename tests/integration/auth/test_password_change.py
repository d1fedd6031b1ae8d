"""Changing one's password."""

import asyncio

import pytest

from svgx_common.contract.auth import CHANGE_PASSWORD, ChangePasswordRequest, Tokens
from svgx_common.contract.errors import Conflict, Forbidden, Invalid, InvalidCredentials
from svgx_common.messaging.bus import Bus
from tests.integration.auth.conftest import Tables
from tests.integration.auth.test_accounts import PASSWORD, caller_of, create, login
from tests.integration.auth.test_sessions import refresh, refused

NEW = "another one nobody thinks of"


async def change(bus: Bus, of: Tokens, old: str = PASSWORD, new: str = NEW) -> None:
    request = ChangePasswordRequest(old_password=old, new_password=new)
    await bus.ask(CHANGE_PASSWORD, request, caller=caller_of(of))


async def test_a_changed_password_ends_the_other_sessions(bus: Bus) -> None:
    """Proves R-AUTH-17: the one that asks goes on, and only the new password signs in."""
    user = await create(bus)
    here, there = await login(bus, user.username), await login(bus, user.username)
    await change(bus, here)
    await refused(bus, there.refresh_token)
    await refresh(bus, here.refresh_token)
    with pytest.raises(InvalidCredentials):
        await login(bus, user.username)
    await login(bus, user.username, NEW)


async def test_the_old_password_is_needed(bus: Bus) -> None:
    """Proves R-AUTH-17: a token that was left behind is not enough."""
    user = await create(bus)
    here, there = await login(bus, user.username), await login(bus, user.username)
    with pytest.raises(Forbidden) as refusal:
        await change(bus, here, old="not the password")
    assert refusal.value.field == "old_password"
    await refresh(bus, there.refresh_token)
    await login(bus, user.username)


@pytest.mark.parametrize("new", ["password1234", PASSWORD, "the username"])
async def test_a_new_password_must_be_new_and_good(bus: Bus, new: str) -> None:
    """Proves R-AUTH-14 and R-AUTH-17: the field is named, and nothing is changed."""
    user = await create(bus)
    signed_in = await login(bus, user.username)
    with pytest.raises(Invalid) as refusal:
        await change(bus, signed_in, new=user.email if new == "the username" else new)
    assert refusal.value.field == "new_password"
    await login(bus, user.username)


async def test_an_easy_password_makes_no_account(bus: Bus) -> None:
    """Proves R-AUTH-14."""
    with pytest.raises(Invalid) as refusal:
        await create(bus, password="password1234")
    assert refusal.value.field == "password"


async def test_of_two_changes_at_once_one_is_made(bus: Bus, tables: Tables) -> None:
    """Proves R-AUTH-17: the other one did not have the password any more."""
    user = await create(bus)
    signed_in = await login(bus, user.username)
    await tables.execute("BEGIN")
    await tables.execute("SELECT FROM account WHERE id = $1 FOR UPDATE", user.id)
    changes = [asyncio.create_task(change(bus, signed_in, new=f"{NEW} {n}")) for n in range(2)]
    waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
    while await tables.fetchval(waiting) < 2:
        pass
    await tables.execute("COMMIT")
    answers = await asyncio.gather(*changes, return_exceptions=True)
    assert [type(answer) for answer in answers if answer is not None] == [Conflict]


async def test_who_signs_in_meanwhile_is_signed_out_too(bus: Bus, tables: Tables) -> None:
    """Proves R-AUTH-17: the old password was right when it was checked, and is not any more."""
    user = await create(bus)
    await tables.execute("BEGIN")
    await tables.execute("UPDATE account SET password_hash = 'new' WHERE id = $1", user.id)
    signing_in = asyncio.create_task(login(bus, user.username))
    waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
    while await tables.fetchval(waiting) < 1:
        pass
    await tables.execute("COMMIT")
    with pytest.raises(InvalidCredentials):
        await signing_in
