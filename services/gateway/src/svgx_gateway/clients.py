"""Where a request comes from."""

from starlette.requests import HTTPConnection

from svgx_common.caller import Client

MAX_USER_AGENT = 256
"""Characters of a `User-Agent` that are passed on: the caller chooses it."""


def client_of(request: HTTPConnection) -> Client:
    """The caller's address and program.

    uvicorn reads `X-Forwarded-For` from the proxies that FORWARDED_ALLOW_IPS names, and from nobody else.
    """
    address = request.client.host if request.client else ""
    return Client(address, request.headers.get("user-agent", "")[:MAX_USER_AGENT])
