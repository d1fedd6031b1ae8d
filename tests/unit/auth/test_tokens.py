"""Access tokens: what is signed is what is read, and nothing else is."""

import base64
import hashlib
import hmac
import json
import time
from typing import Any

import pytest
from joserfc import jws, jwt
from joserfc.jwk import OctKey, RSAKey
from joserfc.jws import JWSRegistry

from svgx_auth.rotate_keys import generate
from svgx_common.contract.errors import Unauthenticated
from svgx_common.contract.policy import Role
from svgx_common.messaging.caller import Caller
from svgx_common.tokens import access_tokens as tokens
from svgx_common.tokens.signing_keys import CheckingKeys, UnknownKey, read_key, secret_key

SECRET = "a secret of at least thirty-two bytes"
KEYS = CheckingKeys(secret_key(SECRET))


def claims(**changes: Any) -> dict[str, Any]:
    """The payload of a good token, with changes; a value of None leaves the claim out."""
    now = int(time.time())
    payload = {
        "iss": tokens.ISSUER,
        "aud": tokens.AUDIENCE,
        "sub": "u",
        "name": "ann",
        "role": "editor",
        "sid": "s",
        "jti": "j",
        "ver": 0,
        "iat": now,
        "nbf": now,
        "exp": now + 60,
    } | changes
    return {name: value for name, value in payload.items() if value is not None}


def token(
    payload: dict[str, Any], *, alg: str = "HS256", typ: str = tokens.TYPE, secret: str = SECRET
) -> str:
    return jwt.encode(
        {"alg": alg, "typ": typ}, payload, OctKey.import_key(secret), algorithms=[alg]
    )


def test_what_is_signed_is_read() -> None:
    """Proves R-AUTH-1."""
    now = int(time.time())
    said = tokens.AccessClaims("u", "ann", Role.EDITOR, "s", "j", now, now + 60, 3)
    read = tokens.verify(tokens.sign(said, secret_key(SECRET)), KEYS)
    assert read == said
    assert read.caller() == Caller("u", "ann", Role.EDITOR, "s", 3)


@pytest.mark.parametrize(
    "bad",
    [
        "",
        "not a token",
        "x" * 10_000,
        base64.urlsafe_b64encode(b"[" * 3000).decode() + ".a.b",
        token(claims(), secret="another secret of at least thirty-two"),
        token(claims(), alg="HS512"),
        token(claims(), typ="JWT"),
        token(claims(iss="someone")),
        token(claims(aud="somewhere")),
        token(claims(exp=int(time.time()) - 60)),
        token(claims(exp=None)),
        token(claims(nbf=int(time.time()) + 60)),
        token(claims(nbf=None)),
        token(claims(iss=None)),
        token(claims(aud=None)),
        token(claims(sub=None)),
        token(claims(role="emperor")),
        token(claims(sid=None)),
        token(claims(ver=None)),
        token(claims(ver="latest")),
    ],
)
def test_everything_else_is_refused(bad: str) -> None:
    """Proves R-AUTH-1: signature, algorithm, type, issuer, audience and times."""
    with pytest.raises(Unauthenticated):
        tokens.verify(bad, KEYS)


