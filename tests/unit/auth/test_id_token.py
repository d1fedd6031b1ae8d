"""The check of valid and forged ID tokens."""

import base64
import hmac
import json
import time
from typing import Any

import pytest
from joserfc import jws, jwt
from joserfc.jwk import ECKey, KeySet, OctKey, OKPKey, RSAKey

from svgx_auth.oidc import id_token
from svgx_auth.oidc.id_token import InvalidIdToken

ISSUER, CLIENT, NONCE = "https://id.example.org", "svgx", "n" * 43
RSA = RSAKey.generate_key(2048, parameters={"kid": "rsa"})
EC = ECKey.generate_key("P-256", parameters={"kid": "ec"})
ED = OKPKey.generate_key("Ed25519", parameters={"kid": "ed"})
OTHER_RSA = RSAKey.generate_key(2048, parameters={"kid": "rsa"})
KEYS = KeySet.import_key_set({"keys": [key.as_dict(private=False) for key in (RSA, EC, ED)]})


def claims(**changed: Any) -> dict[str, Any]:
    """Return valid claims with changes. None leaves a claim out."""
    now = int(time.time())
    payload = {
        "iss": ISSUER,
        "aud": CLIENT,
        "sub": "ada",
        "exp": now + 60,
        "iat": now,
        "nonce": NONCE,
        **changed,
    }
    return {name: value for name, value in payload.items() if value is not None}


def read(token: object) -> dict[str, Any]:
    return id_token.read(token, KEYS, issuer=ISSUER, client_id=CLIENT, nonce=NONCE)


@pytest.mark.parametrize(
    ("key", "algorithm"), [(RSA, "RS256"), (RSA, "PS256"), (EC, "ES256"), (ED, "Ed25519")]
)
def test_token_signed_by_the_provider_is_accepted(
    key: RSAKey | ECKey | OKPKey, algorithm: str
) -> None:
    """Proves R-AUTH-32: a token that the provider signed is accepted, with each kind of key."""
    token = jwt.encode({"alg": algorithm, "kid": key.kid}, claims(), key, algorithms=[algorithm])
    assert read(token)["sub"] == "ada"


@pytest.mark.parametrize(
    "changed",
    [
        {"iss": "https://evil.example.org"},
        {"iss": None},
        {"aud": "another"},
        {"aud": ["another"]},
        {"aud": None},
        {"aud": [CLIENT, "another"]},
        {"aud": [CLIENT, "another"], "azp": "another"},
        {"azp": "another"},
        {"exp": -id_token.LEEWAY_SECONDS - 5},
        {"exp": None},
        {"iat": None},
        {"iat": 3600},
        {"nonce": "another"},
        {"nonce": None},
        {"sub": None},
        {"sub": ""},
        {"sub": 7},
        {"sub": "x" * 256},
        {"sub": "a\0b"},
        {"sub": "a\ud800"},
        {"sub": "\udc00b"},
    ],
    ids=ascii,
)
def test_token_with_wrong_claims_is_refused(changed: dict[str, Any]) -> None:
    """Proves R-AUTH-32: a token with a wrong or missing claim is refused, although its signature is valid.

    Times in `changed` are in seconds from now, so that the names of the cases are always the same.
    """
    now = int(time.time())
    moved = {
        name: now + value
        for name, value in changed.items()
        if name in ("exp", "iat") and value is not None
    }
    # JSON in ASCII may have a lone surrogate as an escape.
    payload = json.dumps(claims(**{**changed, **moved})).encode()
    token = jws.serialize_compact({"alg": "RS256", "kid": "rsa"}, payload, RSA)
    with pytest.raises(InvalidIdToken):
        read(token)


def test_token_for_several_audiences_is_accepted_with_an_authorized_party() -> None:
    """Proves R-AUTH-32: a token for several audiences is accepted when this client is the authorized party."""
    token = jwt.encode(
        {"alg": "RS256", "kid": "rsa"}, claims(aud=[CLIENT, "another"], azp=CLIENT), RSA
    )
    assert read(token)["azp"] == CLIENT


def hmac_token(header: dict[str, str], secret: bytes) -> str:
    """Return a token signed with HMAC-SHA256 without a library, because libraries refuse a public key as secret."""

    def part(content: bytes) -> str:
        return base64.urlsafe_b64encode(content).rstrip(b"=").decode()

    signed = f"{part(json.dumps(header).encode())}.{part(json.dumps(claims()).encode())}"
    return f"{signed}.{part(hmac.digest(secret, signed.encode(), 'sha256'))}"


def test_token_without_the_providers_signature_is_refused() -> None:
    """Proves R-AUTH-32: a token without the provider's signature is refused.

    The forged tokens use another key, the public key as a secret, a shared secret, no signature, or a key that the
    token itself contains. A changed body, an unknown `kid` and values that are no tokens are refused too.
    """
    embedded_key = {"alg": "RS256", "jwk": OTHER_RSA.as_dict(private=False)}
    secret = OctKey.import_key("not a secret: a test, and long enough")
    good = jwt.encode({"alg": "RS256", "kid": "rsa"}, claims(), RSA)
    head, body, signature = good.split(".")
    for token in (
        jwt.encode({"alg": "RS256", "kid": "rsa"}, claims(), OTHER_RSA),
        jwt.encode(embedded_key, claims(), OTHER_RSA),
        hmac_token({"alg": "HS256", "kid": "rsa"}, RSA.as_pem(private=False)),
        jwt.encode({"alg": "HS256"}, claims(), secret),
        hmac_token({"alg": "none"}, b"").rpartition(".")[0] + ".",
        jwt.encode({"alg": "RS256", "kid": "unknown"}, claims(), RSA),
        f"{head}.{body}.",
        f"{head}.{body[:-2]}AA.{signature}",
        "",
        "x.y.z",
        None,
        7,
    ):
        with pytest.raises(InvalidIdToken):
            read(token)
