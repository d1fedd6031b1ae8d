"""ID tokens: a provider's signed claims about a user, and the check that they are authentic and meant for this client.

The check follows OpenID Connect Core, section 3.1.3.7.
"""

import time
from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from svgx_common.contract.fields.surrogates import has_surrogate

ALGORITHMS = ["RS256", "PS256", "ES256", "Ed25519", "EdDSA"]
"""Accepted algorithms, which are all asymmetric.

With a symmetric algorithm, anyone with the client secret could sign tokens in place of the provider. With the algorithm
`none`, a token needs no signature, so anyone could make a valid token.
"""

LEEWAY_SECONDS = 30
"""Largest accepted difference between the provider's clock and the clock of this service, in seconds."""

MAX_SUBJECT_LENGTH = 255
"""Largest number of characters in the subject of an ID token (OpenID Connect Core, section 2)."""


class InvalidIdToken(Exception):
    """An ID token that is refused. The message gives the reason, and never contains the token's claims."""


def read(token: object, keys: KeySet, *, issuer: str, client_id: str, nonce: str) -> dict[str, Any]:
    """Check an ID token, and return its claims. Raises `InvalidIdToken`."""
    if not isinstance(token, str):
        raise InvalidIdToken("the ID token is missing")
    try:
        claims = jwt.decode(token, keys, algorithms=ALGORITHMS).claims
        jwt.JWTClaimsRegistry(
            now=int(time.time()),
            leeway=LEEWAY_SECONDS,
            iss={"essential": True, "value": issuer},
            aud={"essential": True, "value": client_id},
            exp={"essential": True},
            iat={"essential": True},
            sub={"essential": True},
            nonce={"essential": True, "value": nonce},
        ).validate(claims)
    except (JoseError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise InvalidIdToken(type(error).__name__) from None
    audience = claims["aud"]
    if isinstance(audience, list) and len(audience) > 1 and "azp" not in claims:
        raise InvalidIdToken("the token has several audiences, but no authorized party")
    if claims.get("azp", client_id) != client_id:
        raise InvalidIdToken("the token's authorized party is another client")
    subject = claims["sub"]
    if (
        not isinstance(subject, str)
        or not 0 < len(subject) <= MAX_SUBJECT_LENGTH
        or "\0" in subject
        or has_surrogate(subject)
    ):
        # PostgreSQL stores neither NUL nor a lone surrogate, which JSON permits as an escape.
        raise InvalidIdToken("the token's subject is not valid")
    return claims
