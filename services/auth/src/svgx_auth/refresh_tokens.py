"""Refresh tokens: opaque texts, stored as hashes. Each token is derived from the token before it.

A token's successor is the HMAC-SHA256 of the token, with a key that is derived from the server's secret. A repeated
refresh therefore gets the same successor, although the service stores only hashes of tokens (docs/decisions/0007).
"""

import base64
import hashlib
import hmac
import secrets

from svgx_auth.keys.derived_keys import derived_key

TOKEN_BYTES = 32
"""Random bytes in a refresh token."""

_PURPOSE = b"svgx refresh token successor v1"


class RefreshTokens:
    """The source of a session's chain of refresh tokens.

    `secret` is the server's secret. While it is replaced, `other_secret` is the next or the previous secret; otherwise
    `other_secret` is empty.
    """

    def __init__(self, secret: str, other_secret: str = "") -> None:
        self._keys = [derived_key(each, _PURPOSE) for each in (secret, other_secret) if each]

    def first(self) -> str:
        """Return the first token of a new session."""
        return secrets.token_urlsafe(TOKEN_BYTES)

    def successors(self, token: str) -> list[str]:
        """Return the possible successors of `token`: one for each secret, beginning with that of `secret`.

        Every call returns the same successors.
        """
        return [_successor(key, token) for key in self._keys]


def _successor(key: bytes, token: str) -> str:
    digest = hmac.digest(key, token.encode(), hashlib.sha256)
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
