"""CORS of HTTP, and the origins of WebSockets."""

import httpx
import pytest
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse

from svgx_gateway.http.cors import Cors
from svgx_gateway.openapi.responses import HEADERS
from svgx_gateway.websocket import origins

SETTING = "https://App.Example.org, HTTP://[2001:DB8::1]:8080/,capacitor://LocalHost"


async def send(setting: str, method: str, headers: dict[str, str]) -> httpx.Response:
    """Send a request to an application with CORS."""
    app = Cors(PlainTextResponse("x"), origins.split(origins.check(setting)))
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
        return await client.request(method, "/", headers=headers)


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("https://app.example.org", True),
        ("https://App.Example.org", True),
        ("http://[2001:db8::1]:8080", True),
        ("capacitor://localhost", True),
        ("https://app.example.org.evil.example", False),
        ("http://app.example.org", False),
        ("null", False),
    ],
)
async def test_case_of_an_origin_makes_no_difference(origin: str, *, allowed: bool) -> None:
    """Proves R-HTTP-4 and R-HTTP-10: HTTP and WebSockets allow the same origins."""
    websockets = origins.AllowedOrigins(origins.split(SETTING))
    assert websockets.allows(Headers({"origin": origin, "host": "api"})) is allowed
    response = await send(SETTING, "GET", {"Origin": origin})
    assert response.headers.get("access-control-allow-origin") == (origin if allowed else None)
    preflight = {"Origin": origin, "Access-Control-Request-Method": "PUT"}
    response = await send(SETTING, "OPTIONS", preflight)
    assert response.status_code == (200 if allowed else 400)
    assert response.headers.get("access-control-allow-origin") == (origin if allowed else None)


@pytest.mark.parametrize(
    ("setting", "changed", "refused"),
    [
        ("https://app.example.org", {"Origin": "https://evil.example"}, "origin"),
        ("*", {"Access-Control-Request-Method": "FOO"}, "method"),
        ("*", {"Access-Control-Request-Headers": "x-made-up"}, "headers"),
        ("*", {"Access-Control-Request-Private-Network": "true"}, "private-network"),
    ],
)
async def test_refused_preflight_gets_a_problem_document(
    setting: str, changed: dict[str, str], refused: str
) -> None:
    """Proves R-HTTP-6: the document names the refused part, and the response keeps its CORS headers."""
    preflight = {"Origin": "https://app.example.org", "Access-Control-Request-Method": "GET"}
    response = await send(setting, "OPTIONS", {**preflight, **changed})
    assert response.status_code == 400
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["code"] == "bad_request"
    assert response.json()["detail"].endswith(refused)
    assert int(response.headers["content-length"]) == len(response.content)
    assert "PUT" in response.headers["access-control-allow-methods"]
    assert "Origin" in response.headers["vary"]


async def test_preflight_allows_both_headers_of_a_trace() -> None:
    """A page sends `tracestate` beside `traceparent` (W3C Trace Context). Proves R-HTTP-4."""
    preflight = {
        "Origin": "https://app.example.org",
        "Access-Control-Request-Method": "GET",
        "Access-Control-Request-Headers": "traceparent, tracestate",
    }
    response = await send("*", "OPTIONS", preflight)
    assert response.status_code == 200
    assert "tracestate" in response.headers["access-control-allow-headers"]


async def test_page_can_read_every_documented_header_of_a_response() -> None:
    """The browser itself handles redirects and cookies. A 405 has `Allow`. Proves R-HTTP-4 and R-CONTRACT-4."""
    response = await send("*", "GET", {"Origin": "https://app.example.org"})
    exposed = response.headers["access-control-expose-headers"].split(", ")
    assert sorted(exposed) == sorted({*HEADERS, "Allow"} - {"Location", "Set-Cookie"})
