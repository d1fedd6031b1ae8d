"""A service's life: settings, logs, bus, application, signals, drain. Every `__main__` calls `run`."""

import asyncio
import contextlib
import functools
import gc
import secrets
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from importlib.metadata import version as package_version
from typing import Generic

import structlog
import uvicorn
import uvloop
from nats.aio.msg import Msg
from starlette.types import ASGIApp

from svgx_common import logs, tracing
from svgx_common.background import repeat
from svgx_common.contract.transport import replica_subject
from svgx_common.health import Health, Phase
from svgx_common.http import server as httpd
from svgx_common.http.protocol import LimitedHttp
from svgx_common.messaging.bus import Bus
from svgx_common.messaging.responder import Responder
from svgx_common.settings import Settings, load

log = structlog.get_logger(__name__)

YOUNG_OBJECTS = 10_000
"""Objects made until the garbage collector looks for cycles among them. Python's 700 are made by two requests."""

LAST_SECONDS = 5.0
"""Seconds past the drain time before what is unfinished is given up, and again for handing over."""


@dataclass(slots=True)
class Service:
    """What a service's composition root hands to the runtime.

    `drain` is awaited after the responder has left its queue group and finished; it gives up what the service holds.
    `before_drain` is awaited first, while the service still answers.
    """

    asgi: ASGIApp | None = None
    before_drain: Callable[[], Awaitable[None]] | None = None
    drain: Callable[[], Awaitable[None]] | None = None


@dataclass(frozen=True, slots=True)
class Runtime(Generic[Settings]):
    """What a composition root builds with."""

    settings: Settings
    bus: Bus
    responder: Responder
    health: Health
    replica_id: str
    version: str


Build = Callable[[Runtime[Settings]], AbstractAsyncContextManager[Service]]


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
    websocket: Callable[[Settings], WebSocketOptions] | None = None,
) -> None:
    """Run the service until SIGTERM or SIGINT; returns after everything in flight is finished.

    Without `websocket` the service accepts no WebSockets.
    """
    settings = load(settings_type)
    replica_id = secrets.token_hex(6)
    version = package_version(f"svgx-{service}")
    logs.configure(service, replica_id, settings.log_level, settings.log_format)
    provider = tracing.configure(service, replica_id, version)
    try:
        listener = httpd.listen(settings.api_host, settings.api_port)
    except OSError as error:
        print(
            f"svgx: API_PORT: cannot listen on {settings.api_host}:{settings.api_port}: {error.strerror}",
            file=sys.stderr,
        )
        raise SystemExit(2) from None
    options = None if websocket is None else websocket(settings)
    life = _Life(service, settings, replica_id, version, options)
    try:
        with (
            contextlib.closing(listener),
            asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
        ):
            runner.run(life.live(listener, build))
    except Exception:
        # Through the logs: there it is one line, and without secrets.
        log.critical("ended by an error", exc_info=True)
        raise SystemExit(1) from None
    finally:
        tracing.finish(provider)


