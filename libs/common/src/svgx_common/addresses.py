"""IP addresses, and the key under which limits count the addresses of one internet customer."""

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

IPV6_CUSTOMER_PREFIX = 64
"""Bits of an IPv6 address that identify one customer: each customer has at least a /64 network (RFC 6177)."""


def parse_address(text: str) -> IPv4Address | IPv6Address | None:
    """Return the IP address, with IPv4-mapped IPv6 addresses as IPv4; None when `text` is not an address."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def customer_key(address: IPv4Address | IPv6Address) -> str:
    """Return the key of the customer that has the address: an IPv4 address, or the /64 network of an IPv6 address."""
    if isinstance(address, IPv6Address):
        return str(ip_network((address.packed, IPV6_CUSTOMER_PREFIX), strict=False))
    return str(address)
