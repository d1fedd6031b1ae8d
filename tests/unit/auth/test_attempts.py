"""The key under which failed attempts from an address are counted."""

import pytest

from svgx_auth.passwords.attempts import address_key


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("2001:db8:1:2::1", "2001:0DB8:1:2:ffff::9", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("testclient", "testclient", True),
    ],
)
def test_addresses_of_one_ipv6_network_have_one_key(one: str, other: str, same: bool) -> None:
    """Proves R-AUTH-20: addresses of one IPv6 /64 network are counted together."""
    assert (address_key(one) == address_key(other)) == same


def test_address_key_is_the_address_or_its_ipv6_network() -> None:
    """Proves R-AUTH-20: a text that is not an address, and an IPv4 address, are their own keys."""
    assert address_key("testclient") == "testclient"
    assert address_key("::ffff:192.0.2.1") == "192.0.2.1"
    assert address_key("2001:db8:1:2::1") == "2001:db8:1:2::/64"
