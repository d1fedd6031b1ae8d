"""The life of a service process: settings, logs, bus, application, signals and drain. Every `__main__` calls `run`."""

import asyncio
import contextlib
import errno
import functools
import gc
import os
import secrets
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Generic, NoReturn

import structlog
import uvicorn
import uvloop
from nats.aio.msg import Msg
from starlette.types import ASGIApp

from svgx_common import logs, metrics, tracing
from svgx_common.background import BackgroundTasks
from svgx_common.configuration import command_line, telemetry_variables
from svgx_common.configuration.build import BuildId, build_of
from svgx_common.configuration.command_line import Command
from svgx_common.contract.errors import DeadlineExceeded, SvgxError, Unavailable
from svgx_common.contract.operation import Empty
from svgx_common.contract.transport import (
    DRAIN_ORDER,
    REPLICA_LEFT,
    ReplicaLeft,
    replica_subject,
)
from svgx_common.health import Health, Phase
from svgx_common.http import server as http_server
from svgx_common.http.protocol import LimitedHttp
from svgx_common.messaging.bus import Bus
from svgx_common.messaging.connection import NatsConnection
from svgx_common.messaging.headers import HEADER_PROBE
from svgx_common.messaging.responder import ProbeAnswer, Responder
from svgx_common.messaging.wire import encode_payload
from svgx_common.observability.loop_lag import LagChecks
from svgx_common.observability.memory_watch import MemoryWatch
from svgx_common.settings import (
    WRONG_SETTING,
    Settings,
    WrongSetting,
    load,
    unknown_variables,
)

log = structlog.get_logger(__name__)

GC_THRESHOLDS = 10_000, 2, 1_000_000_000
"""The thresholds of Python's garbage collector.

After the first number of new objects, Python collects the youngest generation. After the second number of these
collections, it collects the middle generation. After the third number of middle collections, it collects all objects.

With 700 new objects, the default of Python 3.11, Python would collect every two requests. Only `MemoryWatch`
collects all objects: with 1,000 connections, such a collection takes 300 ms, in which the process does nothing else.
"""

SETTLE_PAUSE_SECONDS = 1.0
"""Time limit of the wait for NATS before `_settle` tries again, in seconds."""

GRACE_SECONDS = 5.0
"""Seconds after `DRAIN_SECONDS` until unfinished work is given up. This is also the time limit of `Service.drain`."""

METRICS_GRACE_SECONDS = 1
"""Seconds for which a stopping process still sends responses on `METRICS_PORT`."""


@dataclass(slots=True)
class Service:
    """A service as its composition root builds it: an ASGI application and hooks for the drain.

    `limit_metrics` wraps the metrics pages on the API port, for example to limit the rate of their requests.
    `before_drain` runs first, while the service still answers. `drain` runs last, after the service has left its queue
    group and finished its requests; it hands over the service's resources, such as leases.
    """

    asgi: ASGIApp | None = None
    limit_metrics: Callable[[ASGIApp], ASGIApp] | None = None
    before_drain: Callable[[], Awaitable[None]] | None = None
    drain: Callable[[], Awaitable[None]] | None = None


@dataclass(frozen=True, slots=True)
class Runtime(Generic[Settings]):
    """The objects from which a composition root builds its service."""

    settings: Settings
    bus: Bus
    responder: Responder
    health: Health
    replica_id: str
    version: str
    lag_checks: LagChecks = field(default_factory=LagChecks)


Build = Callable[[Runtime[Settings]], AbstractAsyncContextManager[Service]]
"""A composition root: builds the service, and closes its resources at the end."""


@dataclass(frozen=True, slots=True)
class WebSocketOptions:
    """The WebSocket protocol class for uvicorn, and its ping interval and timeout in seconds."""

    protocol: type[asyncio.Protocol]
    ping_interval: float
    ping_timeout: float


