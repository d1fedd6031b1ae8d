"""IP addresses, and the key that limits use to count all addresses of one internet customer together."""

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

IPV6_CUSTOMER_PREFIX = 64
"""Bits of an IPv6 address that identify one customer: each customer has at least a /64 network (RFC 6177)."""


def parse_address(text: str) -> IPv4Address | IPv6Address | None:
    """Return the IP address, or None if `text` is not one. An IPv4-mapped IPv6 address becomes an IPv4 address."""
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
