"""Where a request comes from."""

from starlette.requests import HTTPConnection

from svgx_common.messaging.caller import Client

MAX_USER_AGENT = 256
"""Characters of a `User-Agent` that are passed on: the caller chooses it."""


def client_of(request: HTTPConnection) -> Client:
    """The caller's address and program.

    Proxies have been looked through by then (see `proxies`).
    """
    address = request.client.host if request.client else ""
    return Client(address, request.headers.get("user-agent", "")[:MAX_USER_AGENT])
