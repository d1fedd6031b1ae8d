"""The counts of the gateway's responses."""

import httpx
import pytest
from prometheus_client import REGISTRY
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket, WebSocketDisconnect

from svgx_gateway.observability.request_log import RequestLog
from svgx_gateway.observability.socket_log import SocketLog
from tests.log_reader import read_logs


async def answer(request: Request) -> Response:
    """Answer with the status in the path. Fail for the status 0."""
    if request.path_params["status"] == 0:
        raise RuntimeError
    return Response(status_code=request.path_params["status"])


async def accept(websocket: WebSocket) -> None:
    """Accept a WebSocket."""
    await websocket.accept()
    await websocket.close()


async def refuse(websocket: WebSocket) -> None:
    """Refuse a WebSocket before its upgrade."""
    await websocket.send_denial_response(Response(status_code=503))


APP = Starlette(
    routes=[
        Route("/{status:int}", answer),
        WebSocketRoute("/accepted", accept),
        WebSocketRoute("/refused", refuse),
    ],
    middleware=[Middleware(RequestLog, every_request=False), Middleware(SocketLog)],
)


def count(kind: str) -> float:
    """Return the number of responses with a kind of status, such as `2xx`."""
    return REGISTRY.get_sample_value("svgx_engine_http_responses_total", {"status": kind}) or 0.0


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (200, "2xx"),
        (304, "3xx"),
        (404, "4xx"),
        (429, "4xx"),
        (499, "4xx"),
        (500, "5xx"),
        (503, "5xx"),
        (0, "5xx"),
    ],
)
async def test_response_is_counted_by_its_kind_of_status(status: int, kind: str) -> None:
    """Every status is counted, also a status that no operation has. A failure without a status counts as 5xx.

    Proves R-OBS-12.
    """
    before = count(kind)
    transport = httpx.ASGITransport(APP, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as http:
        await http.get(f"/{status}")
    assert count(kind) == before + 1


async def test_failure_without_a_response_is_logged_as_a_failed_request() -> None:
    """Proves R-OBS-7: the line states status 500, which the client gets."""
    transport = httpx.ASGITransport(APP, raise_app_exceptions=False)
    with read_logs("gateway") as log:
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as http:
            await http.get("/0")
        (line,) = log.read()
    assert (line["event"], line["level"]) == ("request failed", "ERROR")
    assert (line["status"], line["path"]) == (500, "/0")


@pytest.mark.parametrize(("path", "kind"), [("/accepted", "1xx"), ("/refused", "5xx")])
def test_handshake_of_a_websocket_is_counted(path: str, kind: str) -> None:
    """A refused handshake counts like a failed request. Proves R-OBS-12."""
    before = count(kind)
    with pytest.raises(WebSocketDisconnect), TestClient(APP).websocket_connect(path) as websocket:
        websocket.receive_text()
    assert count(kind) == before + 1
