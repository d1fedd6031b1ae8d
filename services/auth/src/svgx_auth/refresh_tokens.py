"""Refresh tokens: opaque, stored as hashes, each made from the one before it.

A token's successor is HMAC-SHA256 of the token, under a key that only the service has. So whoever repeats a refresh
gets the same successor, and it is stored nowhere (docs/decisions/0007).
"""

import base64
import hashlib
import hmac
import secrets

from svgx_auth.keys.derived_keys import derived_key

TOKEN_BYTES = 32
"""Entropy of a refresh token: 256 bits, so that its hash needs no salt and no slowness."""

_PURPOSE = b"svgx refresh token successor v1"


class RefreshTokens:
    """Makes a session's chain of tokens. `secret` is the server's."""

    def __init__(self, secret: str) -> None:
        self._key = derived_key(secret, _PURPOSE)

    def first(self) -> str:
        """A new session's token."""
        return secrets.token_urlsafe(TOKEN_BYTES)

    def successor(self, token: str) -> str:
        """The token that follows: always the same one."""
        digest = hmac.digest(self._key, token.encode(), hashlib.sha256)
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def hash_of(token: str) -> bytes:
    """What is stored of a token."""
    return hashlib.sha256(token.encode()).digest()