def test_its_end_is_the_same_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Proves R-AUTH-19: it counts until what is revoked may be forgotten, and not a moment longer."""
    now = int(time.time())
    said = tokens.AccessClaims("u", "ann", Role.EDITOR, "s", "j", now, now + 60)
    signed = tokens.sign(said, secret_key(SECRET))
    until = tokens.accepted_until(said.expires_at)
    monkeypatch.setattr(time, "time", lambda: until - 0.001)
    assert tokens.verify(signed, KEYS) == said
    assert not said.expired()
    monkeypatch.setattr(time, "time", lambda: float(until))
    with pytest.raises(Unauthenticated):
        tokens.verify(signed, KEYS)
    assert said.expired()


def test_an_unsigned_token_is_refused() -> None:
    """Proves R-AUTH-1 for `alg: none`."""

    def part(value: dict[str, Any]) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    unsigned = f"{part({'alg': 'none', 'typ': tokens.TYPE})}.{part(claims())}."
    with pytest.raises(Unauthenticated):
        tokens.verify(unsigned, KEYS)


def test_a_token_signed_with_a_public_key_as_secret_is_refused() -> None:
    """Proves R-AUTH-1 for key confusion: only HS256 with our secret counts."""
    key = RSAKey.generate_key(2048, private=True)
    confused = jwt.encode({"alg": "RS256", "typ": tokens.TYPE}, claims(), key, algorithms=["RS256"])
    with pytest.raises(Unauthenticated):
        tokens.verify(confused, KEYS)


def test_one_changed_byte_is_refused() -> None:
    """Proves R-AUTH-1."""
    good = token(claims())
    head, body, signature = good.split(".")
    other = json.loads(base64.urlsafe_b64decode(body + "==")) | {"role": "admin"}
    forged = base64.urlsafe_b64encode(json.dumps(other).encode()).rstrip(b"=").decode()
    assert tokens.verify(good, KEYS).role is Role.EDITOR
    with pytest.raises(Unauthenticated):
        tokens.verify(f"{head}.{forged}.{signature}", KEYS)


NAMED = {algorithm: generate(algorithm, 0).key for algorithm in ("Ed25519", "ES256", "RS256")}
PUBLIC = {str(key.key_id): read_key(key.key.as_dict(private=False)) for key in NAMED.values()}
BOTH = CheckingKeys(secret_key(SECRET), PUBLIC)


def by_hand(header: dict[str, Any], secret: bytes) -> str:
    """A token signed with HMAC-SHA256, as an attacker would: no library does this."""

    def part(content: bytes) -> str:
        return base64.urlsafe_b64encode(content).rstrip(b"=").decode()

    signed = f"{part(json.dumps(header).encode())}.{part(json.dumps(claims()).encode())}"
    return f"{signed}.{part(hmac.digest(secret, signed.encode(), hashlib.sha256))}"


def test_what_is_signed_by_hand_counts() -> None:
    """Proves R-AUTH-24: the forged ones below fail for what they are, and not for how they are made."""
    good = by_hand({"alg": "HS256", "typ": tokens.TYPE}, SECRET.encode())
    assert tokens.verify(good, BOTH).user_id == "u"
    key = NAMED["Ed25519"]
    assert tokens.verify(crafted({"kid": key.key_id}, key.key, "Ed25519"), BOTH).user_id == "u"


def crafted(header: dict[str, Any], key: Any, algorithm: str) -> str:
    """A token with any header, properly signed."""
    registry = JWSRegistry(algorithms=[algorithm], strict_check_header=False)
    return jws.serialize_compact(
        {"alg": algorithm, "typ": tokens.TYPE} | header,
        json.dumps(claims()).encode(),
        key,
        registry=registry,
    )


@pytest.mark.parametrize("algorithm", list(NAMED))
def test_a_named_key_signs(algorithm: str) -> None:
    """Proves R-AUTH-24: the public key is enough to check, and another is not."""
    now = int(time.time())
    said = tokens.AccessClaims("u", "ann", Role.EDITOR, "s", "j", now, now + 60, 3)
    signed = tokens.sign(said, NAMED[algorithm])
    assert tokens.verify(signed, CheckingKeys(None, PUBLIC)) == said
    for other in set(NAMED) - {algorithm}:
        key_id = str(NAMED[algorithm].key_id)
        mixed = CheckingKeys(None, {key_id: PUBLIC[str(NAMED[other].key_id)]})
        with pytest.raises(Unauthenticated):
            tokens.verify(signed, mixed)


def test_a_public_key_is_no_secret() -> None:
    """Proves R-AUTH-24 for key confusion: HS256, with what everybody can read as the secret."""
    for key in NAMED.values():
        assert not isinstance(key.key, OctKey)
        for public in (key.key.as_pem(private=False), key.key.as_bytes(private=False)):
            for named in ({"kid": key.key_id}, {}):
                header = {"alg": "HS256", "typ": tokens.TYPE} | named
                with pytest.raises(Unauthenticated):
                    tokens.verify(by_hand(header, public), BOTH)


def test_a_key_has_one_algorithm() -> None:
    """Proves R-AUTH-24: the token does not choose another."""
    key = NAMED["RS256"]
    for algorithm in ("RS384", "RS512", "PS256"):
        other = RSAKey.import_key(
            {
                name: value
                for name, value in key.key.as_dict(private=True).items()
                if name not in ("alg", "use")
            }
        )
        forged = crafted({"kid": key.key_id}, other, algorithm)
        with pytest.raises(Unauthenticated):
            tokens.verify(forged, BOTH)


def test_an_unknown_key_is_said_to_be_unknown() -> None:
    """Proves R-AUTH-24: to the gateway, which then asks; to the caller it is like all others."""
    stranger = generate("Ed25519", 0).key
    signed = crafted({"kid": stranger.key_id}, stranger.key, "Ed25519")
    with pytest.raises(UnknownKey) as unknown:
        tokens.verify(signed, BOTH)
    with pytest.raises(Unauthenticated) as refused:
        tokens.verify("garbage", BOTH)
    assert unknown.value.body() == refused.value.body()
    with pytest.raises(UnknownKey):
        tokens.verify(token(claims()), CheckingKeys(None, PUBLIC))


@pytest.mark.parametrize("name", ["jku", "jwk", "x5u", "x5c", "crit", "zip"])
def test_a_token_brings_no_key(name: str) -> None:
    """Proves R-AUTH-24 for `jku` and its like: refused even when the signature is good."""
    key = NAMED["Ed25519"]
    values: dict[str, Any] = {
        "jwk": key.key.as_dict(private=False),
        "x5c": ["MII="],
        "crit": ["exp"],
        "zip": "DEF",
    }
    value = values.get(name, "https://keys.example.org/jwks.json")
    head, body, _ = crafted({"kid": key.key_id}, key.key, "Ed25519").split(".")
    header = json.loads(base64.urlsafe_b64decode(head + "=="))
    part = base64.urlsafe_b64encode(json.dumps(header | {name: value}).encode()).rstrip(b"=")
    signed = part + b"." + body.encode()
    signature = key.key.private_key.sign(signed)  # type: ignore[union-attr, call-arg]
    whole = (signed + b"." + base64.urlsafe_b64encode(signature).rstrip(b"=")).decode()
    with pytest.raises(Unauthenticated):
        tokens.verify(whole, BOTH)


@pytest.mark.parametrize("kid", [1, True, None, [], {}, "", "x" * 1000])
def test_a_name_that_is_none(kid: Any) -> None:
    """Proves R-AUTH-24: null is a name too, and not the lack of one."""
    header = {"alg": "HS256", "typ": tokens.TYPE, "kid": kid}
    with pytest.raises(Unauthenticated):
        tokens.verify(by_hand(header, SECRET.encode()), BOTH)
