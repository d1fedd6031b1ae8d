"""A sign-in provider that answers nothing, beside those who sign in elsewhere."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from svgx_auth.oidc import provider as providers
from svgx_auth.oidc.settings import OidcProvider
from svgx_common.contract.auth import JWKS, JwksRequest
from svgx_common.contract.errors import Unavailable
from svgx_common.contract.oidc import (
    OIDC_CALLBACK,
    OIDC_LOGIN,
    OidcCallbackRequest,
    OidcLoginRequest,
)
from svgx_common.messaging.bus import Bus
from svgx_devstack import DevStack
from tests.integration.auth.conftest import replica


class Silent:
    """It takes connections and says nothing, until it hangs up."""

    def __init__(self) -> None:
        self.asked = 0
        self.hang_up = asyncio.Event()

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A connection."""
        self.asked += 1
        await self.hang_up.wait()
        writer.close()


@asynccontextmanager
async def silent(name: str) -> AsyncIterator[tuple[Silent, OidcProvider]]:
    found = Silent()
    server = await asyncio.start_server(found.take, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield found, OidcProvider(name=name, issuer=f"http://127.0.0.1:{port}", client_id="svgx")
    finally:
        found.hang_up.set()
        server.close()
        await server.wait_closed()


@pytest.fixture
async def gateway(backing: DevStack) -> AsyncIterator[Bus]:
    """What a gateway has."""
    bus = await Bus.connect(backing.nats_url("gateway"), "gateway", "test")
    try:
        yield bus
    finally:
        await bus.close()


async def test_who_waits_for_a_provider_holds_up_nobody_else(
    backing: DevStack, gateway: Bus
) -> None:
    """Proves R-AUTH-35: so many wait; the others, and those who come soon after, are told at once to come again."""

    async def begin() -> Unavailable:
        with pytest.raises(Unavailable) as refused:
            await gateway.ask(OIDC_LOGIN, OidcLoginRequest(provider="silent"))
        return refused.value

    async with (
        silent("silent") as (provider, settings),
        replica(backing, providers=(settings,)),
        asyncio.timeout(providers.PATIENCE / 2),
    ):
        begun = [asyncio.create_task(begin()) for _ in range(70)]
        waiting = set(begun)
        while len(waiting) > providers.MAX_WAITING:
            _, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for each in set(begun) - waiting:
            assert each.result().retry_after == 1.0
        # Somebody else is answered while they wait.
        await gateway.ask(JWKS, JwksRequest())
        assert waiting == {each for each in begun if not each.done()}
        provider.hang_up.set()
        for each in waiting:
            assert (await each).retry_after is not None
        assert provider.asked == 1
        wait = (await begin()).retry_after
        assert wait is not None
        assert 0 < wait <= providers.AWAY
        # A sign-in that comes back meanwhile is not spent in vain.
        with pytest.raises(Unavailable):
            await gateway.ask(OIDC_CALLBACK, OidcCallbackRequest(provider="silent", state="s"))
        assert provider.asked == 1


async def test_a_provider_that_is_away_is_asked_again(
    backing: DevStack, gateway: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves R-AUTH-35: soon."""
    monkeypatch.setattr(providers, "AWAY", 0.0)
    async with silent("silent") as (provider, settings), replica(backing, providers=(settings,)):
        provider.hang_up.set()
        for number in (1, 2):
            with pytest.raises(Unavailable):
                await gateway.ask(OIDC_LOGIN, OidcLoginRequest(provider="silent"))
            assert provider.asked == number


async def test_a_provider_that_answers_a_byte_at_a_time_is_away(
    backing: DevStack, gateway: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves R-AUTH-35: the time is for all of the answer."""
    monkeypatch.setattr(providers, "PATIENCE", 0.5)

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        listening = True
        while listening:
            writer.write(b" ")
            try:
                async with asyncio.timeout(providers.PATIENCE / 5):
                    await reader.read()
                    listening = False
            except TimeoutError:
                pass
        writer.close()

    server = await asyncio.start_server(drip, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    settings = OidcProvider(name="slow", issuer=f"http://127.0.0.1:{port}", client_id="svgx")
    async with server, replica(backing, providers=(settings,)):
        with pytest.raises(Unavailable):
            await gateway.ask(OIDC_LOGIN, OidcLoginRequest(provider="slow"))
