"""Access tokens: JWTs of type `at+jwt` (RFC 9068). Auth signs them; the gateway verifies them without asking auth."""

import base64
import contextlib
import json
import time
from dataclasses import dataclass
from typing import Any

from joserfc import jwt
from joserfc.errors import BadSignatureError, JoseError

from svgx_common.contract.errors import Unauthenticated
from svgx_common.contract.policy import Role
from svgx_common.messaging.caller import Caller
from svgx_common.tokens.signing_keys import CheckingKeys, TokenKey

ISSUER = "svgx-engine"
AUDIENCE = "svgx-engine"
TYPE = "at+jwt"
_HEADER_FIELDS = {"alg", "typ", "kid"}
"""The allowed header fields. A token that names the source of its key (`jku`, `jwk`, `x5u`) is refused."""

MAX_TOKEN_CHARACTERS = 8192
"""Maximum length of a token in characters. A longer token is refused before it is parsed."""

LEEWAY_SECONDS = 5
"""Maximum difference between the clocks of two machines, in seconds."""


@dataclass(frozen=True, slots=True)
class AccessClaims:
    """The claims of an access token. Times are in Unix seconds."""

    user_id: str
    username: str
    role: Role
    session_id: str
    token_id: str
    issued_at: int
    expires_at: int
    token_version: int = 0
    """The account's token version when the token was issued. A change of the role ends tokens of earlier versions."""

    def caller(self) -> Caller:
        """Return the caller that the token authenticates."""
        return Caller(self.user_id, self.username, self.role, self.session_id, self.token_version)

    def expired(self) -> bool:
        """Return whether the token expired at least `LEEWAY_SECONDS` ago."""
        return accepted_until(self.expires_at) <= time.time()


def accepted_until(expires_at: int) -> int:
    """Return the Unix time from which every gateway refuses a token with this expiry time.

    Revocations are kept until this time, because the token would be valid again after an earlier deletion.
    """
    return expires_at + LEEWAY_SECONDS


def sign(claims: AccessClaims, key: TokenKey) -> str:
    """Return a token with these claims, signed with `key`."""
    payload = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": claims.user_id,
        "name": claims.username,
        "role": claims.role.value,
        "sid": claims.session_id,
        "jti": claims.token_id,
        "ver": claims.token_version,
        "iat": claims.issued_at,
        "nbf": claims.issued_at,
        "exp": claims.expires_at,
    }
    header = {"alg": key.algorithm, "typ": TYPE}
    if key.key_id is not None:
        header["kid"] = key.key_id
    return jwt.encode(header, payload, key.key, algorithms=[key.algorithm])


def verify(token: str, keys: CheckingKeys) -> AccessClaims:
    """Verify signature, algorithm, type, issuer, audience and times, and return the claims.

    Raise `UnknownKey` if `keys` lacks the key that the token names. Raise it also if the token names no key and `keys`
    has no secret. Raise `Unauthenticated` for any other mistake. The error never names the mistake, because the name
    would help an attacker.
    """
    refusal = Unauthenticated("the access token is missing, expired or not valid")
    if not token or len(token) > MAX_TOKEN_CHARACTERS:
        raise refusal
    try:
        header = _header(token)
        if header.get("typ") != TYPE or set(header) - _HEADER_FIELDS:
            raise refusal
        claims = _decode(token, keys.find(str(header["kid"]) if "kid" in header else None))
        jwt.JWTClaimsRegistry(
            now=int(time.time()),
            leeway=LEEWAY_SECONDS,
            iss={"essential": True, "value": ISSUER},
            aud={"essential": True, "value": AUDIENCE},
            exp={"essential": True},
            nbf={"essential": True},
            sub={"essential": True},
        ).validate(claims)
        return AccessClaims(
            user_id=str(claims["sub"]),
            username=str(claims["name"]),
            role=Role(claims["role"]),
            session_id=str(claims["sid"]),
            token_id=str(claims["jti"]),
            issued_at=int(claims["iat"]),
            expires_at=int(claims["exp"]),
            token_version=int(claims["ver"]),
        )
    except (JoseError, ValueError, KeyError, TypeError, RecursionError):
        raise refusal from None


def _decode(token: str, keys: tuple[TokenKey, ...]) -> dict[str, Any]:
    """Return the claims of a token that one of the keys has signed. Raise a `JoseError` otherwise."""
    for key in keys[:-1]:
        with contextlib.suppress(BadSignatureError):
            return jwt.decode(token, key.key, algorithms=[key.algorithm]).claims
    return jwt.decode(token, keys[-1].key, algorithms=[keys[-1].algorithm]).claims


def _header(token: str) -> dict[str, Any]:
    """Return the token's header without verifying it, because it only selects one of the known keys.

    Raise `ValueError` for a header that is not a JSON object.
    """
    part = token.partition(".")[0]
    header = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    if not isinstance(header, dict):
        raise ValueError("not an object")
    return header
