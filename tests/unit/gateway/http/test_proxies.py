"""Whose request it is, behind proxies."""

import pytest
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from svgx_gateway.http.proxies import parse_networks, trust_proxies
from svgx_gateway.ratelimit.key import RateLimitKey


async def key(peer: str, forwarded: list[str], trusted: str) -> str:
    """The rate_limit_key of a request from `peer` with these `X-Forwarded-For` headers."""
    found: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        found.append(RateLimitKey.of(Request(scope), None).key)

    headers = [(b"x-forwarded-for", each.encode()) for each in forwarded]
    scope = {"type": "http", "client": (peer, 1), "scheme": "http", "headers": headers}
    await trust_proxies(app, parse_networks(trusted))(scope, None, None)  # type: ignore[arg-type]
    return found[0]


@pytest.mark.parametrize(
    ("peer", "forwarded", "trusted", "expected"),
    [
        ("192.0.2.1", [], "", "192.0.2.1"),
        # Nobody is trusted: the header is whatever the client likes.
        ("192.0.2.1", ["203.0.113.9"], "", "192.0.2.1"),
        ("192.0.2.1", ["203.0.113.9"], "10.0.0.0/8", "192.0.2.1"),
        ("10.0.0.1", ["203.0.113.9"], "10.0.0.0/8", "203.0.113.9"),
        # From the right: what stands left of the first stranger was written by the client.
        ("10.0.0.1", ["1.1.1.1, 203.0.113.9"], "10.0.0.0/8", "203.0.113.9"),
        ("10.0.0.1", ["1.1.1.1, 203.0.113.9, 10.0.0.2"], "10.0.0.0/8", "203.0.113.9"),
        ("10.0.0.1", ["1.1.1.1", "203.0.113.9"], "10.0.0.0/8", "203.0.113.9"),
        ("10.0.0.1", ["203.0.113.9:4711"], "10.0.0.1", "203.0.113.9"),
        ("10.0.0.1", ["garbage"], "10.0.0.1", "unknown"),
        ("2001:db8:1:2::7", [], "", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.1", [], "", "192.0.2.1"),
    ],
)
async def test_the_address_behind_trusted_proxies(
    peer: str, forwarded: list[str], trusted: str, expected: str
) -> None:
    """Proves R-LIMIT-7."""
    assert await key(peer, forwarded, trusted) == f"address:{expected}"


def test_a_wrong_network_is_named() -> None:
    assert parse_networks(" 10.0.0.1, 10.0.0.0/8 ,::1") == ["10.0.0.1/32", "10.0.0.0/8", "::1/128"]
    with pytest.raises(ValueError, match="number 2 is no IP address"):
        parse_networks("10.0.0.0/8,10.0.0")
