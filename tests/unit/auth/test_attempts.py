"""Which addresses are one caller's."""

import pytest

from svgx_auth.passwords.attempts import network


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
def test_whose_an_address_is(one: str, other: str, same: bool) -> None:
    """Proves R-AUTH-20: an IPv6 caller has 64 bits to choose from."""
    assert (network(one) == network(other)) == same
