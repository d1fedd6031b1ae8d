"""Load shedding while the event loop lags."""

import asyncio
import time

import httpx
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from svgx_common.health import Health
from svgx_common.http.server import ServiceApplication
from svgx_common.observability.loop_lag import LagChecks
from svgx_gateway.http.shedding import LoadShedding, LoopLag


async def test_lagging_loop_refuses_requests_but_not_health() -> None:
    """Requests are refused while the loop lags, except for health and metrics. Proves R-RESIL-3."""
    lag = LoopLag(0.1)
    front = ServiceApplication(Health("gateway", "one", "0"))
    front.app = LoadShedding(Starlette(routes=[Route("/", PlainTextResponse("hello"))]), lag)
    transport = httpx.ASGITransport(front)
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as http:
        for late, status in (
            (0.2, 200),
            (0.2, 200),
            (0.0, 200),  # two late checks are a pause, not an overload
            (0.2, 200),
            (0.2, 200),
            (0.2, 503),
            (0.2, 503),
            (0.0, 200),
        ):
            lag.record(late)
            answer = await http.get("/")
            assert answer.status_code == status
            if status == 503:
                assert answer.json()["code"] == "overloaded"
                assert answer.headers["retry-after"] == "1"
                assert (await http.get("/health/live")).status_code == 200
                assert (await http.get("/metrics/prometheus")).status_code == 200


async def test_blocked_loop_counts_as_overloaded_until_it_recovers() -> None:
    """The loop counts as overloaded while work blocks it, and not afterwards. Proves R-RESIL-3."""
    lag = LoopLag(0.02)
    checks = LagChecks()
    checks.on_check(lag.record)
    checks.start()
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(20):
            while not lag.overloaded:
                until = time.perf_counter() + 0.1
                while time.perf_counter() < until:
                    pass
                await asyncio.sleep(0)
            while lag.overloaded:
                turn = loop.create_future()
                loop.call_later(0.001, turn.set_result, None)
                await turn
    finally:
        checks.stop()
