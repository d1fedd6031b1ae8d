"""`JWT_SECRET` is replaced while users are logged in."""

from collections.abc import AsyncIterator

import pytest

from svgx_common.contract.auth import Tokens
from svgx_common.contract.errors import Unauthenticated
from svgx_common.messaging.bus import Bus
from svgx_devstack import DevStack
from svgx_gateway.identity.token_keys import TokenKeys
from tests.integration.auth.conftest import SECRET, replica
from tests.integration.auth.test_accounts import create, login
from tests.integration.auth.test_sessions import expect_refused_refresh, refresh

NEW = "the next secret of more than thirty-two bytes"


@pytest.fixture
async def bus(backing: DevStack) -> AsyncIterator[Bus]:
    """Yield a gateway's connection to NATS."""
    bus = await Bus.connect(backing.nats_url("gateway"), "gateway", "secrets")
    try:
        yield bus
    finally:
        await bus.close()


async def is_accepted(bus: Bus, secret: str, other_secret: str, tokens: Tokens) -> bool:
    """Return whether a gateway with these secrets accepts the access token."""
    try:
        await TokenKeys(bus, secret, other_secret).verify(tokens.access_token)
    except Unauthenticated:
        return False
    return True


async def test_replaced_secret_ends_no_session(backing: DevStack, bus: Bus) -> None:
    """Replicas with the secrets of two successive steps accept each other's tokens. Proves R-AUTH-45.

    The steps: the new secret is added as the other secret; the two secrets change places; the old one is removed.
    """
    steps = [(SECRET, ""), (SECRET, NEW), (NEW, SECRET), (NEW, "")]
    sessions: list[Tokens] = []
    username = ""
    for number, (secret, other_secret) in enumerate(steps):
        async with replica(backing, secret=secret, other_secret=other_secret):
            username = username or (await create(bus)).username
            sessions.append(await login(bus, username))
            # The sessions of all steps continue.
            sessions = [await refresh(bus, each.refresh_token) for each in sessions]
            for tokens in sessions:
                for secrets in steps[max(0, number - 1) : number + 2]:
                    assert await is_accepted(bus, *secrets, tokens), (number, secrets)
    assert not await is_accepted(bus, SECRET, "", sessions[0])


@pytest.mark.parametrize(
    ("first", "second"),
    [((SECRET, NEW), (NEW, SECRET)), ((NEW, SECRET), (SECRET, NEW))],
    ids=["old first", "new first"],
)
async def test_repeated_refresh_at_another_replica_gets_the_same_token(
    backing: DevStack, bus: Bus, first: tuple[str, str], second: tuple[str, str]
) -> None:
    """A client repeats a refresh after a lost answer, and another replica answers. Proves R-AUTH-45 and R-AUTH-10."""
    async with replica(backing, secret=first[0], other_secret=first[1]):
        tokens = await login(bus, (await create(bus)).username)
        once = await refresh(bus, tokens.refresh_token)
    async with replica(backing, secret=second[0], other_secret=second[1]):
        again = await refresh(bus, tokens.refresh_token)
        assert again.refresh_token == once.refresh_token
        await refresh(bus, again.refresh_token)


async def test_repeated_refresh_without_the_other_secret_keeps_the_session(
    backing: DevStack, bus: Bus
) -> None:
    """Without the other secret the repetition is refused, and the session continues. Proves R-AUTH-45."""
    async with replica(backing):
        tokens = await login(bus, (await create(bus)).username)
        once = await refresh(bus, tokens.refresh_token)
    async with replica(backing, secret=NEW):
        await expect_refused_refresh(bus, tokens.refresh_token)
        await refresh(bus, once.refresh_token)
