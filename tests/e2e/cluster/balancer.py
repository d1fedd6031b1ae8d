"""A TCP load balancer in front of the gateways, in place of a Kubernetes service or an ingress.

It probes the readiness of each gateway at an interval, and does not read the bytes that it forwards.
"""

import asyncio
import contextlib
import itertools
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Self

from svgx_devstack.backing import probe
from svgx_devstack.ports import HOST
from tests.forwarding import copy_both

PROBE_INTERVAL = 1.0
"""Seconds between two probes of a gateway.

The interval is longer than the 0.2 s after which y-websocket reconnects, so a client may reconnect before a probe.
"""


class Backend:
    """A gateway behind the balancer: the number of open connections to it, and whether its last probe succeeded."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.connections = 0
        self.ready = False
        self.changed = asyncio.Condition()

    async def wait_until(self, ready: bool) -> None:
        """Wait until the result of the last probe is `ready`."""
        async with self.changed:
            await self.changed.wait_for(lambda: self.ready is ready)

    async def probe_forever(self) -> None:
        """Probe the gateway until the task is cancelled."""
        while True:
            ready = await probe.service(self.port)
            async with self.changed:
                self.ready = ready
                self.changed.notify_all()
            # This sleep waits for no event, because real balancers also probe at an interval.
            await asyncio.sleep(PROBE_INTERVAL)


Strategy = Callable[[list[Backend]], Iterable[Backend]]
"""A function that orders the ready gateways: the balancer tries them in this order."""


def fewest_connections(backends: list[Backend]) -> Iterable[Backend]:
    """Order gateways by their number of connections. Of gateways with equal numbers, the oldest is first."""
    return sorted(backends, key=lambda backend: backend.connections)


def round_robin() -> Strategy:
    """Return a strategy that starts with the next gateway for each new connection."""
    numbers = itertools.count()

    def choose(backends: list[Backend]) -> Iterable[Backend]:
        start = next(numbers) % max(1, len(backends))
        return backends[start:] + backends[:start]

    return choose


class Balancer:
    """The load balancer. Use it as an async context manager; at the end of the block all connections end."""

    def __init__(self, choose: Strategy) -> None:
        self._choose = choose
        self._backends: dict[Backend, asyncio.Task[None]] = {}
        self._connections: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, HOST, 0)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._server.close()
        tasks = [*self._backends.values(), *self._connections]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def url(self) -> str:
        """The balancer's HTTP address."""
        assert self._server is not None
        return f"http://{HOST}:{self._server.sockets[0].getsockname()[1]}"

    def connection_counts(self) -> list[int]:
        """Return the number of connections to each ready gateway."""
        return [backend.connections for backend in self._backends if backend.ready]

    async def add(self, port: int) -> Backend:
        """Add a gateway, and wait until a probe finds it ready."""
        backend = Backend(port)
        self._backends[backend] = asyncio.create_task(backend.probe_forever())
        await backend.wait_until(ready=True)
        return backend

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            for backend in self._choose([backend for backend in self._backends if backend.ready]):
                # Count the connection before it is open, because other clients connect at the same time.
                backend.connections += 1
                try:
                    with contextlib.suppress(ConnectionError):
                        await _forward(backend.port, reader, writer)
                        return
                finally:
                    backend.connections -= 1
        finally:
            writer.close()


async def _forward(port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy bytes in both directions until either side closes."""
    backend_reader, backend_writer = await asyncio.open_connection(HOST, port)
    try:
        await copy_both((reader, backend_writer), (backend_reader, writer))
    finally:
        backend_writer.close()
