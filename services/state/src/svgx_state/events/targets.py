"""The targets of webhooks: the form of their URLs, and the addresses to which a delivery may connect.

A webhook makes this service send requests to an address that an admin, or the owner of a name in DNS, chooses. So the
service connects only to addresses of the public internet, and to networks that the operator has allowed.
"""

import asyncio
import ipaddress
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from urllib.parse import urlsplit

from svgx_common.contract.errors import Invalid

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

RESOLVE_SECONDS = 5.0
"""Time limit for one lookup of a name, in seconds. Beyond it, the target is refused."""

_ENDS_IN_NUMBER = re.compile(r"(^|\.)(0[xX][0-9a-fA-F]*|[0-9]+)\.?$")
"""Hosts that the operating system may read as an IPv4 address, such as 2130706433, 0x7f.1 and 127.1."""

_NAME = re.compile(r"^(?!-)[A-Za-z0-9_-]{1,63}(?<!-)(\.(?!-)[A-Za-z0-9_-]{1,63}(?<!-))*\.?$")

_REFUSED_NETWORKS = tuple(
    map(
        ipaddress.ip_network,
        (
            "0.0.0.0/8",
            "100.64.0.0/10",  # shared address space, and metadata of Alibaba Cloud (100.100.100.200)
            "168.63.129.16/32",  # the platform address of Azure
            "192.0.0.0/24",  # protocol assignments, and metadata of Oracle Cloud (192.0.0.192)
            "192.88.99.0/24",  # relays of 6to4
            "198.18.0.0/15",
            "::/96",  # IPv4-compatible addresses
            "64:ff9b:1::/48",  # NAT64 of a local network
            "fec0::/10",  # site-local addresses
        ),
    )
)
"""Networks outside the public internet. At least some versions of Python report most of them as global."""

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")

Resolve = Callable[[str], Awaitable[Sequence[str]]]
"""Returns the IP addresses of a name, as text. Raises `OSError`."""


class TargetRefused(Exception):
    """A delivery must not connect to the target. The message is for admins."""


@dataclass(frozen=True, slots=True)
class Target:
    """The parts of a webhook's URL. `host` is a name or an IP address without brackets. `path` includes the query."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def authority(self) -> str:
        """Return the value of the header `Host`."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        default_port = 443 if self.scheme == "https" else 80
        return host if self.port == default_port else f"{host}:{self.port}"


def parse_target(url: str, *, require_https: bool) -> Target:
    """Return the parts of a webhook's URL. Raises `Invalid` for the field `url`."""
    try:
        parts = urlsplit(url)
        port = parts.port
        host = parts.hostname or ""
    except ValueError:
        raise _invalid("is not a URL") from None
    if parts.scheme not in ("https", "http") or "\\" in url:
        raise _invalid("must begin with https://")
    if require_https and parts.scheme != "https":
        raise _invalid("must begin with https:// in production")
    if "@" in parts.netloc:
        raise _invalid("must not have a user name or a password; deliveries are signed instead")
    if "#" in url:
        raise _invalid("must not have a fragment")
    if port == 0:
        raise _invalid("must not have the port 0")
    _check_host(host, bracketed=parts.netloc.startswith("["))
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(parts.scheme, host, port or (443 if parts.scheme == "https" else 80), path)


def _check_host(host: str, *, bracketed: bool) -> None:
    if bracketed:
        try:
            IPv6Address(host)
        except ValueError:
            raise _invalid("has no valid IPv6 address in brackets") from None
        if "%" in host:
            raise _invalid("must not have the zone of an IPv6 address")
    elif _ENDS_IN_NUMBER.search(host):
        try:
            IPv4Address(host)
        except ValueError:
            raise _invalid("must have an IPv4 address in its usual form, like 192.0.2.1") from None
    elif not _NAME.fullmatch(host) or len(host) > 253:
        raise _invalid("has no valid host name; write an international name as xn--…")


async def allowed_addresses(
    target: Target, networks: Sequence[Network], resolve: Resolve
) -> list[Address]:
    """Return the addresses of a target to which a delivery may connect. Raises `TargetRefused`.

    One refused address is enough to refuse the target, because the sender of the DNS answer chooses which address comes
    first.
    """
    try:
        async with asyncio.timeout(RESOLVE_SECONDS):
            texts = await resolve(target.host)
        addresses = [ipaddress.ip_address(each.partition("%")[0]) for each in texts]
    except (OSError, UnicodeError, ValueError):
        raise TargetRefused("the host name cannot be resolved") from None
    if not addresses:
        raise TargetRefused("the host name has no address")
    if not all(is_allowed(each, networks) for each in addresses):
        raise TargetRefused(
            "the host is in a private or reserved network, which WEBHOOK_ALLOWED_NETWORKS does not name"
        )
    return addresses


def is_allowed(address: Address, networks: Sequence[Network]) -> bool:
    """Return whether a delivery may connect to an address: a public address, or one in the allowed networks.

    A public IPv6 address that carries an IPv4 address is allowed only if the IPv4 address is allowed as well. For an
    IPv4-mapped address, only the IPv4 address counts.
    """
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return is_allowed(address.ipv4_mapped, networks)
    if any(address.version == each.version and address in each for each in networks):
        return True
    if any(address.version == each.version and address in each for each in _REFUSED_NETWORKS):
        return False
    if not address.is_global or address.is_multicast or address.is_reserved:
        return False
    return all(is_allowed(each, networks) for each in _embedded_addresses(address))


def _embedded_addresses(address: Address) -> list[IPv4Address]:
    """Return the IPv4 addresses that an IPv6 address contains for 6to4, Teredo or NAT64."""
    if isinstance(address, IPv4Address):
        return []
    embedded: list[IPv4Address] = []
    if address.sixtofour is not None:
        embedded.append(address.sixtofour)
    if address.teredo is not None:
        embedded.extend(address.teredo)
    if address in _NAT64:
        embedded.append(IPv4Address(int(address) & 0xFFFFFFFF))
    return embedded


def parse_networks(text: str) -> tuple[Network, ...]:
    """Return the networks in a list that is separated by commas. Raises `ValueError`."""
    return tuple(
        ipaddress.ip_network(part.strip(), strict=False) for part in text.split(",") if part.strip()
    )


def _invalid(text: str) -> Invalid:
    return Invalid(f"url: {text}", field="url")
