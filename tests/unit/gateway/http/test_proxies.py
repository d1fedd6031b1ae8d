"""The client address of requests that come through proxies."""

import pytest
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from svgx_gateway.http.proxies import parse_networks, trust_proxies
from svgx_gateway.ratelimit.key import RateLimitKey


async def key_of(peer: str, forwarded: list[str], trusted: str) -> str:
    """Return the rate-limit key of a request from `peer` with these `X-Forwarded-For` headers."""
    keys: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        keys.append(RateLimitKey.of(Request(scope), None).key)

    headers = [(b"x-forwarded-for", each.encode()) for each in forwarded]
    scope = {"type": "http", "client": (peer, 1), "scheme": "http", "headers": headers}
    await trust_proxies(app, parse_networks(trusted))(scope, None, None)  # type: ignore[arg-type]
    return keys[0]


@pytest.mark.parametrize(
    ("peer", "forwarded", "trusted", "expected"),
    [
        ("192.0.2.1", [], "", "192.0.2.1"),
        # Without a trusted proxy the header is ignored, because the client may have written it.
        ("192.0.2.1", ["203.0.113.9"], "", "192.0.2.1"),
        ("192.0.2.1", ["203.0.113.9"], "10.0.0.0/8", "192.0.2.1"),
        ("10.0.0.1", ["203.0.113.9"], "10.0.0.0/8", "203.0.113.9"),
        # The header is read from the right. The client may have written all entries left of the first untrusted entry.
        ("10.0.0.1", ["1.1.1.1, 203.0.113.9"], "10.0.0.0/8", "203.0.113.9"),
        ("10.0.0.1", ["1.1.1.1, 203.0.113.9, 10.0.0.2"], "10.0.0.0/8", "203.0.113.9"),
        ("10.0.0.1", ["1.1.1.1", "203.0.113.9"], "10.0.0.0/8", "203.0.113.9"),
        ("10.0.0.1", ["203.0.113.9:4711"], "10.0.0.1", "203.0.113.9"),
        ("10.0.0.1", ["garbage"], "10.0.0.1", "unknown"),
        ("2001:db8:1:2::7", [], "", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.1", [], "", "192.0.2.1"),
    ],
)
async def test_client_address_comes_from_trusted_proxies_only(
    peer: str, forwarded: list[str], trusted: str, expected: str
) -> None:
    """Only the entries of `X-Forwarded-For` that trusted proxies wrote are used. Proves R-LIMIT-7."""
    assert await key_of(peer, forwarded, trusted) == f"address:{expected}"


def test_wrong_network_is_reported_with_its_position() -> None:
    """The error contains the position of the wrong entry in the list."""
    assert parse_networks(" 10.0.0.1, 10.0.0.0/8 ,::1") == ["10.0.0.1/32", "10.0.0.0/8", "::1/128"]
    with pytest.raises(ValueError, match="entry 2 is not an IP address"):
        parse_networks("10.0.0.0/8,10.0.0")
