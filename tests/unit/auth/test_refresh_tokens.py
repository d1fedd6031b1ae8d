"""Refresh tokens: each is derived from the token before it with the server's secret."""

import base64
import hashlib
import hmac

from svgx_auth.refresh_tokens import RefreshTokens


def successor(secret: str, token: str) -> str:
    """Return the only successor that a service with only this secret accepts."""
    (only,) = RefreshTokens(secret).successors(token)
    return only


def test_token_has_one_successor() -> None:
    """Proves R-AUTH-10: a token's successor is the same in every replica and after every restart."""
    first = RefreshTokens("secret").first()
    successors = {successor("secret", first) for _ in range(3)}
    assert len(successors) == 1
    assert len(base64.urlsafe_b64decode(successors.pop() + "=")) == 32


def test_successor_requires_the_servers_secret() -> None:
    """Proves R-AUTH-7: a different secret gives a different successor. The HMAC key is derived from the secret."""
    tokens = RefreshTokens("secret")
    first = tokens.first()
    direct = hmac.digest(b"secret", first.encode(), hashlib.sha256)
    others = {
        successor("secret2", first),
        base64.urlsafe_b64encode(direct).rstrip(b"=").decode(),
        first,
        successor("secret", successor("secret", first)),
        RefreshTokens("secret").first(),
    }
    assert successor("secret", first) not in others
    assert len(others) == 5


def test_both_secrets_give_a_successor_while_one_is_replaced() -> None:
    """Proves R-AUTH-45: the successor made with a replica's own secret comes first, in both orders of the secrets."""
    first = RefreshTokens("old").first()
    assert RefreshTokens("old", "new").successors(first) == [
        successor("old", first),
        successor("new", first),
    ]
    assert RefreshTokens("new", "old").successors(first) == [
        successor("new", first),
        successor("old", first),
    ]


def test_first_token_has_256_random_bits() -> None:
    """Proves R-AUTH-7: first tokens differ, and each of their 256 bits is about as often 0 as 1."""
    count = 2000
    created = {RefreshTokens("secret").first() for _ in range(count)}
    assert len(created) == count
    numbers = [int.from_bytes(base64.urlsafe_b64decode(f"{token}=")) for token in created]
    assert all(len(token) == 43 for token in created)
    for bit in range(256):
        # Eight standard deviations: by chance, this fails less than once in 10¹² runs.
        assert abs(sum(number >> bit & 1 for number in numbers) - count / 2) < 4 * count**0.5
