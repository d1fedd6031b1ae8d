"""Signing keys that change while users are logged in."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from svgx_auth.keys import key_file, signing
from svgx_auth.keys.key_file import KeyRing
from svgx_auth.rotate_keys import generate, rotate
from svgx_common.contract.auth import JWKS, JwksRequest, Tokens
from svgx_common.contract.errors import DeadlineExceeded, Unauthenticated, Unavailable
from svgx_common.contract.policy import Role
from svgx_common.messaging.bus import Bus
from svgx_common.tokens import access_tokens as tokens
from svgx_common.tokens.signing_keys import ASYMMETRIC, SYMMETRIC, secret_key
from svgx_devstack import DevStack
from svgx_gateway import watched_copy
from svgx_gateway.identity import token_keys
from svgx_gateway.identity.token_keys import TokenKeys
from tests.integration.auth.conftest import SECRET, replica
from tests.integration.auth.test_accounts import create, login
from tests.integration.auth.test_sessions import refresh
from tests.polling import pause


@pytest.fixture
async def bus(backing: DevStack) -> AsyncIterator[Bus]:
    """Yield a gateway's connection to NATS."""
    bus = await Bus.connect(backing.nats_url("gateway"), "gateway", "keys")
    try:
        yield bus
    finally:
        await bus.close()


@pytest.fixture
def keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the path of a key file that the auth service reads often. The file's only key does not sign yet."""
    monkeypatch.setattr(signing, "RELOAD_INTERVAL_SECONDS", 0.02)
    path = tmp_path / "keys.json"
    key_file.write(path, rotate(KeyRing(), "Ed25519", int(time.time()), lead=3600))
    return path


async def published(bus: Bus) -> set[str]:
    """Return the ids of the published keys."""
    return {key["kid"] for key in (await bus.ask(JWKS, JwksRequest())).keys}


async def until_published(bus: Bus, ring: KeyRing) -> None:
    """Wait until exactly the keys of `ring` are published."""
    expected = {str(entry.key.key_id) for entry in ring.entries}
    async with asyncio.timeout(10):
        while await published(bus) != expected:
            await pause()


def key_requests() -> float:
    """Return how many requests for the published keys the auth service has answered."""
    labels = {"component": "auth", "operation": JWKS.name, "code": "ok"}
    return REGISTRY.get_sample_value("svgx_engine_requests_total", labels) or 0.0


def algorithm_and_key_id(pair: Tokens) -> tuple[str, str | None]:
    """Return the algorithm and the key id in the token's header."""
    header = tokens._header(pair.access_token)
    return header["alg"], header.get("kid")


async def test_rotation_of_keys_keeps_all_tokens_valid(
    backing: DevStack, bus: Bus, keys: Path
) -> None:
    """A token stays valid until it expires, even after a key of another kind has begun to sign. Proves R-AUTH-25."""
    async with replica(backing, keys=keys):
        user = await create(bus)
        # These gateways are not started, so they read the keys only when a token names an unknown key.
        gateway = TokenKeys(bus, SECRET)
        gateway_without_secret = TokenKeys(bus, "")
        pairs = [await login(bus, user.username)]
        assert algorithm_and_key_id(pairs[0]) == (SYMMETRIC, None)
        ring = KeyRing()
        for kind in ASYMMETRIC:
            ring = rotate(ring, kind, int(time.time()), lead=0)
            key_file.write(keys, ring)
            await until_published(bus, ring)
            pairs.append(await refresh(bus, pairs[-1].refresh_token))
            assert algorithm_and_key_id(pairs[-1]) == (kind, ring.entries[-1].key.key_id)
            for each_gateway in (gateway, gateway_without_secret):
                each_gateway._answered_at = -token_keys.READ_AGAIN_SECONDS
            for each in pairs:
                claims = await gateway.verify(each.access_token)
                assert claims.user_id == user.id
            await gateway_without_secret.verify(pairs[-1].access_token)
        with pytest.raises(Unauthenticated):
            await gateway_without_secret.verify(pairs[0].access_token)
        for jwk in (await bus.ask(JWKS, JwksRequest())).keys:
            assert "d" not in jwk