def run(
    service: str,
    settings_type: type[Settings],
    build: Build[Settings],
    *,
    websocket: Callable[[Settings], WebSocketOptions] | None = None,
    metrics_port: Callable[[Settings], int | None] = lambda _: None,
    commands: Mapping[str, Command] | None = None,
) -> None:
    """Run the service until SIGTERM, SIGINT or an admin's order to drain. Return after the drain.

    The drain finishes all requests, within its time limit.

    Without `websocket` the service accepts no WebSockets. The metrics are on the API port unless `metrics_port` returns
    another port. When the command line names one of `commands`, run that command instead.
    """
    gc.enable()  # `quick_imports` stopped it
    if not command_line.handle(service, settings_type, sys.argv[1:], commands or {}):
        return
    settings = load(settings_type)
    replica_id = secrets.token_hex(6)
    built = build_of(service)
    logs.configure(service, replica_id, settings.log_level, settings.log_format)
    metrics.start(service, built.version, built.revision)
    for unknown in unknown_variables(settings_type):
        log.warning("unknown variable", variable=unknown.name, did_you_mean=unknown.nearest)
    for name, reason in telemetry_variables.ignored(os.environ):
        log.warning("OpenTelemetry ignores a variable", variable=name, reason=reason)
    try:
        provider = tracing.configure(service, replica_id, built.version)
    except (ValueError, RuntimeError, ImportError):
        # The exception's text may contain the value.
        _refuse_start("OTEL_*: OpenTelemetry does not accept its variables")
    listeners = _Listeners(
        _listen("API_PORT", settings.api_host, settings.api_port),
        None
        if (port := metrics_port(settings)) is None
        else _listen("METRICS_PORT", settings.api_host, port),
    )
    options = None if websocket is None else websocket(settings)
    log.info("starting", version=built.version, revision=built.revision)
    process = _ServiceProcess(service, settings, replica_id, built, options)
    try:
        with (
            listeners,
            asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
        ):
            runner.run(process.run(listeners, build))
    except WrongSetting as error:
        _refuse_start(str(error))
    except Exception:
        # Log the error, because a log line is redacted and Python's own traceback is not.
        log.critical("ended by an error", exc_info=True)
        raise SystemExit(1) from None
    finally:
        tracing.finish(provider)


@dataclass(frozen=True, slots=True)
class _Listeners:
    """The listening sockets of a process. `metrics` is None when the metrics have no port of their own."""

    api: socket.socket
    metrics: socket.socket | None

    def __enter__(self) -> None:
        """Keep the sockets open until the end of the block."""

    def __exit__(self, *_: object) -> None:
        """Close the sockets."""
        self.api.close()
        if self.metrics is not None:
            self.metrics.close()


def _listen(variable: str, host: str, port: int) -> socket.socket:
    """Return a listening socket. Refuse the start when the port of this setting is taken, or the host is wrong."""
    try:
        return http_server.listen(host, port)
    except OSError as error:
        if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
            variable = "API_HOST"
        _refuse_start(f"{variable}: cannot listen on {host}:{port}: {error.strerror}")


def _refuse_start(line: str) -> NoReturn:
    """Print the line, and end the process with the status of a wrong setting."""
    print(f"svgx: {line}", file=sys.stderr)
    raise SystemExit(WRONG_SETTING)


