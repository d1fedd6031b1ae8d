"""Access tokens: what is signed is what is read, and nothing else is."""

import base64
import json
import time
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import OctKey, RSAKey

from svgx_common import tokens
from svgx_common.caller import Caller
from svgx_common.contract.errors import Unauthenticated
from svgx_common.contract.policy import Role

SECRET = "a secret of at least thirty-two bytes"


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
    read = tokens.verify(tokens.sign(said, SECRET), SECRET)
    assert read == said
    assert read.caller() == Caller("u", "ann", Role.EDITOR, "s", 3)


@pytest.mark.parametrize(
    "bad",
    [
        "",
        "not a token",
        "x" * 10_000,
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
        tokens.verify(bad, SECRET)


def test_an_unsigned_token_is_refused() -> None:
    """Proves R-AUTH-1 for `alg: none`."""

    def part(value: dict[str, Any]) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    unsigned = f"{part({'alg': 'none', 'typ': tokens.TYPE})}.{part(claims())}."
    with pytest.raises(Unauthenticated):
        tokens.verify(unsigned, SECRET)


def test_a_token_signed_with_a_public_key_as_secret_is_refused() -> None:
    """Proves R-AUTH-1 for key confusion: only HS256 with our secret counts."""
    key = RSAKey.generate_key(2048, private=True)
    confused = jwt.encode({"alg": "RS256", "typ": tokens.TYPE}, claims(), key, algorithms=["RS256"])
    with pytest.raises(Unauthenticated):
        tokens.verify(confused, SECRET)


def test_one_changed_byte_is_refused() -> None:
    """Proves R-AUTH-1."""
    good = token(claims())
    head, body, signature = good.split(".")
    other = json.loads(base64.urlsafe_b64decode(body + "==")) | {"role": "admin"}
    forged = base64.urlsafe_b64encode(json.dumps(other).encode()).rstrip(b"=").decode()
    assert tokens.verify(good, SECRET).role is Role.EDITOR
    with pytest.raises(Unauthenticated):
        tokens.verify(f"{head}.{forged}.{signature}", SECRET)
