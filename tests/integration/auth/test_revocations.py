"""Revocations of access tokens: running gateways get a broadcast, and starting gateways request the list."""

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
from svgx_common.tokens.signing_keys import CheckingKeys, secret_key
from svgx_gateway.identity.api_keys import ApiKeys
from svgx_gateway.identity.authenticator import Authenticator
from svgx_gateway.identity.revocations import Revocations
from svgx_gateway.identity.share_links import ShareLinks
from svgx_gateway.identity.token_keys import TokenKeys
from svgx_gateway.watched_copy import POLL_SECONDS
from tests.blocked import until_blocked
from tests.integration.auth.conftest import SECRET, Tables
from tests.integration.auth.test_accounts import caller_of, create, login
from tests.integration.auth.test_administration import update
from tests.integration.auth.test_password_change import change
from tests.integration.auth.test_sessions import age_spent_tokens, refresh

CONNECTION = HTTPConnection({"type": "http", "headers": []})


async def no_limit(_: HTTPConnection) -> None:
    """Limit nothing."""


class Gateway:
    """The part of a gateway that checks tokens and keys."""

    def __init__(self, bus: Bus) -> None:
        self.revocations = Revocations(bus)
        self.revoked = asyncio.Event()
        self.revocations.on_revoked(self.revoked.set)
        self._authenticator = Authenticator(
            TokenKeys(bus, SECRET),
            ApiKeys(bus, self.revocations),
            ShareLinks(bus),
            self.revocations,
            no_limit,
        )

    async def wait_ready(self) -> None:
        """Wait until the gateway has received the list of revocations."""
        async with asyncio.timeout(10):
            while True:
                try:
                    return await self.revocations.ready()
                except ConnectionError:
                    await asyncio.sleep(0)

    @asynccontextmanager
    async def until_broadcast(self) -> AsyncIterator[None]:
        """After the block, wait until a broadcast has revoked tokens or keys.

        Raise `TimeoutError` before the next poll, because the poll would find the revocation without a broadcast.
        """
        self.revoked.clear()
        yield
        async with asyncio.timeout(POLL_SECONDS / 3):
            await self.revoked.wait()

    async def admits(self, signed_in: Tokens) -> bool:
        """Return whether the gateway accepts the access token."""
        return await self.caller(signed_in.access_token) is not None

    async def caller(self, token: str) -> Caller | None:
        """Return the caller of an access token or API key, or None when it is refused."""
        try:
            identity = await self._authenticator.authenticate_token(token, CONNECTION)
        except Unauthenticated:
            return None
        return identity.caller


@asynccontextmanager
async def started(bus: Bus) -> AsyncIterator[Gateway]:
    """Yield a gateway that has received the list of revocations, and listens to broadcasts."""
    gateway = Gateway(bus)
    await gateway.revocations.start()
    await gateway.wait_ready()
    await bus.settle()
    try:
        yield gateway
    finally:
        await gateway.revocations.stop()


@dataclass
class SignedIn:
    """The tokens of two sessions of one account, and of one session of another account."""

    first: Tokens
    second: Tokens
    other_account: Tokens


async def log_out(bus: Bus, of: SignedIn, _: Tables) -> None:
    await bus.ask(LOGOUT, LogoutRequest(), caller=caller_of(of.first))


async def end_first_from_second_session(bus: Bus, of: SignedIn, _: Tables) -> None:
    request = EndSessionRequest(session_id=caller_of(of.first).session_id)
    await bus.ask(END_SESSION, request, caller=caller_of(of.second))


async def change_password_in_second_session(bus: Bus, of: SignedIn, _: Tables) -> None:
    await change(bus, of.second)


async def reuse_a_spent_token(bus: Bus, of: SignedIn, tables: Tables) -> None:
    await refresh(bus, of.first.refresh_token)
    await age_spent_tokens(tables, 31)
    with pytest.raises(Unauthenticated):
        await refresh(bus, of.first.refresh_token)


async def disable(bus: Bus, of: SignedIn, _: Tables) -> None:
    await update(bus, of.first.user, disabled=True)


async def delete(bus: Bus, of: SignedIn, _: Tables) -> None:
    await bus.ask(DELETE_USER, UserRequest(user_id=of.first.user.id))


async def demote(bus: Bus, of: SignedIn, _: Tables) -> None:
    await update(bus, of.first.user, role=Role.VIEWER)


