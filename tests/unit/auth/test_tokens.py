"""Access tokens: signing, and the check of valid and forged tokens."""

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
VALID_SECONDS = 3600
KEYS = CheckingKeys(secret_key(SECRET))


def claims(**changes: Any) -> dict[str, Any]:
    """Return the payload of a valid token with changes. None leaves a claim out.

    The token is valid for `VALID_SECONDS`, because parametrized tokens are made long before their tests run.
    """
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
        "exp": now + VALID_SECONDS,
    } | changes
    return {name: value for name, value in payload.items() if value is not None}


def token(
    payload: dict[str, Any], *, alg: str = "HS256", typ: str = tokens.TYPE, secret: str = SECRET
) -> str:
    return jwt.encode(
        {"alg": alg, "typ": typ}, payload, OctKey.import_key(secret), algorithms=[alg]
    )


def test_verified_token_has_the_signed_claims() -> None:
    """Proves R-AUTH-1: verifying a token returns the signed claims."""
    now = int(time.time())
    signed = tokens.AccessClaims("u", "ann", Role.EDITOR, "s", "j", now, now + 60, 3)
    verified = tokens.verify(tokens.sign(signed, secret_key(SECRET)), KEYS)
    assert verified == signed
    assert verified.caller() == Caller("u", "ann", Role.EDITOR, "s", 3)


@pytest.mark.parametrize(
    "order", [(SECRET, "the other secret " * 2), ("the other secret " * 2, SECRET)]
)
def test_token_of_either_secret_is_valid_while_one_is_replaced(order: tuple[str, str]) -> None:
    """Proves R-AUTH-45: the order of the two secrets does not matter, and a third secret is refused."""
    keys = CheckingKeys(secret_key(order[0]), other_secret=secret_key(order[1]))
    for secret in order:
        assert tokens.verify(token(claims(), secret=secret), keys).user_id == "u"
    for bad in (
        token(claims(), secret="a third secret of at least thirty-two"),
        token(claims(exp=int(time.time()) - 60), secret=order[0]),
        token(claims(exp=int(time.time()) - 60), secret=order[1]),
        token(claims(), alg="HS512"),
    ):
        with pytest.raises(Unauthenticated):
            tokens.verify(bad, keys)
    # A gateway may have only `JWT_OTHER_SECRET`.
    only_other = CheckingKeys(other_secret=secret_key(SECRET))
    assert tokens.verify(token(claims()), only_other).user_id == "u"


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
        token(claims(nbf=int(time.time()) + VALID_SECONDS)),
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
def test_invalid_token_is_refused(bad: str) -> None:
    """Proves R-AUTH-1: a wrong signature, algorithm, type, issuer, audience or time is refused."""
    with pytest.raises(Unauthenticated):
        tokens.verify(bad, KEYS)


