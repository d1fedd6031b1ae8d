"""A TCP load balancer: what a Kubernetes service or an ingress is to the gateways.

It asks each gateway again and again whether it is ready, and looks into nothing else.
"""

import asyncio
import contextlib
import itertools
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Self

from svgx_devstack.backing import probe
from svgx_devstack.ports import HOST

LOOK = 1.0
"""Seconds between two looks at a gateway: longer than the 0.2 s after which y-websocket comes back."""

_CHUNK = 64 * 1024


class Backend:
    """A gateway, as the balancer sees it. `open` counts the connections to it."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.open = 0
        self.ready = False
        self.changed = asyncio.Condition()

    async def until(self, ready: bool) -> None:
        """Wait until it is seen to be ready, or not to be."""
        async with self.changed:
            await self.changed.wait_for(lambda: self.ready is ready)

    async def watch(self) -> None:
        """Look at it for ever."""
        while True:
            ready = await probe.service(self.port)
            async with self.changed:
                self.ready = ready
                self.changed.notify_all()
            # Not a wait for something: that is how often balancers look.
            await asyncio.sleep(LOOK)


Choose = Callable[[list[Backend]], Iterable[Backend]]
"""Of those that are ready: which one to try first, second, …"""


def fewest(backends: list[Backend]) -> Iterable[Backend]:
    """The one with the fewest connections first; of equals the one that has been there longest."""
    return sorted(backends, key=lambda backend: backend.open)


def in_turns() -> Choose:
    """Each in its turn."""
    numbers = itertools.count()

    def choose(backends: list[Backend]) -> Iterable[Backend]:
        start = next(numbers) % max(1, len(backends))
        return backends[start:] + backends[:start]

    return choose


class Balancer:
    """Use it as an async context manager; at its end all connections end."""

    def __init__(self, choose: Choose) -> None:
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
        """Where it listens."""
        assert self._server is not None
        return f"http://{HOST}:{self._server.sockets[0].getsockname()[1]}"

    def open(self) -> list[int]:
        """How many connections each gateway has that is ready."""
        return [backend.open for backend in self._backends if backend.ready]

    async def add(self, port: int) -> Backend:
        """One more gateway; returns when it is seen to be ready."""
        backend = Backend(port)
        self._backends[backend] = asyncio.create_task(backend.watch())
        await backend.until(ready=True)
        return backend

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            for backend in self._choose([each for each in self._backends if each.ready]):
                # Before it is there: others are connecting too.
                backend.open += 1
                try:
                    with contextlib.suppress(ConnectionError):
                        await _connect(backend.port, reader, writer)
                        return
                finally:
                    backend.open -= 1
        finally:
            writer.close()


async def _connect(port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Carry bytes both ways until either side ends."""
    there, back = await asyncio.open_connection(HOST, port)
    ways = {asyncio.create_task(_pump(reader, back)), asyncio.create_task(_pump(there, writer))}
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        back.close()
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)


async def _pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while chunk := await source.read(_CHUNK):
            target.write(chunk)
            await target.drain()
