"""What ends access tokens, as a gateway sees it: on the broadcast, and on a start afterwards."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
from starlette.requests import HTTPConnection

from svgx_common.contract.auth import (
    DELETE_USER,
    END_SESSION,
    LOGOUT,
    RESTORE_USER,
    EndSessionRequest,
    LogoutRequest,
    Tokens,
    UserRequest,
)
from svgx_common.contract.errors import Unauthenticated
from svgx_common.contract.policy import Role
from svgx_common.messaging.bus import Bus
from svgx_common.messaging.caller import Caller
from svgx_common.tokens import access_tokens as tokens
from svgx_common.tokens.signing_keys import CheckingKeys
from svgx_gateway.identity.api_keys import ApiKeys
from svgx_gateway.identity.authenticator import Authenticator
from svgx_gateway.identity.revocations import Revocations
from svgx_gateway.identity.token_keys import TokenKeys
from tests.integration.auth.conftest import SECRET, Tables
from tests.integration.auth.test_accounts import caller_of, create, login
from tests.integration.auth.test_administration import update
from tests.integration.auth.test_password_change import change
from tests.integration.auth.test_sessions import age, refresh

SOMEWHERE = HTTPConnection({"type": "http", "headers": []})


async def anybody(_: HTTPConnection) -> None:
    """Nobody asks too often here."""


class Gateway:
    """What a gateway knows."""

    def __init__(self, bus: Bus) -> None:
        self.revocations = Revocations(bus)
        self.news = asyncio.Event()
        self.revocations.on_revoked(self.news.set)
        self._authenticator = Authenticator(
            TokenKeys(bus, SECRET), ApiKeys(bus, self.revocations), self.revocations, anybody
        )

    async def know(self) -> None:
        """Wait until auth has been heard from."""
        async with asyncio.timeout(10):
            while True:
                try:
                    return await self.revocations.ready()
                except ConnectionError:
                    await asyncio.sleep(0)

    async def admits(self, signed_in: Tokens) -> bool:
        """Whether the access token counts."""
        return await self.caller(signed_in.access_token) is not None

    async def caller(self, token: str) -> Caller | None:
        """Whom a token or a key names, if it counts."""
        try:
            identity = await self._authenticator.authenticate_token(token, SOMEWHERE)
        except Unauthenticated:
            return None
        return identity.caller


@asynccontextmanager
async def started(bus: Bus) -> AsyncIterator[Gateway]:
    gateway = Gateway(bus)
    await gateway.revocations.start()
    await gateway.know()
    await bus.settle()
    try:
        yield gateway
    finally:
        await gateway.revocations.stop()


@dataclass
class People:
    """Two sessions of one account, and one of another."""

    here: Tokens
    there: Tokens
    other: Tokens


async def log_out(bus: Bus, of: People, _: Tables) -> None:
    await bus.ask(LOGOUT, LogoutRequest(), caller=caller_of(of.here))


async def end_it_from_there(bus: Bus, of: People, _: Tables) -> None:
    request = EndSessionRequest(session_id=caller_of(of.here).session_id)
    await bus.ask(END_SESSION, request, caller=caller_of(of.there))


async def change_the_password_there(bus: Bus, of: People, _: Tables) -> None:
    await change(bus, of.there)


async def use_a_spent_token(bus: Bus, of: People, tables: Tables) -> None:
    await refresh(bus, of.here.refresh_token)
    await age(tables, 31)
    with pytest.raises(Unauthenticated):
        await refresh(bus, of.here.refresh_token)


async def disable(bus: Bus, of: People, _: Tables) -> None:
    await update(bus, of.here.user, disabled=True)


async def delete(bus: Bus, of: People, _: Tables) -> None:
    await bus.ask(DELETE_USER, UserRequest(user_id=of.here.user.id))


async def demote(bus: Bus, of: People, _: Tables) -> None:
    await update(bus, of.here.user, role=Role.VIEWER)


@pytest.mark.parametrize(
    ("act", "there_goes_on"),
    [
        (log_out, True),
        (end_it_from_there, True),
        (change_the_password_there, True),
        (use_a_spent_token, True),
        (disable, False),
        (delete, False),
        (demote, False),
    ],
)
async def test_what_ends_access_tokens(
    bus: Bus,
    tables: Tables,
    act: Callable[[Bus, People, Tables], Awaitable[None]],
    there_goes_on: bool,
) -> None:
    """Proves R-AUTH-18: at once, on a gateway that listens and on one that starts later, and nobody else's."""
    user = await create(bus)
    people = People(
        await login(bus, user.username),
        await login(bus, user.username),
        await login(bus, (await create(bus)).username),
    )
    async with started(bus) as gateway:
        for one in (people.here, people.there, people.other):
            assert await gateway.admits(one)
        gateway.news.clear()
        await act(bus, people, tables)
        async with asyncio.timeout(1):
            await gateway.news.wait()
        async with started(bus) as later:
            for each in (gateway, later):
                assert not await each.admits(people.here)
                assert await each.admits(people.there) == there_goes_on
                assert await each.admits(people.other)


