"""ID tokens: what a provider says of somebody, and whether it is the provider that says it, to us, now."""

import time
from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

ALGORITHMS = ["RS256", "PS256", "ES256", "Ed25519", "EdDSA"]
"""Asymmetric ones only: with others whoever knows the client secret, or nothing, could sign."""

LEEWAY = 30
"""Seconds the provider's clock may differ."""

MAX_SUBJECT = 255
"""Characters (OpenID Connect Core, 2)."""


class NotValid(Exception):
    """The token does not count. Says why, without what is in it."""


def read(token: object, keys: KeySet, *, issuer: str, client_id: str, nonce: str) -> dict[str, Any]:
    """The claims of an ID token (OpenID Connect Core, 3.1.3.7). Raises `NotValid`."""
    if not isinstance(token, str):
        raise NotValid("there is no ID token")
    try:
        claims = jwt.decode(token, keys, algorithms=ALGORITHMS).claims
        jwt.JWTClaimsRegistry(
            now=int(time.time()),
            leeway=LEEWAY,
            iss={"essential": True, "value": issuer},
            aud={"essential": True, "value": client_id},
            exp={"essential": True},
            iat={"essential": True},
            sub={"essential": True},
            nonce={"essential": True, "value": nonce},
        ).validate(claims)
    except (JoseError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise NotValid(type(error).__name__) from None
    audience = claims["aud"]
    if isinstance(audience, list) and len(audience) > 1 and "azp" not in claims:
        raise NotValid("it is for several, and does not say for whom")
    if claims.get("azp", client_id) != client_id:
        raise NotValid("it is for another client")
    subject = claims["sub"]
    if not isinstance(subject, str) or not 0 < len(subject) <= MAX_SUBJECT or "\0" in subject:
        raise NotValid("its subject is none")
    return claims
