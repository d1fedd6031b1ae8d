"""Refresh tokens follow from each other, for those who have the server's secret."""

import base64
import hashlib
import hmac

from svgx_auth.refresh_tokens import RefreshTokens


def test_a_token_has_one_successor() -> None:
    """Proves R-AUTH-10: the same in every replica and after every restart."""
    first = RefreshTokens("secret").first()
    successors = {RefreshTokens("secret").successor(first) for _ in range(3)}
    assert len(successors) == 1
    assert len(base64.urlsafe_b64decode(successors.pop() + "=")) == 32


def test_nobody_else_knows_it() -> None:
    """Proves R-AUTH-7: another secret makes another, and the secret itself is not the key."""
    tokens = RefreshTokens("secret")
    first = tokens.first()
    direct = hmac.digest(b"secret", first.encode(), hashlib.sha256)
    others = {
        RefreshTokens("secret2").successor(first),
        base64.urlsafe_b64encode(direct).rstrip(b"=").decode(),
        first,
        tokens.successor(tokens.successor(first)),
        RefreshTokens("secret").first(),
    }
    assert tokens.successor(first) not in others
    assert len(others) == 5
