"""The HTTP server of every service. It serves health and metrics, and passes all other requests to the service."""

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable, Iterator, Mapping

import structlog
import uvicorn
from opentelemetry import trace
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from svgx_common.contract.errors import MethodNotAllowed, NotFound, SvgxError, Unavailable
from svgx_common.health import Health, HealthReport, Phase
from svgx_common.http import refusals
from svgx_common.http.metrics_pages import MetricsPages
from svgx_common.http.paths import sent_path
from svgx_common.http.security_headers import SECURITY_HEADERS
from svgx_common.observability.repeated_lines import REFUSALS_LOGGER
from svgx_common.timing.bounded_wait import wait_at_most
from svgx_common.tracing import CurrentSpan, note_code

log = structlog.get_logger(REFUSALS_LOGGER)
tracer = trace.get_tracer("svgx.http")

Endpoint = Callable[[Request], Awaitable[Response]]

HEALTH_PATHS = frozenset({"/health", "/health/live", "/health/ready"})
METRICS_PATHS = frozenset({"/metrics", "/metrics/prometheus"})
"""The paths of health and metrics, each also valid with a trailing slash.

The service's own application gets no request for the health paths. It gets requests for the metrics paths only while
metrics are switched off, or have a port of their own.
"""


class Pages:
    """An ASGI application with one endpoint for each path, for GET and HEAD. The endpoints read no body."""

    def __init__(self, endpoints: Mapping[str, Endpoint]) -> None:
        self._endpoints = endpoints

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        endpoint = self._endpoints.get(sent_path(scope))
        if endpoint is None:
            response: Response = refusals.response(NotFound("there is no such page"))
        elif scope["method"] not in ("GET", "HEAD"):
            response = refusals.response(MethodNotAllowed(), {"Allow": "GET, HEAD"})
        else:
            response = await endpoint(Request(scope, receive))
        for name, value in SECURITY_HEADERS:
            response.headers.setdefault(name.decode(), value.decode())
        await response(scope, receive, send)


def health_pages(health: Health) -> Pages:
    """Return the pages of health.

    Requests within `CACHE_SECONDS` (`svgx_common.health`) share one check of the dependencies.
    """

    async def readiness(_: Request) -> Response:
        report = await health.report()
        return JSONResponse(_summary(report), 200 if report.status == "ok" else 503)

    async def health_page(_: Request) -> Response:
        # Only the body shows a failing dependency. Many probes restart a process after any status but 200, and a
        # restart does not repair a dependency.
        report = await health.report()
        return JSONResponse(_summary(report), 200 if health.phase is Phase.READY else 503)

    async def liveness(_: Request) -> Response:
        return JSONResponse({"status": "ok"})

    return Pages({"/health": health_page, "/health/live": liveness, "/health/ready": readiness})


def metrics_pages(health: Health) -> Pages:
    """Return the pages of the metrics."""
    pages = MetricsPages()

    async def as_json(request: Request) -> Response:
        await health.report()  # the report sets the metrics of readiness and dependencies
        return await pages.json(request)

    async def for_prometheus(request: Request) -> Response:
        await health.report()
        return await pages.prometheus(request)

    return Pages({"/metrics": as_json, "/metrics/prometheus": for_prometheus})


def _summary(report: HealthReport) -> dict[str, object]:
    content: dict[str, object] = {
        "status": report.status,
        "service": report.service,
        "version": report.version,
        "revision": report.revision,
    }
    if report.reason is not None:
        content["reason"] = report.reason
    content["dependencies"] = {
        name: dependency.model_dump(
            include={"ok", "error", "detail", "required"}, exclude_none=True
        )
        for name, dependency in report.dependencies.items()
    }
    return content


class ServiceApplication:
    """The ASGI application of one service process, from before its start until after its drain.

    Health is always served, and so are the metrics if enabled. All other requests go to `app`. Without `app` they get
    503 while the service starts, and 404 afterwards.

    While the service drains, `app` still gets HTTP requests. Each response closes its connection, because the process
    would end before it could answer a later request. A WebSocket gets 503 before its upgrade, because the drain would
    soon close an accepted WebSocket.
    """

    def __init__(self, health: Health, *, prometheus_enabled: bool = True) -> None:
        self._health = health
        self._health_pages = health_pages(health)
        self.metrics: ASGIApp | None = metrics_pages(health) if prometheus_enabled else None
        """The pages of the metrics; None where they are switched off or on a port of their own."""
        self.app: ASGIApp | None = None
        """The service's own application; None until it is built, and for services without one."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request or WebSocket (ASGI)."""
        if self._health.phase is Phase.DRAINING:
            if scope["type"] == "websocket":
                await _refuse(
                    scope, receive, send, Unavailable("the service is stopping; try again")
                )
                return
            send = _closing_connection(send)
        page = self._page(scope)
        if page is not None:
            await page(scope, receive, send)
        elif self.app is not None:
            await self.app(scope, receive, send)
        elif self._health.phase is Phase.STARTING:
            # The answer is not 404, because the path may exist once the service has started.
            await _refuse(scope, receive, send, Unavailable("the service is starting; try again"))
        else:
            await _refuse(scope, receive, send, NotFound("there is no such page"))

    def _page(self, scope: Scope) -> ASGIApp | None:
        if scope["type"] != "http":
            return None
        path = sent_path(scope)
        if path in HEALTH_PATHS:
            return self._health_pages
        return self.metrics if path in METRICS_PATHS else None


def _closing_connection(send: Send) -> Send:
    """Return `send` with the header `connection: close` added to the response."""

    async def send_and_close(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), (b"connection", b"close")]
        await send(message)

    return send_and_close


async def _refuse(scope: Scope, receive: Receive, send: Send, error: SvgxError) -> None:
    """Answer with a problem document. A WebSocket is refused before its upgrade."""
    headers = {name.decode(): value.decode() for name, value in SECURITY_HEADERS}
    if error.status == 503:
        headers["Retry-After"] = "1"
    with CurrentSpan(tracer, "refuse", trace.SpanKind.SERVER) as span:
        response = refusals.response(error, headers)
        note_code(span, error.code, failed=error.status >= 500)
        if error.status == 503:
            # Clients reconnect at each start and stop of a service. This is normal, so it is not logged as a warning.
            log.info("request refused", status=error.status, reason=error.detail)
    if scope["type"] == "websocket":
        await WebSocket(scope, receive, send).send_denial_response(response)
    else:
        await response(scope, receive, send)


TICK_SECONDS = 1.0
"""Seconds between two updates of the header `date`."""


class Server(uvicorn.Server):
    """A uvicorn server without signal handlers, because the runtime handles the signals and drains in its own order."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._stopped = asyncio.Event()

    def stop(self) -> None:
        """Accept no more connections, and end `serve` when the requests in progress are finished."""
        self.should_exit = True
        self._stopped.set()

    async def main_loop(self) -> None:
        """Update the header `date` once a second until `stop`. uvicorn's own loop wakes ten times a second."""
        # With the counter 0, uvicorn updates the date in each tick.
        while not await self.on_tick(counter=0):
            await wait_at_most(self._stopped, TICK_SECONDS)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Install no signal handlers."""
        yield


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket. Raise `OSError` when another process uses the port."""
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
