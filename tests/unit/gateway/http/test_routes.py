"""Routing of HTTP requests."""

from collections.abc import AsyncIterator

import httpx
import pytest
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from svgx_gateway.http import problems
from svgx_gateway.http.headers import SecurityHeaders
from svgx_gateway.http.routes import Application, RouteTable


async def respond(request: Request) -> PlainTextResponse:
    """Return the path fields as text."""
    fields = ",".join(f"{name}={value}" for name, value in request.path_params.items())
    return PlainTextResponse(f"{request.method} {fields}")


async def fail(_: Request) -> PlainTextResponse:
    """Fail with an exception that the endpoint does not handle."""
    raise ZeroDivisionError


ROUTES = [
    Route("/users/{user_id}", respond, methods=["GET"]),
    Route("/users/{user_id}", respond, methods=["DELETE"]),
    Route("/users/{user_id}/keys/{key_id}/", respond, methods=["PUT"]),
    Route("/users/restore/", respond, methods=["POST"]),
    Route("/failing", fail, methods=["GET"]),
]


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    """Yield a client of an application with `ROUTES`."""
    app = Application(
        openapi_url=None,
        redirect_slashes=False,
        routes=[RouteTable(ROUTES)],
        exception_handlers={
            HTTPException: problems.handle_http_exception,
            Exception: problems.handle_exception,
        },
        middleware=[Middleware(SecurityHeaders, hsts_seconds=0)],
    )
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
        yield client


@pytest.mark.parametrize(
    ("method", "path", "text"),
    [
        ("GET", "/users/ada", "GET user_id=ada"),
        ("GET", "/users/ada/", "GET user_id=ada"),
        ("HEAD", "/users/ada", ""),
        ("DELETE", "/users/ada", "DELETE user_id=ada"),
        ("PUT", "/users/ada/keys/7", "PUT user_id=ada,key_id=7"),
        ("PUT", "/users/ada/keys/7/", "PUT user_id=ada,key_id=7"),
        ("POST", "/users/restore", "POST "),
        ("POST", "/users/restore/", "POST "),
    ],
)
async def test_path_is_served_with_and_without_trailing_slash(
    http: httpx.AsyncClient, method: str, path: str, text: str
) -> None:
    """Each path is served with and without a trailing slash. A path that supports GET also supports HEAD."""
    answer = await http.request(method, path)
    assert (answer.status_code, answer.text) == (200, text)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "/users/ada", "DELETE, GET, HEAD"),
        ("PUT", "/users/restore", "POST"),
        ("GET", "/users/restore/", "POST"),
    ],
)
async def test_other_method_gets_405_with_allow(
    http: httpx.AsyncClient, method: str, path: str, allowed: str
) -> None:
    """A wrong method gets 405. A literal path precedes a path with fields, for all methods. Proves R-HTTP-6."""
    answer = await http.request(method, path)
    assert (answer.status_code, answer.headers["allow"]) == (405, allowed)
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == "method_not_allowed"


@pytest.mark.parametrize("path", ["/", "/users", "/users//", "/users/ada/keys", "/nowhere"])
async def test_unknown_path_gets_404(http: httpx.AsyncClient, path: str) -> None:
    """A path without a route gets a problem document with status 404. Proves R-HTTP-6."""
    answer = await http.get(path)
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


async def test_unhandled_exception_gets_500_with_security_headers(http: httpx.AsyncClient) -> None:
    """An exception that no endpoint handles becomes a problem with the usual headers. Proves R-HTTP-7."""
    answer = await http.get("/failing")
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    assert answer.headers["x-content-type-options"] == "nosniff"