class _ServiceProcess(Generic[Settings]):
    """The run of a service, from the start of its HTTP server to the end of its drain."""

    def __init__(
        self,
        service: str,
        settings: Settings,
        replica_id: str,
        built: BuildId,
        websocket: WebSocketOptions | None,
    ) -> None:
        self._service = service
        self._settings = settings
        self._replica_id = replica_id
        self._version = built.version
        self._websocket = websocket
        self._stop = asyncio.Event()
        self._drain_deadline: float | None = None
        """The loop time at which unfinished work is given up; None until the service drains."""
        self._last_reason: str | None = None
        """The reason in the last health report that was logged."""
        self._health = Health(service, replica_id, built.version, built.revision)
        self._lag_checks = LagChecks()

    async def run(self, listeners: _Listeners, build: Build[Settings]) -> None:
        """Serve on the listeners until a signal or an order to drain arrives, then drain."""
        loop = asyncio.get_running_loop()
        for signum in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(signum, self._stop.set)
        application = http_server.ServiceApplication(
            self._health, prometheus_enabled=self._settings.prometheus_enabled
        )
        # The setting may be 0, for any free port.
        self._port = listeners.api.getsockname()[1]
        self._server = http_server.Server(_uvicorn_config(application, self._websocket))
        self._serving = asyncio.create_task(self._server.serve(sockets=[listeners.api]))
        self._lag_checks.start()
        try:
            async with self._serving_metrics(application, listeners.metrics):
                await self._cancel_on_early_stop(self._work(application, build))
        finally:
            await self._stop_serving()
            self._lag_checks.stop()
        log.info("stopped")

    @contextlib.asynccontextmanager
    async def _serving_metrics(
        self, application: http_server.ServiceApplication, listener: socket.socket | None
    ) -> AsyncIterator[None]:
        """Serve the metrics on a listener of their own, instead of the API port, until the end of the block."""
        pages = application.metrics
        if listener is None or pages is None:
            yield
            return
        application.metrics = None
        server = http_server.Server(_uvicorn_config(pages, None))
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            yield
        finally:
            # A client that does not read its response must not delay the end of the process.
            server.config.timeout_graceful_shutdown = METRICS_GRACE_SECONDS
            server.stop()
            await asyncio.wait({serving})

    async def _stop_serving(self) -> None:
        """Accept no more connections, and wait until the requests in progress are finished."""
        seconds = self._settings.drain_seconds
        if self._drain_deadline is not None:
            # `before_drain` has used part of the time. One second remains for the responder's drain.
            seconds = min(seconds, self._drain_deadline - asyncio.get_running_loop().time() - 1)
        # uvicorn reads this value when it begins to shut down.
        self._server.config.timeout_graceful_shutdown = max(1, round(seconds))
        self._server.stop()
        await asyncio.wait({self._serving})

    async def _cancel_on_early_stop(self, work: Coroutine[None, None, None]) -> None:
        """Run `work`, and cancel it when a signal or an order to drain arrives before the service is ready."""
        working = asyncio.create_task(work)
        stopping = asyncio.create_task(self._stop.wait())
        await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if self._health.phase is Phase.STARTING and not working.done():
            working.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await working
        else:
            await working
        stopping.cancel()

    async def _work(
        self, application: http_server.ServiceApplication, build: Build[Settings]
    ) -> None:
        """Connect to NATS, build the service, answer requests until the stop, and drain."""
        settings = self._settings
        bus = Bus(NatsConnection(), self._service, self._replica_id)
        # The report names the failure while the service waits for NATS.
        self._health.require("nats", bus.check)
        await bus.open(settings.nats_url, seed=settings.nats_nkey_seed.get_secret_value())
        responder = Responder(bus, self._version)
        runtime = Runtime(
            self._settings,
            bus,
            responder,
            self._health,
            self._replica_id,
            self._version,
            self._lag_checks,
        )
        background = BackgroundTasks()
        try:
            async with build(runtime) as service:
                application.app = service.asgi
                if service.limit_metrics is not None and application.metrics is not None:
                    application.metrics = service.limit_metrics(application.metrics)
                await self._answer_health(bus)
                await self._obey_drain(bus)
                await responder.start()
                await _settle(bus)
                freeze_startup_objects()
                self._health.phase = Phase.READY
                log.info("ready", port=self._port)
                background.repeat("health", self._watch_health)
                background.repeat("memory", MemoryWatch().watch)
                try:
                    await self._wait_for_stop(bus)
                finally:
                    await background.stop()
                await self._drain(bus, responder, service)
        finally:
            await bus.close()

    async def _watch_health(self) -> None:
        """Wait, then log the health if it has changed, even if no probe asks for it."""
        # Wait before the first check too, because dependencies may start later than this service.
        await asyncio.sleep(self._settings.health_check_interval)
        report = await self._health.report()
        if report.reason != self._last_reason:
            log_change = log.info if report.reason is None else log.warning
            log_change("health changed", status=report.status, reason=report.reason)
        self._last_reason = report.reason

    async def _wait_for_stop(self, bus: Bus) -> None:
        """Wait for a signal or an order to drain. Raise `ConnectionError` when NATS closes the connection for good."""
        stopping = asyncio.create_task(self._stop.wait())
        closed = asyncio.create_task(bus.wait_closed())
        await asyncio.wait({stopping, closed}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        closed.cancel()
        if not self._stop.is_set():
            # A restart of the process opens a new connection.
            raise ConnectionError("NATS closed the connection for good")

    async def _drain(self, bus: Bus, responder: Responder, service: Service) -> None:
        """Finish the requests in progress, then hand over the service's resources. Each step has a time limit."""
        log.info("draining")
        self._health.phase = Phase.DRAINING
        now = asyncio.get_running_loop().time()
        self._drain_deadline = now + self._settings.drain_seconds + GRACE_SECONDS
        try:
            async with asyncio.timeout_at(self._drain_deadline):
                if service.before_drain is not None:
                    await service.before_drain()
                if service.asgi is not None:
                    # HTTP requests need the responder and the bus, so finish the requests first.
                    await self._stop_serving()
                await responder.drain()
        except TimeoutError:
            # Log no error, because the usual cause is a failure of another process. Clients repeat the requests.
            log.warning("could not finish all requests within the drain time")
        if service.drain is not None:
            # Hand over even after a timeout, because other replicas then take over faster.
            try:
                async with asyncio.timeout(GRACE_SECONDS):
                    await service.drain()
            except TimeoutError:
                log.warning("could not hand over all resources within the drain time")
        left = ReplicaLeft.model_validate({"service": self._service, "replica": self._replica_id})
        with contextlib.suppress(SvgxError):
            await bus.broadcast(REPLICA_LEFT, left)

    async def _answer_health(self, bus: Bus) -> None:
        """Answer health requests on this replica's own subject."""
        subject = replica_subject(self._service, self._replica_id)
        answer = functools.partial(answer_health, bus, self._health)
        await bus.connection.subscribe(subject, cb=answer)

    async def _obey_drain(self, bus: Bus) -> None:
        """Subscribe to an admin's order to drain. The process then drains and ends, as after SIGTERM."""

        async def drain(message: Msg) -> None:
            if message.headers and HEADER_PROBE in message.headers:
                return
            await bus.respond(message.reply, encode_payload(Empty()))
            log.info("an admin ordered the drain")
            self._stop.set()

        subject = DRAIN_ORDER.subject_of(service=self._service, replica_id=self._replica_id)
        await bus.connection.subscribe(subject, cb=drain)


async def answer_health(bus: Bus, health: Health, message: Msg) -> None:
    """Answer a request for a health report. A probe asks only whether the replica runs, so it waits for no check."""
    if message.headers and HEADER_PROBE in message.headers:
        answer = ProbeAnswer(replica=bus.replica_id, at=time.time())
        await bus.respond(message.reply, encode_payload(answer))
        return
    report = await health.report()
    await bus.respond(message.reply, report.model_dump_json().encode())


def _uvicorn_config(application: ASGIApp, websocket: WebSocketOptions | None) -> uvicorn.Config:
    """Return the configuration of an HTTP server. Without `websocket` it accepts no WebSockets."""
    config = uvicorn.Config(
        application,
        http=LimitedHttp,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # the gateway's own setting lists the trusted proxies
        lifespan="off",
        ws="none" if websocket is None else websocket.protocol,
        ws_per_message_deflate=False,
    )
    if websocket is not None:
        config.ws_ping_interval = websocket.ping_interval
        config.ws_ping_timeout = websocket.ping_timeout
    return config


async def _settle(bus: Bus) -> None:
    """Wait until NATS has processed all subscriptions. NATS may stop meanwhile, and come back."""
    while True:
        try:
            await bus.settle()
        except (Unavailable, DeadlineExceeded):
            log.info("nats was lost during the start; the service waits for it")
            await bus.wait_connected(SETTLE_PAUSE_SECONDS)
        else:
            return


def freeze_startup_objects() -> None:
    """Exclude all objects that exist now from garbage collection. Call once, at the end of the start.

    These objects live as long as the process, so checking them in each collection would cost time for nothing.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
