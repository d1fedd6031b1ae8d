"""A provider that changes its keys, and one that is not what it should be: by hand, since real ones behave well."""

import asyncio
import json
import secrets
import threading
import time
from collections.abc import AsyncIterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import RSAKey

from svgx_auth.oidc import provider as providers
from svgx_auth.oidc.provider import Provider
from svgx_auth.oidc.settings import OidcProvider
from svgx_common.contract.errors import Unauthenticated, Unavailable

CLIENT, NONCE = "svgx", "n" * 43


class Fake:
    """What it answers, by path."""

    def __init__(self, port: int) -> None:
        self.issuer = f"http://127.0.0.1:{port}"
        self.key = RSAKey.generate_key(2048, parameters={"kid": "1"})
        self.signed_with = self.key
        self.metadata: dict[str, Any] = {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/jwks",
        }
        self.claims: dict[str, Any] = {}
        self.userinfo: dict[str, Any] = {}
        self.asked: list[str] = []

    def answer(self, path: str) -> Any:
        """A JSON value."""
        self.asked.append(path)
        match path:
            case "/.well-known/openid-configuration":
                return self.metadata
            case "/jwks":
                return {"keys": [self.key.as_dict(private=False)]}
            case "/userinfo":
                return self.userinfo
            case _:
                now = int(time.time())
                claims = {
                    "iss": self.issuer,
                    "aud": CLIENT,
                    "sub": "ada",
                    "exp": now + 60,
                    "iat": now,
                    "nonce": NONCE,
                } | self.claims
                header = {"alg": "RS256", "kid": self.signed_with.kid}
                token = jwt.encode(header, claims, self.signed_with)
                return {"access_token": "a", "token_type": "Bearer", "id_token": token}


@pytest.fixture
async def fake() -> AsyncIterator[Fake]:
    """It listens until the test ends."""
    found: list[Fake] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.do_POST()

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            content = json.dumps(found[0].answer(self.path)).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found.append(Fake(server.server_port))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield found[0]
    await asyncio.to_thread(server.shutdown)
    server.server_close()


@pytest.fixture
async def provider(fake: Fake) -> AsyncIterator[Provider]:
    """Our side of it."""
    settings = OidcProvider(name="fake", issuer=fake.issuer, client_id=CLIENT)
    provider = Provider(settings, "http://127.0.0.1/callback")
    yield provider
    await provider.close()


async def exchange(provider: Provider) -> dict[str, Any]:
    return await provider.exchange(secrets.token_urlsafe(8), nonce=NONCE, verifier="v" * 43)


async def test_a_new_key_is_asked_for_now_and_then(
    fake: Fake, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves R-AUTH-35: and not for each token that does not count."""
    assert (await exchange(provider))["sub"] == "ada"
    assert (await exchange(provider))["sub"] == "ada"
    assert fake.asked.count("/jwks") == 1
    fake.key = fake.signed_with = RSAKey.generate_key(2048, parameters={"kid": "2"})
    for _ in range(3):
        with pytest.raises(Unauthenticated):
            await exchange(provider)
    assert fake.asked.count("/jwks") == 1
    monkeypatch.setattr(providers, "ASK_AGAIN", 0.0)
    assert (await exchange(provider))["sub"] == "ada"
    assert fake.asked.count("/jwks") == 2


async def test_the_wrong_key_does_not_count_though_keys_are_asked_for(
    fake: Fake, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves R-AUTH-32."""
    monkeypatch.setattr(providers, "ASK_AGAIN", 0.0)
    fake.signed_with = RSAKey.generate_key(2048, parameters={"kid": "1"})
    with pytest.raises(Unauthenticated):
        await exchange(provider)


async def test_userinfo_adds_and_replaces_nothing(fake: Fake, provider: Provider) -> None:
    """Proves R-AUTH-32: of whom the ID token is, and nobody else."""
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
            {"email": "mine@x", "email_verified": False},
            {"email": "mine@x", "email_verified": True},
            None,
        ),
    ],
)
async def test_an_address_is_verified_by_who_says_it(
    fake: Fake,
    provider: Provider,
    claims: dict[str, Any],
    userinfo: dict[str, Any],
    verified: str | None,
) -> None:
    """Proves R-AUTH-38: one place says of the address in another place nothing."""
    fake.metadata["userinfo_endpoint"] = f"{fake.issuer}/userinfo"
    fake.claims, fake.userinfo = claims, {"sub": "ada"} | userinfo
    found = await exchange(provider)
    assert (found.get("email") if found.get("email_verified") is True else None) == verified


@pytest.mark.parametrize(
    "changed",
    [
        {"issuer": "https://another.example.org"},
        {"issuer": None},
        {"authorization_endpoint": "http://evil.example.org/"},
        {"token_endpoint": "javascript:alert(1)"},
        {"token_endpoint": None},
        {"jwks_uri": None},
    ],
    ids=str,
)
async def test_a_provider_that_is_not_what_it_should_be_is_away(
    fake: Fake, provider: Provider, changed: dict[str, Any]
) -> None:
    """Proves R-AUTH-35: another's metadata, no endpoints, endpoints anybody can listen to."""
    fake.metadata |= changed
    with pytest.raises(Unavailable):
        await provider.authorization_url(state="s", nonce=NONCE, verifier="v" * 43)
