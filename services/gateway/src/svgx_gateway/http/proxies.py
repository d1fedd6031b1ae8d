"""Finds the client of a request, also behind proxies."""

import functools
from ipaddress import ip_network

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

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
    """
    if not trusted:
        return app
    return ProxyHeadersMiddleware(app, trusted)  # type: ignore[arg-type,return-value]  # uvicorn's own ASGI types