def test_token_expires_when_its_revocation_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Proves R-AUTH-19: a token is valid exactly until the time at which its revocation is forgotten."""
    now = int(time.time())
    claims = tokens.AccessClaims("u", "ann", Role.EDITOR, "s", "j", now, now + 60)
    signed = tokens.sign(claims, secret_key(SECRET))
    until = tokens.accepted_until(claims.expires_at)
    monkeypatch.setattr(time, "time", lambda: until - 0.001)
    assert tokens.verify(signed, KEYS) == claims
    assert not claims.expired()
    monkeypatch.setattr(time, "time", lambda: float(until))
    with pytest.raises(Unauthenticated):
        tokens.verify(signed, KEYS)
    assert claims.expired()


def test_unsigned_token_is_refused() -> None:
    """Proves R-AUTH-1: a token with `alg: none` is refused."""

    def part(value: dict[str, Any]) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    unsigned = f"{part({'alg': 'none', 'typ': tokens.TYPE})}.{part(claims())}."
    with pytest.raises(Unauthenticated):
        tokens.verify(unsigned, KEYS)


def test_token_signed_with_another_algorithm_is_refused() -> None:
    """Proves R-AUTH-1: a token signed with RS256 is refused by a server that has only a secret."""
    key = RSAKey.generate_key(2048, private=True)
    confused = jwt.encode({"alg": "RS256", "typ": tokens.TYPE}, claims(), key, algorithms=["RS256"])
    with pytest.raises(Unauthenticated):
        tokens.verify(confused, KEYS)


def test_changed_claims_are_refused() -> None:
    """Proves R-AUTH-1: a token with changed claims is refused."""
    good = token(claims())
    head, body, signature = good.split(".")
    other = json.loads(base64.urlsafe_b64decode(body + "==")) | {"role": "admin"}
    forged = base64.urlsafe_b64encode(json.dumps(other).encode()).rstrip(b"=").decode()
    assert tokens.verify(good, KEYS).role is Role.EDITOR
    with pytest.raises(Unauthenticated):
        tokens.verify(f"{head}.{forged}.{signature}", KEYS)


PRIVATE_KEYS = {
    algorithm: generate(algorithm, 0).key for algorithm in ("Ed25519", "ES256", "RS256")
}
PUBLIC_KEYS = {
    str(key.key_id): read_key(key.key.as_dict(private=False)) for key in PRIVATE_KEYS.values()
}
ALL_KEYS = CheckingKeys(secret_key(SECRET), PUBLIC_KEYS)


def sign_by_hand(header: dict[str, Any], secret: bytes) -> str:
    """Return a token signed with HMAC-SHA256 without a library, because libraries refuse a public key as secret."""

    def part(content: bytes) -> str:
        return base64.urlsafe_b64encode(content).rstrip(b"=").decode()

    signed = f"{part(json.dumps(header).encode())}.{part(json.dumps(claims()).encode())}"
    return f"{signed}.{part(hmac.digest(secret, signed.encode(), hashlib.sha256))}"


def test_valid_tokens_made_by_hand_are_accepted() -> None:
    """Proves R-AUTH-24: valid tokens made by `sign_by_hand` and `sign_with_header` are accepted.

    So the tests below refuse forged tokens because of their content, and not because of a mistake of these helpers.
    """
    good = sign_by_hand({"alg": "HS256", "typ": tokens.TYPE}, SECRET.encode())
    assert tokens.verify(good, ALL_KEYS).user_id == "u"
    key = PRIVATE_KEYS["Ed25519"]
    assert (
        tokens.verify(sign_with_header({"kid": key.key_id}, key.key, "Ed25519"), ALL_KEYS).user_id
        == "u"
    )


def sign_with_header(header: dict[str, Any], key: Any, algorithm: str) -> str:
    """Return a token with these header fields and a valid signature."""
    registry = JWSRegistry(algorithms=[algorithm], strict_check_header=False)
    return jws.serialize_compact(
        {"alg": algorithm, "typ": tokens.TYPE} | header,
        json.dumps(claims()).encode(),
        key,
        registry=registry,
    )


@pytest.mark.parametrize("algorithm", list(PRIVATE_KEYS))
def test_token_is_checked_only_with_the_key_of_its_kid(algorithm: str) -> None:
    """Proves R-AUTH-24: a token is checked with the public key of its `kid`, and with no other key."""
    now = int(time.time())
    claims = tokens.AccessClaims("u", "ann", Role.EDITOR, "s", "j", now, now + 60, 3)
    signed = tokens.sign(claims, PRIVATE_KEYS[algorithm])
    assert tokens.verify(signed, CheckingKeys(None, PUBLIC_KEYS)) == claims
    for other in set(PRIVATE_KEYS) - {algorithm}:
        key_id = str(PRIVATE_KEYS[algorithm].key_id)
        mixed_keys = CheckingKeys(None, {key_id: PUBLIC_KEYS[str(PRIVATE_KEYS[other].key_id)]})
        with pytest.raises(Unauthenticated):
            tokens.verify(signed, mixed_keys)


def test_public_key_as_hmac_secret_is_refused() -> None:
    """Proves R-AUTH-24: a token signed with HS256 and a public key as the secret is refused (key confusion)."""
    for key in PRIVATE_KEYS.values():
        assert not isinstance(key.key, OctKey)
        for public in (key.key.as_pem(private=False), key.key.as_bytes(private=False)):
            for named in ({"kid": key.key_id}, {}):
                header = {"alg": "HS256", "typ": tokens.TYPE} | named
                with pytest.raises(Unauthenticated):
                    tokens.verify(sign_by_hand(header, public), ALL_KEYS)


def test_token_cannot_choose_another_algorithm_for_a_key() -> None:
    """Proves R-AUTH-24: a token is refused when its algorithm is not the algorithm of its key."""
    key = PRIVATE_KEYS["RS256"]
    for algorithm in ("RS384", "RS512", "PS256"):
        other = RSAKey.import_key(
            {
                name: value
                for name, value in key.key.as_dict(private=True).items()
                if name not in ("alg", "use")
            }
        )
        forged = sign_with_header({"kid": key.key_id}, other, algorithm)
        with pytest.raises(Unauthenticated):
            tokens.verify(forged, ALL_KEYS)


def test_token_of_an_unknown_key_raises_unknown_key() -> None:
    """Proves R-AUTH-24: an unknown key raises `UnknownKey`. Clients get the same error as for any invalid token.

    After `UnknownKey`, the gateway fetches the keys again.
    """
    unknown_key = generate("Ed25519", 0).key
    signed = sign_with_header({"kid": unknown_key.key_id}, unknown_key.key, "Ed25519")
    with pytest.raises(UnknownKey) as unknown:
        tokens.verify(signed, ALL_KEYS)
    with pytest.raises(Unauthenticated) as refused:
        tokens.verify("garbage", ALL_KEYS)
    assert unknown.value.body() == refused.value.body()
    with pytest.raises(UnknownKey):
        tokens.verify(token(claims()), CheckingKeys(None, PUBLIC_KEYS))


@pytest.mark.parametrize("name", ["jku", "jwk", "x5u", "x5c", "crit", "zip"])
def test_unsupported_header_field_is_refused(name: str) -> None:
    """Proves R-AUTH-24: a validly signed token is refused if its header has a key, a URL of a key, or an extension."""
    key = PRIVATE_KEYS["Ed25519"]
    values: dict[str, Any] = {
        "jwk": key.key.as_dict(private=False),
        "x5c": ["MII="],
        "crit": ["exp"],
        "zip": "DEF",
    }
    value = values.get(name, "https://keys.example.org/jwks.json")
    head, body, _ = sign_with_header({"kid": key.key_id}, key.key, "Ed25519").split(".")
    header = json.loads(base64.urlsafe_b64decode(head + "=="))
    part = base64.urlsafe_b64encode(json.dumps(header | {name: value}).encode()).rstrip(b"=")
    signed = part + b"." + body.encode()
    signature = key.key.private_key.sign(signed)  # type: ignore[union-attr, call-arg]
    whole = (signed + b"." + base64.urlsafe_b64encode(signature).rstrip(b"=")).decode()
    with pytest.raises(Unauthenticated):
        tokens.verify(whole, ALL_KEYS)


@pytest.mark.parametrize("kid", [1, True, None, [], {}, "", "x" * 1000])
def test_invalid_kid_is_refused(kid: Any) -> None:
    """Proves R-AUTH-24: an invalid `kid` is refused; null is an invalid `kid`, and not a missing one."""
    header = {"alg": "HS256", "typ": tokens.TYPE, "kid": kid}
    with pytest.raises(Unauthenticated):
        tokens.verify(sign_by_hand(header, SECRET.encode()), ALL_KEYS)