async def test_a_new_role_comes_with_the_next_token(bus: Bus) -> None:
    """Proves R-AUTH-18: of the same second, too; nobody is signed out."""
    user = await create(bus)
    signed_in = await login(bus, user.username)
    async with started(bus) as gateway:
        for role in (Role.VIEWER, Role.EDITOR, Role.VIEWER):
            gateway.news.clear()
            await update(bus, user, role=role)
            await gateway.news.wait()
            assert not await gateway.admits(signed_in)
            signed_in = await refresh(bus, signed_in.refresh_token)
            assert await gateway.admits(signed_in)
            assert caller_of(signed_in).role is role


async def test_a_restored_account_signs_in_anew(bus: Bus) -> None:
    """Proves R-AUTH-18: the tokens from before stay ended."""
    user = await create(bus)
    before = await login(bus, user.username)
    async with started(bus) as gateway:
        gateway.news.clear()
        await bus.ask(DELETE_USER, UserRequest(user_id=user.id))
        await gateway.news.wait()
        await bus.ask(RESTORE_USER, UserRequest(user_id=user.id))
        assert not await gateway.admits(before)
        assert await gateway.admits(await login(bus, user.username))


async def test_what_changes_nothing_ends_nothing(bus: Bus, tables: Tables) -> None:
    """Proves R-AUTH-18: a name, or the role that is there already."""
    user = await create(bus)
    signed_in = await login(bus, user.username)
    await update(bus, user, role=user.role, username=f"{user.username}-new", disabled=False)
    async with started(bus) as gateway:
        assert await gateway.admits(signed_in)


async def test_a_token_made_while_the_role_changes_is_of_the_old_or_the_new(
    bus: Bus, tables: Tables
) -> None:
    """Proves R-AUTH-18: refreshing waits for the change, and the token it gets counts."""
    user = await create(bus)
    signed_in = await login(bus, user.username)
    await tables.execute("BEGIN")
    await tables.execute(
        "UPDATE account SET role = 'viewer', token_version = token_version + 1,"
        " tokens_ended_at = now(), tokens_until = now() + interval '1 h' WHERE id = $1",
        user.id,
    )
    refreshing = asyncio.create_task(refresh(bus, signed_in.refresh_token))
    while await tables.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted") < 1:
        pass
    await tables.execute("COMMIT")
    renewed = await refreshing
    assert caller_of(renewed).role is Role.VIEWER
    async with started(bus) as gateway:
        assert await gateway.admits(renewed)
        assert not await gateway.admits(signed_in)


async def test_it_is_told_as_long_as_the_token_would_count(bus: Bus, tables: Tables) -> None:
    """Proves R-AUTH-19: to the last moment; also after a refresh."""
    signed_in = await login(bus, (await create(bus)).username)
    for _ in range(2):
        claims = tokens.verify(signed_in.access_token, CheckingKeys.of_secret(SECRET))
        until = await tables.fetchval(
            "SELECT extract(epoch FROM access_until)::float8 FROM session WHERE id = $1",
            claims.session_id,
        )
        assert until == tokens.counts_until(claims.expires_at)
        signed_in = await refresh(bus, signed_in.refresh_token)


async def test_what_is_over_by_itself_is_not_told(bus: Bus, tables: Tables) -> None:
    """Proves R-AUTH-19: once the last token has ended, there is nothing to refuse."""
    user = await create(bus)
    signed_in = await login(bus, user.username)
    await bus.ask(LOGOUT, LogoutRequest(), caller=caller_of(signed_in))
    await tables.execute(
        "UPDATE session SET access_until = now() - interval '2 min' WHERE account_id = $1", user.id
    )
    async with started(bus) as gateway:
        assert await gateway.admits(signed_in)
