"""Routing of HTTP requests and WebSockets."""

import json
from collections.abc import AsyncIterator
from urllib.parse import unquote

import httpx
import pytest
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.types import Message
from starlette.websockets import WebSocket

from svgx_gateway.http import problems
from svgx_gateway.http.headers import SecurityHeaders
from svgx_gateway.http.routes import Application, RouteTable


async def respond(request: Request) -> PlainTextResponse:
    """Return the method and the path fields as text."""
    fields = ",".join(f"{name}={value}" for name, value in request.path_params.items())
    return PlainTextResponse(f"{request.method} {fields}")


async def fail(_: Request) -> PlainTextResponse:
    """Fail with an exception that the endpoint does not handle."""
    raise ZeroDivisionError


ROUTES = [
    Route("/users/{user_id}", respond, methods=["GET"]),
    Route("/users/{user_id}", respond, methods=["DELETE"]),
    Route("/values/canvas_{canvas_id}", respond, methods=["GET"]),
    Route("/values/{key}", respond, methods=["GET", "DELETE"]),
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


async def accept(websocket: WebSocket) -> None:
    """Accept a WebSocket, and send the field of its path as the subprotocol."""
    await websocket.accept(websocket.path_params["room_id"])


async def handshake(path: str) -> list[Message]:
    """Return the messages with which the application answers a handshake. `path` is the path as a client sends it."""
    app = Application(
        openapi_url=None,
        redirect_slashes=False,
        routes=[RouteTable(ROUTES, [WebSocketRoute("/rooms/{room_id}", accept)])],
        middleware=[Middleware(SecurityHeaders, hsts_seconds=0)],
    )
    messages: list[Message] = []

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        messages.append(message)

    scope = {
        "type": "websocket",
        "scheme": "ws",
        "path": unquote(path),
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [],
        "extensions": {"websocket.http.response": {}},
    }
    await app(scope, receive, send)
    return messages


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
    ("method", "text"), [("GET", "GET canvas_id=1"), ("DELETE", "DELETE key=canvas_1")]
)
async def test_path_of_two_templates_is_served_by_the_first_one_with_the_method(
    http: httpx.AsyncClient, method: str, text: str
) -> None:
    """Proves R-HTTP-6: a method that the more exact template lacks reaches the other template."""
    answer = await http.request(method, "/values/canvas_1")
    assert (answer.status_code, answer.text) == (200, text)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "/values/canvas_1", "GET, HEAD"),
        ("POST", "/users/ada", "DELETE, GET, HEAD"),
        ("PUT", "/users/restore", "POST"),
        ("GET", "/users/restore/", "POST"),
    ],
)
async def test_other_method_gets_405_with_allow(
    http: httpx.AsyncClient, method: str, path: str, allowed: str
) -> None:
    """A wrong method gets 405. For every method, a literal path precedes a path with fields. Proves R-HTTP-6."""
    answer = await http.request(method, path)
    assert (answer.status_code, answer.headers["allow"]) == (405, allowed)
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == "method_not_allowed"


@pytest.mark.parametrize(
    "path",
    [
        "/users%2Fada",
        "/users%2fada",
        "/users/ada%2Fkeys/7",
        "/users/ada/keys%2F7",
        "/users%2Frestore",
        "/users/restore/%2F",
        "/users/%72estore/x",
        "/%75sers/ada",
        "/users%252Fada",
        "/users/%2e%2e/restore",
        "//users/ada",
        "/users\\ada",
        "/users%5Cada",
        "/USERS/ada",
    ],
)
async def test_encoded_character_matches_no_literal_part_of_a_route(
    http: httpx.AsyncClient, path: str
) -> None:
    """The path is compared as it was sent, so an encoded slash separates no segments. Proves R-HTTP-1."""
    request = http.build_request("GET", "http://gateway/")
    request.url = request.url.copy_with(raw_path=path.encode())
    answer = await http.send(request)
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/users/a%2Fb", "GET user_id=a/b"),
        ("/users/a%2fb/", "GET user_id=a/b"),
        ("/users/%2F", "GET user_id=/"),
        ("/users/a%20b", "GET user_id=a b"),
        ("/users/%C3%A9", "GET user_id=é"),
        ("/users/a%252Fb", "GET user_id=a%2Fb"),
        ("/users/%61da", "GET user_id=ada"),
        ("/users/%72estore", "GET user_id=restore"),
        ("/users/a%3Fb", "GET user_id=a?b"),
        ("/users/a+b", "GET user_id=a+b"),
    ],
)
async def test_each_field_of_a_path_is_decoded_separately(
    http: httpx.AsyncClient, path: str, text: str
) -> None:
    """A field may contain an encoded slash. The validation of the field accepts or refuses it. Proves R-HTTP-1."""
    request = http.build_request("GET", "http://gateway/")
    request.url = request.url.copy_with(raw_path=path.encode())
    answer = await http.send(request)
    assert (answer.status_code, answer.text) == (200, text)


@pytest.mark.parametrize(
    ("path", "room"),
    [
        ("/rooms/a", "a"),
        ("/rooms/a/", "a"),
        ("/rooms/a%2Fb", "a/b"),
        ("/rooms/%61", "a"),
    ],
)
async def test_websocket_path_is_served_with_and_without_trailing_slash(
    path: str, room: str
) -> None:
    """Trailing slashes and encoded characters mean the same as in the paths of requests. Proves R-HTTP-1."""
    (accepted,) = await handshake(path)
    assert (accepted["type"], accepted["subprotocol"]) == ("websocket.accept", room)


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/rooms",
        "/rooms/",
        "/rooms//",
        "/rooms/a//",
        "/rooms/a/b",
        "/rooms%2Fa",
        "/rooms%2fa",
        "/%72ooms/a",
        "//rooms/a",
        "/ROOMS/a",
        "/users/ada",
        "/nowhere",
        "*",
        "http://gateway/rooms/a",
        "%2Frooms/a",
        "/./rooms/a",
        "/rooms/../rooms/a",
    ],
)
async def test_unknown_websocket_path_gets_404_with_a_problem_document(path: str) -> None:
    """The handshake is refused before the upgrade, with the security headers. Proves R-HTTP-6 and R-HTTP-7."""
    start, body = await handshake(path)
    assert (start["type"], start["status"]) == ("websocket.http.response.start", 404)
    headers = dict(start["headers"])
    assert headers[b"content-type"] == b"application/problem+json"
    assert headers[b"cache-control"] == b"no-store"
    assert json.loads(body["body"])["code"] == "not_found"


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