@pytest.mark.parametrize(
    ("act", "second_continues"),
    [
        (log_out, True),
        (end_first_from_second_session, True),
        (change_password_in_second_session, True),
        (reuse_a_spent_token, True),
        (disable, False),
        (delete, False),
        (demote, False),
    ],
)
async def test_access_tokens_end_at_once(
    bus: Bus,
    tables: Tables,
    act: Callable[[Bus, SignedIn, Tables], Awaitable[None]],
    second_continues: bool,
) -> None:
    """Proves R-AUTH-18: revoked access tokens are refused at once, by a running gateway and by one that starts later.

    Tokens of other accounts stay valid.
    """
    user = await create(bus)
    signed_in = SignedIn(
        await login(bus, user.username),
        await login(bus, user.username),
        await login(bus, (await create(bus)).username),
    )
    async with started(bus) as gateway:
        for session in (signed_in.first, signed_in.second, signed_in.other_account):
            assert await gateway.admits(session)
        async with gateway.until_broadcast():
            await act(bus, signed_in, tables)
        async with started(bus) as later:
            for each in (gateway, later):
                assert not await each.admits(signed_in.first)
                assert await each.admits(signed_in.second) == second_continues
                assert await each.admits(signed_in.other_account)


async def test_new_role_ends_the_access_token(bus: Bus) -> None:
    """Proves R-AUTH-18: a new role ends even an access token issued in the same second; the session continues."""
    user = await create(bus)
    signed_in = await login(bus, user.username)
    async with started(bus) as gateway:
        for role in (Role.VIEWER, Role.EDITOR, Role.VIEWER):
            async with gateway.until_broadcast():
                await update(bus, user, role=role)
            assert not await gateway.admits(signed_in)
            signed_in = await refresh(bus, signed_in.refresh_token)
            assert await gateway.admits(signed_in)
            assert caller_of(signed_in).role is role


async def test_restored_account_has_to_log_in_again(bus: Bus) -> None:
    """Proves R-AUTH-18: after a restore, the account's old tokens stay ended, and new ones are accepted."""
    user = await create(bus)
    before = await login(bus, user.username)
    async with started(bus) as gateway:
        async with gateway.until_broadcast():
            await bus.ask(DELETE_USER, UserRequest(user_id=user.id))
        await bus.ask(RESTORE_USER, UserRequest(user_id=user.id))
        assert not await gateway.admits(before)
        assert await gateway.admits(await login(bus, user.username))


async def test_new_username_or_same_role_ends_no_token(bus: Bus, tables: Tables) -> None:
    """Proves R-AUTH-18: a new username, or an update with the same role, ends no token."""
    user = await create(bus)
    signed_in = await login(bus, user.username)
    await update(bus, user, role=user.role, username=f"{user.username}-new", disabled=False)
    async with started(bus) as gateway:
        assert await gateway.admits(signed_in)


async def test_refresh_during_a_role_change_gets_the_new_role(bus: Bus, tables: Tables) -> None:
    """Proves R-AUTH-18: a refresh waits for a change of the role, and gets a valid token with the new role."""
    user = await create(bus)
    signed_in = await login(bus, user.username)
    await tables.execute("BEGIN")
    await tables.execute(
        "UPDATE account SET role = 'viewer', token_version = token_version + 1,"
        " tokens_ended_at = now(), tokens_until = now() + interval '1 h' WHERE id = $1",
        user.id,
    )
    refreshing = asyncio.create_task(refresh(bus, signed_in.refresh_token))
    await until_blocked(tables)
    await tables.execute("COMMIT")
    renewed = await refreshing
    assert caller_of(renewed).role is Role.VIEWER
    async with started(bus) as gateway:
        assert await gateway.admits(renewed)
        assert not await gateway.admits(signed_in)


async def test_access_until_follows_the_newest_access_token(bus: Bus, tables: Tables) -> None:
    """Proves R-AUTH-19: a session's `access_until` is the time from which its newest access token is refused."""
    signed_in = await login(bus, (await create(bus)).username)
    for _ in range(2):
        claims = tokens.verify(signed_in.access_token, CheckingKeys(secret_key(SECRET)))
        until = await tables.fetchval(
            "SELECT extract(epoch FROM access_until)::float8 FROM session WHERE id = $1",
            claims.session_id,
        )
        assert until == tokens.accepted_until(claims.expires_at)
        signed_in = await refresh(bus, signed_in.refresh_token)


async def test_expired_revocation_is_not_listed(bus: Bus, tables: Tables) -> None:
    """Proves R-AUTH-19: the list of revocations omits an ended session after its last access token has expired."""
    user = await create(bus)
    signed_in = await login(bus, user.username)
    await bus.ask(LOGOUT, LogoutRequest(), caller=caller_of(signed_in))
    await tables.execute(
        "UPDATE session SET access_until = now() - interval '2 min' WHERE account_id = $1", user.id
    )
    async with started(bus) as gateway:
        assert await gateway.admits(signed_in)
