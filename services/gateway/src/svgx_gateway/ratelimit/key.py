"""Whom a request counts against: an account, else an address."""

import functools
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from starlette.requests import HTTPConnection

from svgx_common.contract.policy import Role
from svgx_common.messaging.caller import Caller

IPV6_PREFIX = 64
"""Bits of an IPv6 address that name one customer (RFC 6177): whoever has one address has all of these."""


@dataclass(frozen=True, slots=True)
class RateLimitKey:
    """`key` is `user:<id>` or `address:<address>`. `address` is None where the peer has none (a Unix socket)."""

    key: str
    address: IPv4Address | IPv6Address | None
    user_id: str | None = None
    role: Role | None = None


def rate_limit_key(connection: HTTPConnection, caller: Caller | None) -> RateLimitKey:
    """Who is behind this connection; proxies have been looked through by then (see `proxies`)."""
    address = _address(connection.client.host if connection.client else "")
    if caller is not None:
        return RateLimitKey(f"user:{caller.user_id}", address, caller.user_id, caller.role)
    return RateLimitKey(f"address:{_customer(address)}", address)


@functools.lru_cache(maxsize=4096)
def _address(host: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(host)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def _customer(address: IPv4Address | IPv6Address | None) -> str:
    if isinstance(address, IPv6Address):
        return str(ip_network((address.packed, IPV6_PREFIX), strict=False))
    return str(address or "unknown")