class _Life(Generic[Settings]):
    def __init__(
        self,
        service: str,
        settings: Settings,
        replica_id: str,
        version: str,
        websocket: WebSocketOptions | None,
    ) -> None:
        self._service = service
        self._settings = settings
        self._replica_id = replica_id
        self._version = version
        self._websocket = websocket
        self._stop = asyncio.Event()
        self._until: float | None = None
        """When what is unfinished is given up, by the loop's clock; known once the service drains."""
        self._reason: str | None = None
        self.health = Health(service, replica_id, version)

    async def live(self, listener: socket.socket, build: Build[Settings]) -> None:
        loop = asyncio.get_running_loop()
        for signum in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(signum, self._stop.set)
        front = httpd.Front(self.health, prometheus_enabled=self._settings.prometheus_enabled)
        # Not the setting: that may be 0, for any free port.
        self._port = listener.getsockname()[1]
        self._server = httpd.Server(self._config(front))
        self._serving = asyncio.create_task(self._server.serve(sockets=[listener]))
        try:
            await self._until_stop(self._work(front, build))
        finally:
            await self._stop_serving()
        log.info("stopped")

    async def _stop_serving(self) -> None:
        """Take no more connections, and finish the requests that are under way."""
        seconds = self._settings.drain_seconds
        if self._until is not None:
            # What was done before has taken its time; a second is for what comes after.
            seconds = min(seconds, self._until - asyncio.get_running_loop().time() - 1)
        # uvicorn reads it when it begins to stop.
        self._server.config.timeout_graceful_shutdown = max(1, round(seconds))
        self._server.should_exit = True
        await asyncio.wait({self._serving})

    def _config(self, front: httpd.Front) -> uvicorn.Config:
        websocket = self._websocket
        config = uvicorn.Config(
            front,
            http=LimitedHttp,
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,  # whom to believe is the gateway's setting
            lifespan="off",
            ws="none" if websocket is None else websocket.protocol,
            ws_per_message_deflate=False,
        )
        if websocket is not None:
            config.ws_ping_interval = websocket.ping_interval
            config.ws_ping_timeout = websocket.ping_timeout
        return config

    async def _until_stop(self, work: Coroutine[None, None, None]) -> None:
        """Run `work`, and cancel it when a signal comes before the service is up."""
        working = asyncio.create_task(work)
        stopping = asyncio.create_task(self._stop.wait())
        await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if self.health.phase is Phase.STARTING and not working.done():
            working.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await working
        else:
            await working
        stopping.cancel()

    async def _work(self, front: httpd.Front, build: Build[Settings]) -> None:
        bus = await Bus.connect(self._settings.nats_url, self._service, self._replica_id)
        responder = Responder(bus, self._version)
        self.health.require("nats", functools.partial(_require_connected, bus))
        runtime = Runtime(
            self._settings, bus, responder, self.health, self._replica_id, self._version
        )
        try:
            async with build(runtime) as service:
                front.inner = service.asgi
                await self._answer_health(bus)
                await responder.start()
                await bus.settle()
                spare_the_collector()
                self.health.phase = Phase.READY
                log.info("ready", port=self._port)
                watching = asyncio.create_task(repeat("health", self._watch_health))
                try:
                    await self._until_stop_or_gone(bus)
                finally:
                    watching.cancel()
                await self._drain(responder, service)
        finally:
            await bus.close()

    async def _watch_health(self) -> None:
        """Say in the log when what the service needs goes and comes back, also when nobody probes."""
        # Not at once: what is needed may come with the first seconds, and probes tell until then.
        await asyncio.sleep(self._settings.health_check_interval)
        report = await self.health.report()
        if report.reason != self._reason:
            tell = log.info if report.reason is None else log.warning
            tell("health changed", status=report.status, reason=report.reason)
        self._reason = report.reason

    async def _until_stop_or_gone(self, bus: Bus) -> None:
        stopping = asyncio.create_task(self._stop.wait())
        gone = asyncio.create_task(bus.wait_gone())
        await asyncio.wait({stopping, gone}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        gone.cancel()
        if not self._stop.is_set():
            # Started again it works; as it is it would live on in vain.
            raise ConnectionError("NATS closed the connection for good")

    async def _drain(self, responder: Responder, service: Service) -> None:
        log.info("draining")
        self.health.phase = Phase.DRAINING
        now = asyncio.get_running_loop().time()
        self._until = now + self._settings.drain_seconds + LAST_SECONDS
        try:
            async with asyncio.timeout_at(self._until):
                if service.before_drain is not None:
                    await service.before_drain()
                if service.asgi is not None:
                    # While the bus is still there: these requests need it.
                    await self._stop_serving()
                await responder.drain()
        except TimeoutError:
            log.error("could not finish everything within the drain time")
        if service.drain is not None:
            # Also after a timeout: what is handed over now, nobody has to take.
            try:
                async with asyncio.timeout(LAST_SECONDS):
                    await service.drain()
            except TimeoutError:
                log.error("could not hand everything over within the drain time")

    async def _answer_health(self, bus: Bus) -> None:
        async def answer(message: Msg) -> None:
            report = await self.health.report()
            await bus.respond(message.reply, report.model_dump_json().encode())

        subject = replica_subject(self._service, self._replica_id)
        await bus.connection.subscribe(subject, cb=answer)


def spare_the_collector() -> None:
    """Call once at the end of a start: what it has made stays for good, and no collection looks through it again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS)


async def _require_connected(bus: Bus) -> None:
    if not bus.connected:
        raise ConnectionError
