"""The count and the log lines of a failed request. Both the gateway and the service that handled it write a line."""

import asyncio

import httpx
import pytest
from opentelemetry.sdk.trace import TracerProvider
from prometheus_client import REGISTRY
from starlette.types import Message

from svgx_common.contract.auth import ME, MeRequest, User
from svgx_common.contract.errors import Internal, SvgxError, Unavailable
from svgx_common.contract.state import CREATE_CANVAS
from svgx_common.messaging.responder import Call
from svgx_common.metrics import REQUESTS
from svgx_devstack import DevStack
from svgx_gateway.http import tracing
from svgx_gateway.http.operations import CLIENT_GONE
from tests.integration.gateway.running_gateway import answering, gateway
from tests.log_reader import read_logs

CANVAS = "6f1d6a0c6d3f4c0c8a55a2f4b2b1c0de"


@pytest.fixture(autouse=True)
def trace_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make trace ids, as the tracer provider of a gateway process does."""
    monkeypatch.setattr(tracing, "tracer", TracerProvider().get_tracer("test"))


async def test_request_without_a_service_has_one_line_with_its_trace_id(backing: DevStack) -> None:
    """Proves R-OBS-7: one log line has the problem document's trace id, the user and the operation."""
    async with gateway(backing) as http:
        with read_logs("gateway") as log:
            response = await http.get(f"/runtime/canvases/{CANVAS}")
            problem = response.json()
            lines = [line for line in log.read() if line["event"] == "request failed"]
    assert (response.status_code, problem["code"]) == (503, "unavailable")
    (line,) = lines
    assert (
        line["trace_id"] == problem["trace_id"] == response.headers["traceresponse"].split("-")[1]
    )
    assert (line["operation"], line["code"]) == ("state.canvas.get", "unavailable")
    assert line["canvas_id"] == CANVAS
    assert line["user_id"] in line["ids"]


@pytest.mark.parametrize(("error", "status"), [(Unavailable, 503), (Internal, 500)])
async def test_failure_in_a_service_is_logged_on_both_sides(
    backing: DevStack, error: type[SvgxError], status: int
) -> None:
    """Proves R-OBS-7: the service's line has the same trace id and user as the gateway's."""

    async def fail(_: MeRequest, __: Call) -> User:
        await asyncio.sleep(0)
        raise error

    async with answering(backing, ME, fail), gateway(backing) as http:
        with read_logs("gateway") as log:
            response = await http.get("/auth/me")
            lines = log.read()
    assert response.status_code == status
    of_service, of_gateway = [line for line in lines if line.get("code") == error.code]
    assert (of_service["event"], of_gateway["event"]) == ("a request failed", "request failed")
    assert of_service["operation"] == of_gateway["operation"] == ME.name
    assert of_service["trace_id"] == of_gateway["trace_id"] == response.json()["trace_id"]
    assert of_service["ids"] == of_gateway["ids"]


async def test_request_without_the_end_of_its_body_is_counted_with_a_documented_code(
    backing: DevStack,
) -> None:
    """Proves R-OBS-12: the request is counted, although it has neither a result nor an error."""
    labels = {"component": "gateway", "operation": CREATE_CANVAS.name, "code": CLIENT_GONE}
    received = iter([{"type": "http.request", "body": b"{", "more_body": True}])

    async def receive() -> Message:
        return next(received, {"type": "http.disconnect"})

    async def send(_: Message) -> None:
        await asyncio.sleep(0)

    async with gateway(backing) as http:
        before = REGISTRY.get_sample_value("svgx_engine_requests_total", labels)
        assert before is not None
        request = http.build_request("POST", "/runtime/canvases/", json={"name": "a"})
        transport = http._transport
        assert isinstance(transport, httpx.ASGITransport)
        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": request.method,
            "scheme": "http",
            "path": request.url.path,
            "raw_path": request.url.raw_path,
            "query_string": b"",
            "root_path": "",
            "headers": [(name.lower(), value) for name, value in request.headers.raw],
            "server": ("gateway", 80),
            "client": ("127.0.0.1", 1),
        }
        await transport.app(scope, receive, send)
        assert REGISTRY.get_sample_value("svgx_engine_requests_total", labels) == before + 1
    (family,) = REQUESTS.collect()
    assert f"`{CLIENT_GONE}`" in family.documentation
