"""Refusals of WebSocket handshakes."""

import asyncio

import pytest
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket

from svgx_common.contract.errors import ERRORS
from svgx_gateway.websocket import handshake
from svgx_gateway.websocket.transport.protocol import WebSocketLimits, limited
from tests.log_reader import read_logs
from tests.unit.common.http.raw_server import serve

HEAD = (
    b"GET /%s HTTP/1.1\r\nHost: here\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, "bad_request"),
        (403, "forbidden"),
        (405, "method_not_allowed"),
        (414, "headers_too_large"),
        (426, "bad_request"),
        (431, "headers_too_large"),
        (500, "internal"),
    ],
)
def test_every_refusal_of_the_library_has_an_error(status: int, code: str) -> None:
    """The library's text may quote a long header, so the error's detail has a maximum length. Proves R-HTTP-6."""
    error = handshake.refusal(status, "x" * 10_000)
    assert error.code == code
    assert ERRORS[code] is type(error)
    assert len(error.detail) <= handshake.MAX_DETAIL_LENGTH


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """Close the WebSocket before its upgrade, or fail."""
    websocket = WebSocket(scope, receive, send)
    await websocket.receive()
    if scope["path"] == "/fail":
        raise ZeroDivisionError
    await websocket.close()


@pytest.mark.parametrize(
    ("path", "status", "code"), [(b"close", 403, "forbidden"), (b"fail", 500, "internal")]
)
async def test_application_that_ends_before_the_upgrade_gives_a_problem_document(
    path: bytes, status: int, code: str
) -> None:
    """The server answers in place of the application, with a problem document. Proves R-HTTP-6 and R-HTTP-7."""
    protocol: type[asyncio.Protocol] = limited(WebSocketLimits())
    async with serve(application, protocol) as server:
        response = await server.request(HEAD % path)
    assert (response.status, response.problem()["code"]) == (status, code)
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["connection"] == "close"


@pytest.mark.parametrize(
    ("old", "new", "status"),
    [
        (b"Host: here\r\n", b"", 400),
        (b"Host: here\r\n", b"Host: here\r\nHost: there\r\n", 400),
        (b"Host: here\r\n", b"Host: he re\r\n", 400),
        (b"Host: here\r\n", b"Host:\r\n", 400),
        (b"GET /close", b"GET /close#x", 400),
        (b"GET /close", b"GET http://user@here/close", 400),
        (b"GET", b"POST", 405),
        (b": 13", b": 12", 400),
        (b"AAAA==", b"AAAA", 400),
        (b"Upgrade: websocket\r\n", b"Upgrade: h2c\r\nUpgrade: websocket\r\n", 400),
        (b"Host", b"Content-Length: 1\r\nHost", 400),
        (b"Host", b"Transfer-Encoding: chunked\r\nHost", 400),
        (b"Host", b"Transfer-Encoding: gzip, chunked\r\nHost", 501),
        (b"Host", b"X-Long: " + b"x" * 20_000 + b"\r\nHost", 431),
        (b"Host", b"X: y\r\n" * 200 + b"Host", 431),
    ],
)
async def test_invalid_handshake_gets_a_problem_document(
    old: bytes, new: bytes, status: int
) -> None:
    """The handshake is refused before it reaches the application. Proves R-HTTP-6 and R-HTTP-14."""
    protocol: type[asyncio.Protocol] = limited(WebSocketLimits())
    async with serve(application, protocol) as server:
        response = await server.request((HEAD % b"close").replace(old, new, 1))
    assert response.status == status
    assert response.problem()["detail"]


async def test_headers_of_a_handshake_are_not_logged_at_any_level() -> None:
    """`websockets` would log each header and frame at DEBUG. Proves R-OBS-5."""
    protocol: type[asyncio.Protocol] = limited(WebSocketLimits())
    head = (HEAD % b"close").replace(b"Host", b"Cookie: session=hidden\r\nHost", 1)
    with read_logs("gateway", "DEBUG") as log:
        async with serve(application, protocol) as server:
            response = await server.request(head)
        lines = [line["event"] for line in log.read() if line["logger"] != "asyncio"]
    assert response.status == 403
    assert lines == []
