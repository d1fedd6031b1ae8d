"""Callbacks that cannot be answered yet: their sign-ins stay pending, so that the browser can repeat the callback."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import parse_qs, urlsplit

import pytest

from svgx_auth.oidc import provider as providers
from svgx_auth.oidc.settings import OidcProvider
from svgx_common.contract.auth import Tokens
from svgx_common.contract.errors import BadRequest, Unauthenticated, Unavailable
from svgx_common.contract.oidc import (
    OIDC_CALLBACK,
    OIDC_LOGIN,
    OidcCallbackRequest,
    OidcLoginRequest,
)
from svgx_common.messaging.bus import Bus
from svgx_devstack import DevStack
from tests.integration.auth.conftest import replica
from tests.integration.auth.fake_provider import CLIENT, FakeProvider, fake_provider

TOKEN_PATH, METADATA_PATH = "/token", "/.well-known/openid-configuration"


class Browsers:
    """Browsers that sign in at a fake provider."""

    def __init__(self, bus: Bus, fake: FakeProvider) -> None:
        self._bus = bus
        self.fake = fake

    async def begin(self) -> tuple[OidcCallbackRequest, str]:
        """Begin a sign-in. Return its callback, and the nonce that the provider gets."""
        redirect = await self._bus.ask(OIDC_LOGIN, OidcLoginRequest(provider="fake"))
        assert redirect.remember is not None
        query = parse_qs(urlsplit(redirect.location).query)
        callback = OidcCallbackRequest(
            provider="fake", browser=redirect.remember, state=query["state"][0], code="code"
        )
        return callback, query["nonce"][0]

    async def finish(self, callback: OidcCallbackRequest) -> Tokens:
        return await self._bus.ask(OIDC_CALLBACK, callback)

    async def finish_twice(self, callback: OidcCallbackRequest, nonce: str) -> None:
        """Finish a sign-in, and check that it cannot be finished again."""
        self.fake.claims["nonce"] = nonce
        assert (await self.finish(callback)).access_token
        with pytest.raises(BadRequest):
            await self.finish(callback)


@asynccontextmanager
async def signing_in(backing: DevStack, *others: OidcProvider) -> AsyncIterator[Browsers]:
    """Run a replica with a fake provider, and with the other providers. Yield browsers of the fake provider."""
    bus = await Bus.connect(backing.nats_url("gateway"), "gateway", "test")
    try:
        async with fake_provider() as fake:
            settings = OidcProvider(name="fake", issuer=fake.issuer, client_id=CLIENT)
            async with replica(backing, providers=(settings, *others)):
                yield Browsers(bus, fake)
    finally:
        await bus.close()


async def test_callback_during_failed_discovery_can_be_repeated(
    backing: DevStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves R-AUTH-35: without fresh metadata, a replica answers `Unavailable`, and the sign-in stays pending."""
    monkeypatch.setattr(providers, "DISCOVERY_RETRY_SECONDS", 0.0)
    async with signing_in(backing) as browsers:
        callback, nonce = await browsers.begin()
        with monkeypatch.context() as outdated:
            outdated.setattr(providers, "METADATA_SECONDS", -1.0)
            browsers.fake.changes[METADATA_PATH] = b""
            with pytest.raises(Unavailable):
                await browsers.finish(callback)
        browsers.fake.changes.clear()
        assert TOKEN_PATH not in browsers.fake.requests
        await browsers.finish_twice(callback, nonce)


async def test_code_is_sent_after_a_discovery_that_fails_meanwhile(
    backing: DevStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sign-in is not pending any more, so the callback could not be repeated. Proves R-AUTH-35."""
    check_issuer = providers.Provider.check_issuer

    async def check_and_forget(provider: providers.Provider, issuer: str | None) -> object:
        discovered = await check_issuer(provider, issuer)
        provider._discovered = None
        browsers.fake.changes[METADATA_PATH] = b""
        return discovered

    async with signing_in(backing) as browsers:
        callback, nonce = await browsers.begin()
        browsers.fake.claims["nonce"] = nonce
        monkeypatch.setattr(providers.Provider, "check_issuer", check_and_forget)
        with pytest.raises(Unavailable):  # of the check of the ID token
            await browsers.finish(callback)
        assert browsers.fake.requests.count(TOKEN_PATH) == 1


async def test_simultaneous_callbacks_beyond_the_limit_can_be_repeated(
    backing: DevStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves R-AUTH-35: callbacks beyond `MAX_WAITING` get `Unavailable` at once, and their sign-ins stay pending."""
    monkeypatch.setattr(providers, "MAX_WAITING", 1)
    async with signing_in(backing) as browsers:
        nonces = dict([await browsers.begin() for _ in range(4)])
        browsers.fake.may_answer.clear()
        callbacks = {asyncio.create_task(browsers.finish(each)): each for each in nonces}
        waiting = set(callbacks)
        while len(waiting) > 1:
            refused, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            assert {type(each.exception()) for each in refused} == {Unavailable}
        (first,) = waiting
        browsers.fake.claims["nonce"] = nonces[callbacks[first]]
        browsers.fake.may_answer.set()
        assert (await first).access_token
        assert browsers.fake.requests.count(TOKEN_PATH) == 1
        for task, callback in callbacks.items():
            if task is not first:
                await browsers.finish_twice(callback, nonces[callback])


async def test_answer_of_another_provider_does_not_end_a_sign_in(backing: DevStack) -> None:
    """Proves R-AUTH-32: the answer is refused before the code is sent, and the provider's answer is still accepted."""
    async with signing_in(backing) as browsers:
        callback, nonce = await browsers.begin()
        with pytest.raises(Unauthenticated):
            await browsers.finish(callback.model_copy(update={"iss": "https://id.example.org"}))
        assert TOKEN_PATH not in browsers.fake.requests
        await browsers.finish_twice(callback, nonce)


async def test_callback_at_another_configured_provider_does_not_end_a_sign_in(
    backing: DevStack,
) -> None:
    """Only the provider of the sign-in gets the code, also with the right state and browser. Proves R-AUTH-32."""
    async with (
        fake_provider() as other,
        signing_in(backing, OidcProvider(name="other", issuer=other.issuer, client_id=CLIENT)) as (
            browsers
        ),
    ):
        callback, nonce = await browsers.begin()
        other.claims["nonce"] = nonce
        with pytest.raises(BadRequest):
            await browsers.finish(callback.model_copy(update={"provider": "other"}))
        assert TOKEN_PATH not in other.requests
        assert TOKEN_PATH not in browsers.fake.requests
        await browsers.finish_twice(callback, nonce)
