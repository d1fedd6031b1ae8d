"""Who the client is when proxies stand in between."""

from ipaddress import ip_network

from starlette.types import ASGIApp
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware


def networks(text: str) -> list[str]:
    """A comma-separated setting as networks in CIDR notation. Raises `ValueError` saying which is none."""
    found = []
    for number, each in enumerate(filter(None, (part.strip() for part in text.split(","))), 1):
        try:
            found.append(str(ip_network(each, strict=False)))
        except ValueError:
            raise ValueError(
                f"number {number} is no IP address or network such as 10.0.0.0/8; separate several by commas"
            ) from None
    return found


def look_through(app: ASGIApp, trusted: list[str]) -> ASGIApp:
    """`app` with the client's own address and scheme, as the proxies in these networks give them.

    `X-Forwarded-For` is read from the right, as far as it was written by somebody who is trusted: what a client writes
    there itself counts for nothing.
    """
    if not trusted:
        return app
    return ProxyHeadersMiddleware(app, trusted)  # type: ignore[arg-type,return-value]  # uvicorn's own ASGI types
