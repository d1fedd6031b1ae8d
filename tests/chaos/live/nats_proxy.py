"""A TCP proxy between one process and NATS. A drill can cut its connections, or delay their bytes."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit, urlunsplit

from svgx_devstack.ports import HOST
from tests.forwarding import copy_both


class NatsProxy:
    """A proxy in front of the NATS server at `url`."""

    def __init__(self, url: str) -> None:
        self._target = urlsplit(url)
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._is_cut = False
        self._may_carry = asyncio.Event()
        self._may_carry.set()

    @classmethod
    @asynccontextmanager
    async def open(cls, url: str) -> AsyncIterator["NatsProxy"]:
        """Run the proxy until the end of the block."""
        proxy = cls(url)
        proxy._server = await asyncio.start_server(proxy._accept, HOST, 0)
        try:
            yield proxy
        finally:
            proxy._server.close()
            await proxy._drop()

    @property
    def url(self) -> str:
        """The proxy's address, with the user and password of the server's address."""
        assert self._server is not None
        credentials = self._target.netloc.rpartition("@")[0]
        port = self._server.sockets[0].getsockname()[1]
        return urlunsplit(self._target._replace(netloc=f"{credentials}@{HOST}:{port}"))

    async def cut(self, seconds: float) -> None:
        """End all connections, and for the next `seconds` end each new connection at once."""
        self._is_cut = True
        try:
            await self._drop()
            await asyncio.sleep(seconds)
        finally:
            self._is_cut = False

    async def mute(self, seconds: float) -> None:
        """Keep the connections open, but forward no bytes for `seconds`. The delayed bytes arrive afterwards."""
        self._may_carry.clear()
        try:
            await asyncio.sleep(seconds)
        finally:
            self._may_carry.set()

    async def _drop(self) -> None:
        """End all connections."""
        tasks = list(self._connections)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers = [writer]
        try:
            if self._is_cut:
                return
            with contextlib.suppress(OSError):
                server_reader, server_writer = await asyncio.open_connection(
                    HOST, self._target.port
                )
                writers.append(server_writer)
                await copy_both(
                    (reader, server_writer), (server_reader, writer), may_carry=self._may_carry
                )
        finally:
            for each in writers:
                each.transport.abort()
