"""The HTTP server of every service. It serves health and metrics, and passes all other requests to the service."""

import contextlib
import math
import socket
from collections.abc import Awaitable, Callable, Iterator

import structlog
import uvicorn
from opentelemetry import trace
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
from svgx_common.tracing import CurrentSpan, current_trace_id

log = structlog.get_logger(__name__)
tracer = trace.get_tracer("svgx.http")

OPERATIONAL_PATHS = frozenset(
    {"/health", "/health/live", "/health/ready", "/metrics", "/metrics/prometheus"}
)
"""The paths of health and metrics, each also valid with a trailing slash. A service's application never gets them."""


def operational_routes(health: Health, *, prometheus_enabled: bool = True) -> list[Route]:
    """Return the routes of health and, if enabled, metrics, each with and without a trailing slash."""

    async def readiness(_: Request) -> Response:
        report = await health.report()
        content = {"status": report.status, "service": report.service, "version": report.version}
        if report.reason is not None:
            content["reason"] = report.reason
        return JSONResponse(content, 200 if report.status == "ok" else 503)

    async def liveness(_: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def prometheus_metrics(request: Request) -> Response:
        await health.report()  # it sets the metrics of readiness and dependencies
        encode, media_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(REGISTRY), media_type=media_type)

    async def json_metrics(_: Request) -> Response:
        await health.report()
        return JSONResponse({metric.name: _metric_as_json(metric) for metric in REGISTRY.collect()})

    endpoints: dict[str, Callable[[Request], Awaitable[Response]]] = {
        "/health": readiness,
        "/health/live": liveness,
        "/health/ready": readiness,
    }
    if prometheus_enabled:
        endpoints |= {"/metrics": json_metrics, "/metrics/prometheus": prometheus_metrics}
    return [
        Route(path + slash, endpoint, methods=["GET"])
        for path, endpoint in endpoints.items()
        for slash in ("", "/")
    ]


def _metric_as_json(metric: Metric) -> dict[str, object]:
    samples = [
        {"name": sample.name, "labels": dict(sample.labels), "value": sample.value}
        for sample in metric.samples
        if math.isfinite(sample.value)  # JSON has neither NaN nor infinity
    ]
    return {"help": metric.documentation, "type": metric.type, "samples": samples}


class ServiceApplication:
    """The ASGI application of one service process, from before its start until after its drain.

    Health and metrics are always served. All other requests go to `app`. Without `app` they get 503 while the service
    starts, and 404 afterwards.

    While the service drains, `app` still gets HTTP requests, but each response closes its connection, because a later
    request on the connection would find the process gone. A WebSocket gets 503 before its upgrade: an accepted one
    would be closed soon.
    """

    def __init__(self, health: Health, *, prometheus_enabled: bool = True) -> None:
        self._health = health
        self._operational = Starlette(
            routes=operational_routes(health, prometheus_enabled=prometheus_enabled)
        )
        self.app: ASGIApp | None = None
        """The service's own application; None until it is built, and for services without one."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request or WebSocket (ASGI)."""
        if self._health.phase is Phase.DRAINING:
            if scope["type"] == "websocket":
                await _refuse(scope, receive, send, "the service is stopping; try again")
                return
            send = _closing_connection(send)
        if scope.get("path", "").rstrip("/") in OPERATIONAL_PATHS:
            await self._operational(scope, receive, send)
        elif self.app is not None:
            await self.app(scope, receive, send)
        elif self._health.phase is Phase.STARTING:
            # The answer is not 404, because the path may exist once the service has started.
            await _refuse(scope, receive, send, "the service is starting; try again")
        else:
            await self._operational(scope, receive, send)  # it answers 404


def _closing_connection(send: Send) -> Send:
    """Return `send` with the header `connection: close` added to the response."""

    async def send_and_close(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), (b"connection", b"close")]
        await send(message)

    return send_and_close


async def _refuse(scope: Scope, receive: Receive, send: Send, detail: str) -> None:
    """Answer 503 with a problem document. A WebSocket is refused before its upgrade."""
    error = Unavailable(detail)
    with CurrentSpan(tracer, "refuse", trace.SpanKind.SERVER):
        problem = problem_document(error, current_trace_id())
        log.warning("request refused", status=error.status, reason=detail)
    response = JSONResponse(
        problem, error.status, {"Retry-After": "1"}, media_type=PROBLEM_MEDIA_TYPE
    )
    if scope["type"] == "websocket":
        await WebSocket(scope, receive, send).send_denial_response(response)
    else:
        await response(scope, receive, send)


class Server(uvicorn.Server):
    """A uvicorn server without signal handlers, because the runtime handles the signals and drains in its own order."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Install no signal handlers."""
        yield


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket. Raise `OSError` at once when the port is taken."""
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
