"""The log lines and metrics of requests and WebSockets, with small applications in place of the gateway."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager

import httpx
import pytest
import structlog
from opentelemetry.sdk.trace import TracerProvider
from prometheus_client import REGISTRY
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp, Message
from starlette.websockets import WebSocket, WebSocketDisconnect

from svgx_common.contract.close_codes import Close
from svgx_common.observability.log_ids import use_ids
from svgx_common.observability.repeated_lines import BURST
from svgx_common.tracing import current_trace_id
from svgx_gateway.http import tracing
from svgx_gateway.http.tracing import Tracing
from svgx_gateway.observability.notes import note_canvas, note_failure, note_user
from svgx_gateway.observability.request_log import MAX_PATH_LENGTH, RequestLog
from svgx_gateway.observability.socket_log import SocketLog
from tests.log_reader import LogReader, read_logs

Endpoint = Callable[[Request], Awaitable[Response]]


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Iterator[LogReader]:
    """Yield a reader of the log that a gateway would write. Each request gets a trace id."""
    monkeypatch.setattr(tracing, "tracer", TracerProvider().get_tracer("test"))
    with read_logs("gateway") as reader:
        yield reader


def wrapped(app: ASGIApp, *, every_request: bool = False) -> ASGIApp:
    return Tracing(RequestLog(SocketLog(app), every_request=every_request))


@asynccontextmanager
async def client(endpoint: Endpoint, **options: bool) -> AsyncIterator[httpx.AsyncClient]:
    app = Starlette(routes=[Route("/{rest:path}", endpoint)])
    transport = httpx.ASGITransport(wrapped(app, **options), client=("192.0.2.1", 1))
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as http:
        yield http


def failing(status: int, code: str, user_id: str | None) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        if user_id is not None:
            note_user(request.scope, user_id)
        note_canvas(request.scope, "c" * 100)
        note_failure(request.scope, "state.canvas.list", code)
        structlog.get_logger("inner").info("inside")
        return JSONResponse({"trace_id": current_trace_id()}, status)

    return endpoint


@pytest.mark.parametrize(
    ("status", "code"),
    [(500, "internal"), (503, "unavailable"), (503, "overloaded"), (504, "deadline_exceeded")],
)
async def test_failed_request_of_an_account_has_one_line(
    log: LogReader, status: int, code: str
) -> None:
    """Proves R-OBS-7: the line has operation, code, user, canvas, time and the trace id of the response."""
    async with client(failing(status, code, "u1")) as http:
        response = await http.get("/runtime/canvases/?token=hunter2")
    inside, line = log.read()
    trace_id = response.json()["trace_id"]
    assert response.headers["traceresponse"].split("-")[1] == trace_id != "0" * 32
    expected = {
        "level": "ERROR",
        "event": "request failed",
        "method": "GET",
        "path": "/runtime/canvases/",
        "status": status,
        "operation": "state.canvas.list",
        "code": code,
        "user_id": "u1",
        "canvas_id": "c" * 64,
        "client": "192.0.2.1",
        "trace_id": trace_id,
        "ids": f"user_id=u1 canvas_id={'c' * 64} trace_id={trace_id}",
    }
    assert {name: line.get(name) for name in expected} == expected
    assert line["ms"] >= 0
    assert (inside["user_id"], inside["trace_id"]) == ("u1", trace_id)


async def test_failed_requests_are_limited_in_the_log_only_without_an_account(
    log: LogReader,
) -> None:
    """Proves R-OBS-7: a client without an account cannot fill the log, even if each of its requests gets 503."""
    async with client(failing(503, "unavailable", "u1")) as http:
        for _ in range(BURST * 3):
            await http.get("/")
    assert sum(line["event"] == "request failed" for line in log.read()) == BURST * 3
    async with client(failing(503, "unavailable", None)) as http:
        for _ in range(BURST * 3):
            await http.get("/")
    lines = [line for line in log.read() if line["event"] == "request failed"]
    assert len(lines) == BURST
    assert not any("user_id" in line for line in lines)


@pytest.mark.parametrize("status", [200, 204, 302, 400, 401, 404, 413, 422, 429])
async def test_other_requests_are_written_only_with_the_access_log(
    log: LogReader, status: int
) -> None:
    """Proves R-OBS-9: with `ACCESS_LOG`, each request has a line, with a shortened path and without its query."""

    async def answer(request: Request) -> Response:
        note_user(request.scope, "u1")
        return Response(status_code=status)

    async with client(answer) as http:
        await http.get("/a")
    assert log.read() == []
    async with client(answer, every_request=True) as http:
        await http.get(f"/{'a' * 999}?token=hunter2")
    (line,) = log.read()
    assert (line["level"], line["event"], line["status"]) == ("INFO", "request", status)
    assert len(line["path"]) == MAX_PATH_LENGTH
    assert (line["user_id"], line["client"]) == ("u1", "192.0.2.1")
    assert "hunter2" not in json.dumps(line)


async def test_ids_do_not_reach_the_next_request_of_a_connection(
    log: LogReader,
) -> None:
    """Proves R-OBS-7: a pipelined request runs in the context of the previous request, but not with its ids."""
    async with client(failing(503, "unavailable", "u1")) as http:
        await http.get("/")
    log.read()
    use_ids({"user_id": "before", "canvas_id": "before"})
    async with client(failing(503, "unavailable", None)) as http:
        await http.get("/")
    assert not any("before" in json.dumps(line) for line in log.read())


class Socket:
    """A WebSocket between a test and an application: `received` has the messages that the application sends."""

    def __init__(self, *messages: Message) -> None:
        self._messages = [{"type": "websocket.connect"}, *messages]
        self.received: list[Message] = []

    async def run(self, app: ASGIApp) -> None:
        scope = {
            "type": "websocket",
            "path": "/runtime/events/c1",
            "headers": [],
            "query_string": b"token=hunter2",
            "subprotocols": [],
            "client": ("192.0.2.1", 1),
            "extensions": {"websocket.http.response": {}},
        }

        async def receive() -> Message:
            return self._messages.pop(0)

        async def send(message: Message) -> None:
            self.received.append(message)

        await wrapped(app)(scope, receive, send)


def socket_app(*, user_id: str | None, close: int | None = None) -> ASGIApp:
    async def endpoint(socket: WebSocket) -> None:
        if user_id is not None:
            note_user(socket.scope, user_id)
            note_canvas(socket.scope, "c1")
        await socket.accept()
        structlog.get_logger("inner").info("inside")
        if close is not None:
            await socket.close(close, "why")
            return
        try:
            while True:
                await socket.receive_bytes()
        except WebSocketDisconnect:
            pass

    return Starlette(routes=[WebSocketRoute("/{rest:path}", endpoint)])


def closes(code: str) -> float:
    return REGISTRY.get_sample_value("svgx_engine_websocket_closes_total", {"code": code}) or 0.0


@pytest.mark.parametrize(
    ("closed_by_client", "closed_by_gateway", "code", "label"),
    [
        (None, Close.OVERLOADED, 1013, "1013"),
        (None, Close.RESTARTING, 1012, "1012"),
        (None, Close.UNAUTHENTICATED, 4401, "4401"),
        (1000, None, 1000, "1000"),
        (1001, None, 1001, "1001"),
        (1006, None, 1006, "1006"),
        (1014, None, 1014, "1014"),
        (None, None, 1005, "1005"),
        (3999, None, 3999, "other"),
        (4998, None, 4998, "other"),
    ],
)
async def test_connection_of_an_account_has_two_lines_and_counts_its_close(
    log: LogReader,
    closed_by_client: int | None,
    closed_by_gateway: int | None,
    code: int,
    label: str,
) -> None:
    """Proves R-OBS-9 and R-OBS-11: the lines share the trace id of the handshake's response."""
    before = closes(label)
    # uvicorn reports a close without a code as 1005.
    disconnect: Message = {"type": "websocket.disconnect", "code": closed_by_client or 1005}
    socket = Socket({"type": "websocket.receive", "bytes": b""}, disconnect)
    await socket.run(socket_app(user_id="u1", close=closed_by_gateway))
    opened, inside, closed = log.read()
    assert closes(label) == before + 1
    headers = dict(socket.received[0]["headers"])
    trace_id = headers[b"traceresponse"].decode().split("-")[1]
    for line in (opened, inside, closed):
        assert (line["user_id"], line["canvas_id"]) == ("u1", "c1")
        assert line["trace_id"] == trace_id
        assert "user_id=u1" in line["ids"]
    assert (opened["event"], closed["event"]) == ("websocket opened", "websocket closed")
    assert closed["close_code"] == code
    assert closed["reason"] == ("why" if closed_by_gateway else "")
    assert "hunter2" not in json.dumps([opened, closed])


