"""Keys of access tokens: a secret that signs and checks (HS256), or private keys that sign and public ones that check.

A token's algorithm follows from its key, and never the other way round (RFC 8725, 3.1).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey, import_key

from svgx_common.contract.errors import Unauthenticated

SYMMETRIC = "HS256"
ASYMMETRIC = ("Ed25519", "ES256", "RS256")
"""EdDSA goes by the name of RFC 9864, which says which curve."""

MIN_RSA_BITS = 2048

AnyKey = OctKey | OKPKey | ECKey | RSAKey


class UnknownKey(Unauthenticated):
    """The access token is signed with a key that is not known here."""


@dataclass(frozen=True, slots=True)
class TokenKey:
    """A key and the one algorithm it is used with. `key_id` is None for the secret."""

    key: AnyKey
    algorithm: str
    key_id: str | None = None


def secret_key(secret: str) -> TokenKey:
    """The key that signs and checks with HS256."""
    return TokenKey(OctKey.import_key(secret), SYMMETRIC)


def read_key(jwk: Mapping[str, Any]) -> TokenKey:
    """An asymmetric key from its JWK (RFC 7517), private or public. Raises `ValueError`, which never shows the key."""
    key_id, algorithm = jwk.get("kid"), jwk.get("alg")
    if not isinstance(key_id, str) or not 0 < len(key_id) <= 128:
        raise ValueError("a key needs a `kid` of 1 to 128 characters")
    try:
        key = import_key(dict(jwk))
    except (JoseError, ValueError, TypeError, KeyError):
        raise ValueError(f"key {key_id}: is not a JWK") from None
    fits = {
        "Ed25519": isinstance(key, OKPKey) and jwk.get("crv") == "Ed25519",
        "ES256": isinstance(key, ECKey) and jwk.get("crv") == "P-256",
        "RS256": isinstance(key, RSAKey) and key.public_key.key_size >= MIN_RSA_BITS,
    }
    if not fits.get(str(algorithm), False):
        raise ValueError(
            f"key {key_id}: `alg` must be Ed25519, ES256 or RS256 ({MIN_RSA_BITS} bits) and fit the key"
        )
    return TokenKey(key, str(algorithm), key_id)


@dataclass(frozen=True, slots=True)
class CheckingKeys:
    """What tokens are checked with: the secret for those that name no key, public keys for those that do."""

    secret: TokenKey | None = None
    public: Mapping[str, TokenKey] = field(default_factory=dict)

    @classmethod
    def of_secret(cls, secret: str) -> "CheckingKeys":
        """Only tokens signed with this secret count."""
        return cls(secret_key(secret))

    def find(self, key_id: str | None) -> TokenKey:
        """The key a token names. Raises `UnknownKey`."""
        found = self.secret if key_id is None else self.public.get(key_id)
        if found is None:
            raise UnknownKey("the access token is missing, expired or not valid")
        return found
