"""The account or address that a request counts against."""

import functools
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from starlette.requests import HTTPConnection

from svgx_common.addresses import customer_key, parse_address
from svgx_common.contract.policy import Role
from svgx_common.messaging.caller import Caller


@dataclass(frozen=True, slots=True)
class RateLimitKey:
    """The counted account or address: `key` is `user:<id>` or `address:<address>`, with the /64 network for IPv6.

    A request of a visitor with a share link counts once for each of two keys. `key` is `visitor:<address>`, for all
    links of this visitor. `shared` is `link:<id>`, for all visitors of this link. So visitors do not use up the limit
    of an account or of another link.

    `address` is None for a peer without an address (a Unix socket).
    """

    key: str
    address: IPv4Address | IPv6Address | None
    user_id: str | None = None
    role: Role | None = None
    shared: str | None = None

    @classmethod
    def of(cls, connection: HTTPConnection, caller: Caller | None) -> "RateLimitKey":
        """Return the key of a connection.

        For a request through a trusted proxy, `trust_proxies` has already replaced the proxy's address by the client's.
        """
        client = connection.scope.get("client")
        address, counted = _counted_address(client[0] if client else "")
        if caller is not None and caller.is_visitor:
            return cls(f"visitor:{counted}", address, shared=f"link:{caller.link_id}")
        if caller is not None:
            return cls(f"user:{caller.user_id}", address, caller.user_id, caller.role_for_limits)
        return cls(f"address:{counted}", address)


@functools.lru_cache(maxsize=4096)
def _counted_address(host: str) -> tuple[IPv4Address | IPv6Address | None, str]:
    """Return the address, and the text under which its requests are counted."""
    address = parse_address(host)
    return address, "unknown" if address is None else customer_key(address)
