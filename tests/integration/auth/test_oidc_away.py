"""A sign-in provider that does not answer, and the requests that do not need it."""

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


class SilentProvider:
    """A provider that accepts connections, sends nothing, and closes them when `close` is set."""

    def __init__(self) -> None:
        self.connections = 0
        self.close = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Hold a connection open until `close` is set."""
        self.connections += 1
        await self.close.wait()
        writer.close()


@asynccontextmanager
async def silent_provider(name: str) -> AsyncIterator[tuple[SilentProvider, OidcProvider]]:
    provider = SilentProvider()
    server = await asyncio.start_server(provider.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    settings = OidcProvider(name=name, issuer=f"http://127.0.0.1:{port}", client_id="svgx")
    try:
        yield provider, settings
    finally:
        provider.close.set()
        server.close()
        await server.wait_closed()


@pytest.fixture
async def gateway(backing: DevStack) -> AsyncIterator[Bus]:
    """A gateway's connection to the bus."""
    bus = await Bus.connect(backing.nats_url("gateway"), "gateway", "test")
    try:
        yield bus
    finally:
        await bus.close()


async def test_requests_that_wait_for_a_provider_do_not_block_others(
    backing: DevStack, gateway: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves R-AUTH-35: at most `MAX_WAITING` requests wait for a provider; further ones get `Unavailable` at once.

    For `DISCOVERY_RETRY_SECONDS` after a failed discovery, requests get `Unavailable` at once.
    """
    monkeypatch.setattr(providers, "DISCOVERY_TIMEOUT", 40.0)

    async def begin() -> Unavailable:
        with pytest.raises(Unavailable) as error:
            await gateway.ask(OIDC_LOGIN, OidcLoginRequest(provider="silent"))
        return error.value

    async with (
        silent_provider("silent") as (provider, settings),
        replica(backing, providers=(settings,)),
        asyncio.timeout(providers.DISCOVERY_TIMEOUT / 2),
    ):
        requests = [asyncio.create_task(begin()) for _ in range(70)]
        waiting = set(requests)
        while len(waiting) > providers.MAX_WAITING:
            _, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for request in set(requests) - waiting:
            assert request.result().retry_after == 1.0
        # Another operation is answered while these requests wait.
        await gateway.ask(JWKS, JwksRequest())
        assert waiting == {request for request in requests if not request.done()}
        provider.close.set()
        for request in waiting:
            assert (await request).retry_after is not None
        assert provider.connections == 1
        wait = (await begin()).retry_after
        assert wait is not None
        assert 0 < wait <= providers.DISCOVERY_RETRY_SECONDS
        # The callback of a sign-in also gets `Unavailable`, without a new connection to the provider.
        with pytest.raises(Unavailable):
            await gateway.ask(OIDC_CALLBACK, OidcCallbackRequest(provider="silent", state="s"))
        assert provider.connections == 1


async def test_failed_discovery_is_tried_again(
    backing: DevStack, gateway: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves R-AUTH-35: discovery is tried again after `DISCOVERY_RETRY_SECONDS`."""
    monkeypatch.setattr(providers, "DISCOVERY_RETRY_SECONDS", 0.0)
    async with (
        silent_provider("silent") as (provider, settings),
        replica(backing, providers=(settings,)),
    ):
        provider.close.set()
        for number in (1, 2):
            with pytest.raises(Unavailable):
                await gateway.ask(OIDC_LOGIN, OidcLoginRequest(provider="silent"))
            assert provider.connections == number


async def test_provider_that_answers_slowly_is_unavailable(
    backing: DevStack, gateway: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves R-AUTH-35: the time limit covers the whole answer."""
    monkeypatch.setattr(providers, "DISCOVERY_TIMEOUT", 0.5)

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        connected = True
        while connected:
            writer.write(b" ")
            try:
                async with asyncio.timeout(providers.DISCOVERY_TIMEOUT / 5):
                    await reader.read()
                    connected = False
            except TimeoutError:
                pass
        writer.close()

    server = await asyncio.start_server(drip, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    settings = OidcProvider(name="slow", issuer=f"http://127.0.0.1:{port}", client_id="svgx")
    async with server, replica(backing, providers=(settings,)):
        with pytest.raises(Unavailable):
            await gateway.ask(OIDC_LOGIN, OidcLoginRequest(provider="slow"))