async def test_token_of_a_removed_key_is_refused(
    backing: DevStack, bus: Bus, keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A leaked key is refused after it is removed from the file. Proves R-AUTH-25."""
    monkeypatch.setattr(watched_copy, "POLL_SECONDS", 0.02)
    leaked, fresh = generate("ES256", 0), generate("ES256", 1)
    key_file.write(keys, KeyRing((leaked,)))
    async with replica(backing, keys=keys):
        logged_in = await login(bus, (await create(bus)).username)
        gateway = TokenKeys(bus, SECRET)
        await gateway.start()
        try:
            await gateway.verify(logged_in.access_token)
            key_file.write(keys, KeyRing((fresh,)))
            async with asyncio.timeout(10):
                while True:
                    try:
                        await gateway.verify(logged_in.access_token)
                    except Unauthenticated:
                        break
                    await bus.settle()
            renewed = await refresh(bus, logged_in.refresh_token)
            await gateway.verify(renewed.access_token)
        finally:
            await gateway.stop()


async def test_invalid_key_file_keeps_the_previous_keys_in_use(
    backing: DevStack, bus: Bus, keys: Path
) -> None:
    """While the key file is not valid, the previous keys stay in use. Proves R-AUTH-25."""
    ring = KeyRing((generate("ES256", 0),))
    key_file.write(keys, ring)
    async with replica(backing, keys=keys):
        await asyncio.to_thread(keys.write_text, "{")
        logged_in = await login(bus, (await create(bus)).username)
        assert algorithm_and_key_id(logged_in)[0] == "ES256"
        rotated = rotate(ring, "Ed25519", int(time.time()), lead=0)
        key_file.write(keys, rotated)
        await until_published(bus, rotated)


async def test_unknown_keys_cause_one_read_in_30_seconds(
    backing: DevStack, bus: Bus, keys: Path
) -> None:
    """The gateway reads the keys at most once in 30 s, however many tokens name an unknown key. Proves R-AUTH-24."""
    key_file.write(keys, KeyRing((generate("ES256", 0),)))
    async with replica(backing, keys=keys):
        logged_in = await login(bus, (await create(bus)).username)
        unknown = [generate("ES256", 0).key for _ in range(5)]
        claims = await TokenKeys(bus, SECRET).verify(logged_in.access_token)
        forged = [tokens.sign(claims, key) for key in unknown]
        gateway, before = TokenKeys(bus, SECRET), key_requests()
        answers = await asyncio.gather(
            *(gateway.verify(each) for each in [*forged, logged_in.access_token] * 5),
            return_exceptions=True,
        )
        assert sum(isinstance(answer, Unauthenticated) for answer in answers) == 25
        assert key_requests() - before == 1
        gateway._answered_at -= token_keys.READ_AGAIN_SECONDS - 20
        with pytest.raises(Unauthenticated):
            await gateway.verify(forged[0])
        assert key_requests() - before == 1
        gateway._answered_at -= 20
        with pytest.raises(Unauthenticated):
            await gateway.verify(forged[0])
        assert key_requests() - before == 2


async def test_unknown_key_is_unavailable_while_auth_does_not_answer(
    backing: DevStack, bus: Bus, keys: Path
) -> None:
    """The error is `unavailable`, not `unauthenticated`, which would log users out. Proves R-AUTH-24."""
    key_file.write(keys, KeyRing((generate("ES256", 0),)))
    gateway = TokenKeys(bus, SECRET)
    async with replica(backing, keys=keys):
        logged_in = await login(bus, (await create(bus)).username)
    for _ in range(2):
        with pytest.raises(Unavailable):
            await gateway.verify(logged_in.access_token)
    async with replica(backing, keys=keys):
        gateway._failed_at -= token_keys.RETRY_SECONDS
        await gateway.verify(logged_in.access_token)


async def test_unknown_keys_share_one_read_while_auth_hangs(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fifty tokens with unknown keys wait for a single read of the keys. Proves R-AUTH-24."""
    reads = 0
    asked, release = asyncio.Event(), asyncio.Event()

    async def hang(*_: object) -> None:
        nonlocal reads
        reads += 1
        asked.set()
        await release.wait()
        raise DeadlineExceeded

    monkeypatch.setattr(bus, "ask", hang)
    monkeypatch.setattr(token_keys, "RETRY_SECONDS", 60.0)
    now = int(time.time())
    claims = tokens.AccessClaims("u", "ada", Role.EDITOR, "s", "t", now, now + 60)
    forged = [tokens.sign(claims, generate("ES256", 0).key) for _ in range(50)]
    gateway = TokenKeys(bus, SECRET)
    verifying = asyncio.gather(*(gateway.verify(each) for each in forged), return_exceptions=True)
    await asked.wait()
    release.set()
    errors = await verifying
    assert all(isinstance(error, Unavailable | DeadlineExceeded) for error in errors)
    assert reads == 1
    with pytest.raises(Unavailable):
        await gateway.verify(forged[0])
    assert reads == 1
    gateway._failed_at -= token_keys.RETRY_SECONDS
    with pytest.raises(DeadlineExceeded):
        await gateway.verify(forged[0])
    assert reads == 2


async def test_gateway_without_any_key_is_not_ready(
    backing: DevStack, bus: Bus, keys: Path
) -> None:
    """A gateway without keys is not ready, because it could only refuse tokens. Proves R-AUTH-24."""
    gateway = TokenKeys(bus, "")
    with pytest.raises(ConnectionError):
        await gateway.ready()
    await TokenKeys(bus, SECRET).ready()
    async with replica(backing, keys=keys):
        await gateway.start()
        try:
            async with asyncio.timeout(10):
                while True:
                    try:
                        await gateway.ready()
                        break
                    except ConnectionError:
                        await bus.settle()
        finally:
            await gateway.stop()


async def test_verified_token_expires_at_its_time(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The signature of a verified token is not checked again, but its expiry is. Proves R-AUTH-1."""
    now = int(time.time())
    claims = tokens.AccessClaims("u", "ada", Role.EDITOR, "s", "t", now, now + 60)
    token = tokens.sign(claims, secret_key(SECRET))
    gateway = TokenKeys(bus, SECRET)
    assert await gateway.verify(token) == claims
    with monkeypatch.context() as patched:
        patched.setattr(tokens, "verify", None)
        assert await gateway.verify(token) == claims
    monkeypatch.setattr(time, "time", lambda: tokens.accepted_until(now + 60))
    with pytest.raises(Unauthenticated):
        await gateway.verify(token)


async def test_number_of_remembered_verified_tokens_is_bounded(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gateway forgets the oldest verified tokens, so frequent refreshes do not fill its memory. Proves R-AUTH-1."""
    monkeypatch.setattr(token_keys, "MAX_VERIFIED", 3)
    gateway, now = TokenKeys(bus, SECRET), int(time.time())
    for number in range(10):
        claims = tokens.AccessClaims("u", "ada", Role.EDITOR, "s", str(number), now, now + 60)
        await gateway.verify(tokens.sign(claims, secret_key(SECRET)))
    assert [claims.token_id for claims, _ in gateway._verified.values()] == ["7", "8", "9"]
