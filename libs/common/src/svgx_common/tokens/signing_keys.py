"""Keys of access tokens: one secret that signs and verifies (HS256), or key pairs with a private and a public key.

The key determines the algorithm. The algorithm in a token's header never selects the key (RFC 8725, 3.1).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey, import_key

from svgx_common.contract.errors import Unauthenticated

SYMMETRIC = "HS256"
ASYMMETRIC = ("Ed25519", "ES256", "RS256")
"""Algorithms of key pairs. `Ed25519` is the name in RFC 9864; the older name EdDSA does not state the curve."""

MIN_RSA_BITS = 2048
"""Minimum size of an RSA key, in bits (RFC 7518, 3.3)."""

AnyKey = OctKey | OKPKey | ECKey | RSAKey


class UnknownKey(Unauthenticated):
    """The access token names a key that is not known, or it names no key and there is no secret."""


@dataclass(frozen=True, slots=True)
class TokenKey:
    """A key and its only algorithm. `key_id` is None for the secret."""

    key: AnyKey
    algorithm: str
    key_id: str | None = None


def secret_key(secret: str) -> TokenKey:
    """Return the key that signs and verifies with HS256."""
    return TokenKey(OctKey.import_key(secret), SYMMETRIC)


def read_key(jwk: Mapping[str, Any]) -> TokenKey:
    """Read a private or public key from its JWK (RFC 7517). Raise `ValueError`, which never contains the key."""
    key_id, algorithm = jwk.get("kid"), jwk.get("alg")
    if not isinstance(key_id, str) or not 0 < len(key_id) <= 128:
        raise ValueError("a key needs a `kid` of 1 to 128 characters")
    try:
        key = import_key(dict(jwk))
    except (JoseError, ValueError, TypeError, KeyError):
        raise ValueError(f"key {key_id} is not a JWK") from None
    fits = {
        "Ed25519": isinstance(key, OKPKey) and jwk.get("crv") == "Ed25519",
        "ES256": isinstance(key, ECKey) and jwk.get("crv") == "P-256",
        "RS256": isinstance(key, RSAKey) and key.public_key.key_size >= MIN_RSA_BITS,
    }
    if not fits.get(str(algorithm), False):
        raise ValueError(
            f"key {key_id}: `alg` must be Ed25519, ES256 or RS256 (at least {MIN_RSA_BITS} bits) and fit the key"
        )
    return TokenKey(key, str(algorithm), key_id)


@dataclass(frozen=True, slots=True)
class CheckingKeys:
    """The keys that verify tokens: the secret for tokens that name no key, public keys for tokens that name one.

    `other_secret` is the next or the previous secret while the secret is replaced.
    """

    secret: TokenKey | None = None
    public: Mapping[str, TokenKey] = field(default_factory=dict)
    other_secret: TokenKey | None = None

    def find(self, key_id: str | None) -> tuple[TokenKey, ...]:
        """Return the key with this id, or the secrets if `key_id` is None. Raise `UnknownKey` if there is none."""
        candidates = (
            (self.secret, self.other_secret) if key_id is None else (self.public.get(key_id),)
        )
        keys = tuple(key for key in candidates if key is not None)
        if not keys:
            raise UnknownKey("the access token is missing, expired or not valid")
        return keys
