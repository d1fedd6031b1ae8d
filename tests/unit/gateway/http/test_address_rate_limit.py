"""The rate limit of pages, which counts requests against the client's address."""

from collections.abc import MutableMapping

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import HTTPConnection, Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from svgx_common.contract.errors import TooManyRequests
from svgx_gateway.http.guard import AddressRateLimit


async def page(_: Request) -> PlainTextResponse:
    """Return a page."""
    return PlainTextResponse("page")


class Counter:
    """A counter that allows a number of requests."""

    def __init__(self, allowed: int) -> None:
        self.remaining = allowed

    async def count(self, _: HTTPConnection, headers: MutableMapping[str, str]) -> None:
        """Count one request."""
        headers["RateLimit"] = f'"read";r={max(0, self.remaining - 1)};t=1'
        self.remaining -= 1
        if self.remaining < 0:
            raise TooManyRequests("at most 2", limit=2, retry_after=1.5)


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
async def test_page_past_the_limit_gets_429_with_the_rate_limit_headers(method: str) -> None:
    """A request counts whether or not the page supports its method. Proves R-LIMIT-15, R-LIMIT-3 and R-OBS-7."""
    pages = Starlette(routes=[Route("/", page, methods=["GET"])])
    app = AddressRateLimit(pages, Counter(2).count)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as http:
        answers = [await http.request(method, "/") for _ in range(4)]
    allowed = 405 if method == "POST" else 200
    assert [answer.status_code for answer in answers] == [allowed, allowed, 429, 429]
    assert all("ratelimit" in answer.headers for answer in answers)
    assert answers[2].headers["retry-after"] == "2"
    if method != "HEAD":
        problem = answers[2].json()
        assert problem["code"] == "too_many_requests"
        assert int(problem["trace_id"], 16)
        assert problem["trace_id"] == answers[2].headers["traceresponse"].split("-")[1]
