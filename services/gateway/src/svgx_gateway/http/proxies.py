"""Finds the client of a request, also behind proxies."""

import functools
from ipaddress import IPv4Network, ip_network

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from svgx_common.addresses import parse_address
from svgx_common.messaging.caller import Client
from svgx_gateway.request_fields import fields_of

MAX_USER_AGENT_LENGTH = 256
"""Largest number of characters of a `User-Agent` that are passed on.

The rest is cut off, because the client chooses the length.
"""


def client_of(request: HTTPConnection) -> Client:
    """Return the client's address and user agent.

    For a request through a trusted proxy, `trust_proxies` has replaced the proxy's address by the client's.
    """
    client = request.scope.get("client")
    user_agent = fields_of(request.scope).get(b"user-agent", b"")[:MAX_USER_AGENT_LENGTH]
    return _client(client[0] if client else "", user_agent)


@functools.lru_cache(maxsize=4096)  # a few clients send most of the requests
def _client(address: str, user_agent: bytes) -> Client:
    return Client(address, user_agent.decode("latin-1"))


def parse_networks(text: str) -> list[str]:
    """Return a comma-separated setting as networks in CIDR notation.

    Raise `ValueError` with the number of the first wrong entry.
    """
    networks = []
    for number, each in enumerate(filter(None, (part.strip() for part in text.split(","))), 1):
        try:
            networks.append(str(ip_network(each, strict=False)))
        except ValueError:
            raise ValueError(
                f"entry {number} is not an IP address or a network such as 10.0.0.0/8; separate entries by commas"
            ) from None
    return networks


def trust_proxies(app: ASGIApp, trusted: list[str]) -> ASGIApp:
    """Wrap `app` so that it sees the client's address and scheme as proxies in the `trusted` networks report them.

    `X-Forwarded-For` is read from the right, up to the first address outside these networks. Entries further left were
    written by the client, and are ignored.

    A socket for IPv4 and IPv6 reports IPv4 addresses as mapped IPv6 addresses (`::ffff:10.0.0.1`). Trusted networks
    contain both forms, also in `X-Forwarded-For`. `app` sees the IPv4 address.
    """

    async def app_with_plain_address(scope: Scope, receive: Receive, send: Send) -> None:
        client = scope.get("client")
        if client and ":" in client[0] and (address := parse_address(client[0])) is not None:
            scope["client"] = (str(address), client[1])
        await app(scope, receive, send)

    if not trusted:
        return app_with_plain_address
    networks = [form for network in trusted for form in _address_forms(network)]
    return ProxyHeadersMiddleware(app_with_plain_address, networks)  # type: ignore[arg-type,return-value]  # uvicorn's own ASGI types


def _address_forms(network: str) -> list[str]:
    """Return the network of IPv4 addresses and the network of the same addresses mapped to IPv6, or only `network`."""
    parsed = ip_network(network)
    if isinstance(parsed, IPv4Network):
        return [network, f"::ffff:{parsed.network_address}/{parsed.prefixlen + 96}"]
    mapped = parsed.network_address.ipv4_mapped
    if mapped is None or parsed.prefixlen < 96:
        return [network]
    return [network, f"{mapped}/{parsed.prefixlen - 96}"]
