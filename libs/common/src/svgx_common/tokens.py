"""Access tokens: JWTs of type `at+jwt` (RFC 9068), signed by auth and checked by the gateway without asking it."""

import time
from dataclasses import dataclass

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OctKey

from svgx_common.caller import Caller
from svgx_common.contract.errors import Unauthenticated
from svgx_common.contract.policy import Role

ISSUER = "svgx-engine"
AUDIENCE = "svgx-engine"
TYPE = "at+jwt"
ALGORITHMS = ["HS256"]
"""The only algorithms a token may name, whatever its header says."""

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


def sign(claims: AccessClaims, secret: str) -> str:
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
    header = {"alg": ALGORITHMS[0], "typ": TYPE}
    return jwt.encode(header, payload, _key(secret), algorithms=ALGORITHMS)


def verify(token: str, secret: str) -> AccessClaims:
    """Check signature, algorithm, type, issuer, audience and times. Raises `Unauthenticated`, never saying which."""
    refused = Unauthenticated("the access token is missing, expired or not valid")
    if not token or len(token) > MAX_TOKEN:
        raise refused
    try:
        decoded = jwt.decode(token, _key(secret), algorithms=ALGORITHMS)
        if decoded.header.get("typ") != TYPE:
            raise refused
        claims = decoded.claims
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
    except (JoseError, ValueError, KeyError, TypeError):
        raise refused from None


def _key(secret: str) -> OctKey:
    return OctKey.import_key(secret)
