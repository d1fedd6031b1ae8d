"""Parsing of IP addresses, and the key of the customer that has an address."""

import pytest

from svgx_common.addresses import customer_key, parse_address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:DB8:0:0::1", "2001:db8::1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("::ffff:c000:201", "192.0.2.1"),
    ],
)
def test_address_is_parsed_and_mapped_ipv4_becomes_ipv4(text: str, address: str) -> None:
    assert str(parse_address(text)) == address


@pytest.mark.parametrize(
    "text", ["", "localhost", "192.0.2", "192.0.2.1:80", "[::1]", "192.0.2.1 ", "1", "192.0.2.01"]
)
def test_text_that_is_not_an_address_is_parsed_as_none(text: str) -> None:
    assert parse_address(text) is None


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
    ],
)
def test_key_of_a_customer_is_an_ipv4_address_or_an_ipv6_network(text: str, key: str) -> None:
    address = parse_address(text)
    assert address is not None
    assert customer_key(address) == key
