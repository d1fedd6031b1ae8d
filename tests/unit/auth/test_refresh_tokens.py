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


def test_a_first_token_is_not_to_be_guessed() -> None:
    """Proves R-AUTH-7: 256 bits, of which each is as often 0 as 1; no two are the same."""
    count = 2000
    made = {RefreshTokens("secret").first() for _ in range(count)}
    assert len(made) == count
    numbers = [int.from_bytes(base64.urlsafe_b64decode(f"{token}=")) for token in made]
    assert all(len(token) == 43 for token in made)
    for bit in range(256):
        # Eight standard deviations: once in 10¹² runs.
        assert abs(sum(number >> bit & 1 for number in numbers) - count / 2) < 4 * count**0.5
