"""A provider that changes its keys or answers incorrectly. It is a fake, because real providers answer correctly."""

import secrets
from collections.abc import AsyncIterator
from typing import Any

import pytest
from joserfc.jwk import RSAKey
from pydantic import SecretStr
from structlog.testing import capture_logs

from svgx_auth.oidc import provider as provider_module
from svgx_auth.oidc.provider import Provider
from svgx_auth.oidc.settings import OidcProvider
from svgx_common.contract.errors import Unauthenticated, Unavailable
from tests.integration.auth.fake_provider import (
    CLIENT,
    MISSING,
    NONCE,
    FakeProvider,
    fake_provider,
)


@pytest.fixture
async def fake() -> AsyncIterator[FakeProvider]:
    """A fake provider that listens until the test ends."""
    async with fake_provider() as fake:
        yield fake


@pytest.fixture
async def provider(fake: FakeProvider) -> AsyncIterator[Provider]:
    """The client of the fake provider."""
    settings = OidcProvider(name="fake", issuer=fake.issuer, client_id=CLIENT)
    provider = Provider(settings, "http://127.0.0.1/callback")
    yield provider
    await provider.close()


async def exchange(provider: Provider) -> dict[str, Any]:
    discovered = await provider.check_issuer(None)
    code = secrets.token_urlsafe(8)
    return await provider.exchange(discovered, code, nonce=NONCE, verifier="v" * 43)