async def test_connection_without_an_account_writes_no_line(
    log: LogReader,
) -> None:
    """Proves R-OBS-5 and R-OBS-11: the close of the connection is only counted."""
    before = closes("4401")
    await Socket().run(socket_app(user_id=None, close=Close.UNAUTHENTICATED))
    assert [line["event"] for line in log.read()] == ["inside"]
    assert closes("4401") == before + 1


async def test_refused_handshake_has_a_line_with_the_trace_id_of_its_response(
    log: LogReader,
) -> None:
    """Proves R-OBS-7: the trace id in the body of the 503 response is also in the log line."""

    async def endpoint(socket: WebSocket) -> None:
        body = JSONResponse({"trace_id": current_trace_id()}, 503)
        await socket.send_denial_response(body)

    socket = Socket()
    await socket.run(Starlette(routes=[WebSocketRoute("/{rest:path}", endpoint)]))
    (line,) = log.read()
    body = json.loads(b"".join(message.get("body", b"") for message in socket.received))
    assert (line["event"], line["status"]) == ("websocket refused", 503)
    assert line["trace_id"] == body["trace_id"] != "0" * 32


async def test_failure_of_the_application_counts_as_internal() -> None:
    """Proves R-OBS-11: an exception of the application counts as the close code 1011, which the server then sends."""

    async def endpoint(socket: WebSocket) -> None:
        await socket.accept()
        raise RuntimeError

    before = closes("1011")
    with pytest.raises(RuntimeError):
        await Socket().run(
            Starlette(
                routes=[WebSocketRoute("/{rest:path}", endpoint)], middleware=list[Middleware]()
            )
        )
    assert closes("1011") == before + 1
