"""The HTTP side every service has: health and metrics, and in front of them a service's own application."""

import contextlib
import math
import socket
from collections.abc import Awaitable, Callable, Iterator

import uvicorn
from prometheus_client import REGISTRY
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from svgx_common.contract.errors import PROBLEM_MEDIA_TYPE, Unavailable, problem_document
from svgx_common.health import Health, Phase
from svgx_common.tracing import current_trace_id


def operational_routes(health: Health, *, prometheus_enabled: bool = True) -> list[Route]:
    """Health and metrics, each with and without its trailing slash."""

    async def overall(_: Request) -> Response:
        report = await health.report()
        content = {"status": report.status, "service": report.service, "version": report.version}
        if report.reason is not None:
            content["reason"] = report.reason
        return JSONResponse(content, 200 if report.status == "ok" else 503)

    async def live(_: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def prometheus(request: Request) -> Response:
        encode, media_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(REGISTRY), media_type=media_type)

    async def figures(_: Request) -> Response:
        return JSONResponse({metric.name: _figure(metric) for metric in REGISTRY.collect()})

    pages: dict[str, Callable[[Request], Awaitable[Response]]] = {
        "/health": overall,
        "/health/live": live,
        "/health/ready": overall,
    }
    if prometheus_enabled:
        pages |= {"/metrics": figures, "/metrics/prometheus": prometheus}
    return [
        Route(path + slash, page, methods=["GET"])
        for path, page in pages.items()
        for slash in ("", "/")
    ]


def _figure(metric: Metric) -> dict[str, object]:
    samples = [
        {"name": sample.name, "labels": dict(sample.labels), "value": sample.value}
        for sample in metric.samples
        if math.isfinite(sample.value)  # JSON has nothing else
    ]
    return {"help": metric.documentation, "type": metric.type, "samples": samples}


class Front:
    """Answers health and metrics from the start, and everything else once `inner` is there; 503 before.

    While the service drains, a WebSocket is refused before its upgrade: accepted, it would soon be closed. Requests are
    answered, each as the last one of its connection: the next one might come when nobody listens any more.
    """

    def __init__(self, health: Health, *, prometheus_enabled: bool = True) -> None:
        self._health = health
        self._own = Starlette(
            routes=operational_routes(health, prometheus_enabled=prometheus_enabled)
        )
        self.inner: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if self._health.phase is Phase.DRAINING:
            if scope["type"] == "websocket":
                await _refuse(scope, receive, send, "the service is stopping; try again")
                return
            send = _last_answer(send)
        path = scope.get("path", "")
        own = path.rstrip("/") in (
            "/health",
            "/health/live",
            "/health/ready",
            "/metrics",
            "/metrics/prometheus",
        )
        if not own and self.inner is not None:
            await self.inner(scope, receive, send)
        elif not own and self._health.phase is Phase.STARTING:
            # A path that is unknown before the start is done may be known after it: 404 would be a lie.
            await _refuse(scope, receive, send, "the service is starting; try again")
        else:
            await self._own(scope, receive, send)


def _last_answer(send: Send) -> Send:
    async def last(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), (b"connection", b"close")]
        await send(message)

    return last


async def _refuse(scope: Scope, receive: Receive, send: Send, detail: str) -> None:
    error = Unavailable(detail)
    problem = problem_document(error, current_trace_id())
    response = JSONResponse(
        problem, error.status, {"Retry-After": "1"}, media_type=PROBLEM_MEDIA_TYPE
    )
    if scope["type"] == "websocket":
        await WebSocket(scope, receive, send).send_denial_response(response)
    else:
        await response(scope, receive, send)


class Server(uvicorn.Server):
    """uvicorn inside a process that handles its signals itself, so that draining has its order."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals alone."""
        yield


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; raises `OSError` at once when the port is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
        sock.listen(2048)
    except OSError:
        sock.close()
        raise
    sock.setblocking(False)
    return sock