async def test_keys_are_fetched_again_for_an_invalid_token(
    fake: FakeProvider, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves R-AUTH-35: keys are fetched again for an invalid token, but only after `KEY_REFETCH_SECONDS`."""
    assert (await exchange(provider))["sub"] == "ada"
    assert (await exchange(provider))["sub"] == "ada"
    assert fake.requests.count("/jwks") == 1
    fake.key = fake.signed_with = RSAKey.generate_key(2048, parameters={"kid": "2"})
    for _ in range(3):
        with pytest.raises(Unauthenticated):
            await exchange(provider)
    assert fake.requests.count("/jwks") == 1
    monkeypatch.setattr(provider_module, "KEY_REFETCH_SECONDS", 0.0)
    assert (await exchange(provider))["sub"] == "ada"
    assert fake.requests.count("/jwks") == 2


async def test_token_signed_with_a_wrong_key_is_refused(
    fake: FakeProvider, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves R-AUTH-32: a token signed with a wrong key is refused, even after the keys were fetched again."""
    monkeypatch.setattr(provider_module, "KEY_REFETCH_SECONDS", 0.0)
    fake.signed_with = RSAKey.generate_key(2048, parameters={"kid": "1"})
    with pytest.raises(Unauthenticated):
        await exchange(provider)


async def test_userinfo_adds_claims_and_replaces_none(
    fake: FakeProvider, provider: Provider
) -> None:
    """Proves R-AUTH-32: userinfo adds claims about the subject of the ID token, and replaces no claim."""
    fake.metadata["userinfo_endpoint"] = f"{fake.issuer}/userinfo"
    fake.userinfo = {"sub": "ada", "email": "ada@example.org", "iss": "another"}
    claims = await exchange(provider)
    assert (claims["email"], claims["iss"]) == ("ada@example.org", fake.issuer)
    fake.userinfo = {"sub": "grace", "email": "grace@example.org"}
    with pytest.raises(Unauthenticated):
        await exchange(provider)


@pytest.mark.parametrize(
    ("claims", "userinfo", "verified"),
    [
        ({}, {"email": "mine@x", "email_verified": True}, "mine@x"),
        ({"email": "boss@x"}, {"email": "mine@x", "email_verified": True}, None),
        ({"email": "boss@x"}, {"email_verified": True}, None),
        ({"email_verified": True}, {"email": "boss@x"}, None),
        ({"email": "mine@x"}, {"email": "mine@x", "email_verified": True}, "mine@x"),
        (
            {"email": "mine@x", "preferred_username": "ada"},
            {"email": "mine@x", "email_verified": True},
            "mine@x",
        ),
        (
            {"email": "mine@x", "email_verified": False},
            {"email": "mine@x", "email_verified": True},
            None,
        ),
    ],
)
async def test_email_address_is_verified_only_by_its_own_source(
    fake: FakeProvider,
    provider: Provider,
    claims: dict[str, Any],
    userinfo: dict[str, Any],
    verified: str | None,
) -> None:
    """Proves R-AUTH-38: `email_verified` applies only to the e-mail address from the same source."""
    fake.metadata["userinfo_endpoint"] = f"{fake.issuer}/userinfo"
    fake.claims, fake.userinfo = claims, {"sub": "ada"} | userinfo
    merged = await exchange(provider)
    assert (merged.get("email") if merged.get("email_verified") is True else None) == verified


@pytest.mark.parametrize(
    "changed",
    [
        {"issuer": "https://another.example.org"},
        {"issuer": None},
        {"authorization_endpoint": "http://evil.example.org/"},
        {"token_endpoint": "javascript:alert(1)"},
        {"token_endpoint": None},
        {"jwks_uri": None},
        {"userinfo_endpoint": "http://evil.example.org/"},
    ],
    ids=str,
)
async def test_provider_with_wrong_metadata_is_unavailable(
    fake: FakeProvider, provider: Provider, changed: dict[str, Any]
) -> None:
    """Proves R-AUTH-35: metadata of another issuer, without endpoints, or with unencrypted endpoints is refused."""
    fake.metadata |= changed
    with pytest.raises(Unavailable):
        await provider.authorization_url(state="s", nonce=NONCE, verifier="v" * 43)


UNREADABLE_KEYS: dict[str, Any] = {
    "an unknown curve": {"kty": "EC", "crv": "BP-256", "x": "AAAA", "y": "AAAA", "kid": "b"},
    "an unknown kind of key": {"kty": "AKP", "pub": "AAAA", "kid": "b"},
    "an unknown use": {"kty": "RSA", "n": "AQAB", "e": "AQAB", "kid": "b", "use": "tls"},
    "an unknown operation": {"kty": "RSA", "n": "AQAB", "e": "AQAB", "kid": "b", "key_ops": ["x"]},
    "a missing number": {"kty": "RSA", "e": "AQAB", "kid": "b"},
    "a number that is no base64": {"kty": "RSA", "n": "!", "e": "AQAB", "kid": "b"},
    "a kid that is no text": {"kty": "RSA", "n": "AQAB", "e": "AQAB", "kid": 5},
    "a kind that is no text": {"kty": ["RSA"], "kid": "b"},
    "a text in place of a key": "key",
    "null in place of a key": None,
}


@pytest.mark.parametrize("fault", UNREADABLE_KEYS)
async def test_unreadable_key_of_a_provider_is_left_out(
    fake: FakeProvider, provider: Provider, fault: str
) -> None:
    """Proves R-AUTH-35: users sign in while the provider publishes one more key that this service cannot read.

    The log names the key.
    """
    unreadable = UNREADABLE_KEYS[fault]
    fake.changes["/jwks"] = {"keys": [unreadable, fake.key.as_dict(private=False)]}
    with capture_logs() as lines:
        assert (await exchange(provider))["sub"] == "ada"
    (line,) = [each for each in lines if "key of a sign-in provider" in each["event"]]
    assert line["kid"] == (str(unreadable["kid"]) if isinstance(unreadable, dict) else "")


TOO_DEEP = b"[" * 100_000

WRONG_ANSWERS: dict[str, tuple[str, dict[str, Any] | bytes]] = {
    "no access token": ("/token", {"access_token": MISSING}),
    "an access token that is no text": ("/token", {"access_token": 5}),
    "an access token with a line break": ("/token", {"access_token": "a\nb"}),
    "an expires_at that is an object": ("/token", {"expires_at": {}}),
    "an expires_at that is a list": ("/token", {"expires_at": []}),
    "an expires_in that is a list": ("/token", {"expires_in": [5]}),
    "an infinite expires_in": ("/token", {"expires_in": float("inf")}),
    "a token that is too deep": ("/token", TOO_DEEP),
    "a token that is no object": ("/token", b"[]"),
    "userinfo that is too deep": ("/userinfo", TOO_DEEP),
    "userinfo that is no JSON": ("/userinfo", b"<html>"),
    "keys that are too deep": ("/jwks", TOO_DEEP),
    "keys that are no list": ("/jwks", {"keys": 5}),
    "keys that are a text": ("/jwks", {"keys": "key"}),
    "no readable key": ("/jwks", {"keys": [{"kty": "EC", "crv": "BP-256", "x": "AAAA"}]}),
    "metadata that is too deep": ("/.well-known/openid-configuration", TOO_DEEP),
    "a token endpoint with a line break": (
        "/.well-known/openid-configuration",
        {"token_endpoint": "https://127.0.0.1\n/token"},
    ),
}


@pytest.mark.parametrize("fault", WRONG_ANSWERS)
async def test_provider_with_a_wrong_answer_is_unavailable(
    fake: FakeProvider, provider: Provider, fault: str
) -> None:
    """Proves R-AUTH-35: wrong data from each endpoint causes `Unavailable`, and no internal error."""
    fake.metadata["userinfo_endpoint"] = f"{fake.issuer}/userinfo"
    fake.userinfo = {"sub": "ada"}
    path, changes = WRONG_ANSWERS[fault]
    fake.changes[path] = changes
    with pytest.raises(Unavailable):
        await exchange(provider)


async def test_provider_with_wrong_authentication_methods_gets_the_default_method(
    fake: FakeProvider,
) -> None:
    """Proves R-AUTH-35: a value that is no list counts as missing."""
    fake.metadata["token_endpoint_auth_methods_supported"] = 5
    settings = OidcProvider(
        name="fake", issuer=fake.issuer, client_id=CLIENT, client_secret=SecretStr("secret")
    )
    provider = Provider(settings, "http://127.0.0.1/callback")
    try:
        assert (await exchange(provider))["sub"] == "ada"
    finally:
        await provider.close()
