"""Access tokens: JWTs of type `at+jwt` (RFC 9068), signed by auth and checked by the gateway without asking it."""

import base64
import json
import time
from dataclasses import dataclass
from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError

from svgx_common.contract.errors import Unauthenticated
from svgx_common.contract.policy import Role
from svgx_common.messaging.caller import Caller
from svgx_common.tokens.signing_keys import CheckingKeys, TokenKey

ISSUER = "svgx-engine"
AUDIENCE = "svgx-engine"
TYPE = "at+jwt"
_HEADER = {"alg", "typ", "kid"}
"""All that a header may hold: nothing in a token says where its key comes from (`jku`, `jwk`, `x5u`)."""

MAX_TOKEN = 8192
"""Characters of a token; longer ones are not looked at."""

LEEWAY = 5
"""Seconds two machines' clocks may differ."""


@dataclass(frozen=True, slots=True)
class AccessClaims:
    """What an access token says. Times are Unix seconds."""

    user_id: str
    username: str
    role: Role
    session_id: str
    token_id: str
    issued_at: int
    expires_at: int
    token_version: int = 0
    """The account's, when the token was issued: a change of role ends the tokens before it."""

    def caller(self) -> Caller:
        """The caller this token stands for."""
        return Caller(self.user_id, self.username, self.role, self.session_id, self.token_version)

    def over(self) -> bool:
        """Whether the token has ended by its time."""
        return counts_until(self.expires_at) <= time.time()


def counts_until(expires_at: int) -> int:
    """The Unix time from which a token with this end counts nowhere, revoked or not: what checks it and what remembers
    revocations must not differ.
    """
    return expires_at + LEEWAY


def sign(claims: AccessClaims, key: TokenKey) -> str:
    """The token that says `claims`."""
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
    """Check signature, algorithm, type, issuer, audience and times. Raises `Unauthenticated`, never saying which.

    `UnknownKey` is raised for a token that names a key which is not among `keys`.
    """
    refused = Unauthenticated("the access token is missing, expired or not valid")
    if not token or len(token) > MAX_TOKEN:
        raise refused
    try:
        header = _header(token)
        if header.get("typ") != TYPE or set(header) - _HEADER:
            raise refused
        key = keys.find(str(header["kid"])) if "kid" in header else keys.find(None)
        claims = jwt.decode(token, key.key, algorithms=[key.algorithm]).claims
        jwt.JWTClaimsRegistry(
            now=int(time.time()),
            leeway=LEEWAY,
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
        raise refused from None


def _header(token: str) -> dict[str, Any]:
    """What the token says of itself, unchecked: it only chooses among keys that are known. Raises `ValueError`."""
    part = token.partition(".")[0]
    header = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    if not isinstance(header, dict):
        raise ValueError("not an object")
    return header
