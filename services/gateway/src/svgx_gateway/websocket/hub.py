"""All canvases that have connections on this gateway, and how they are drained."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable

import structlog
from prometheus_client import Gauge

from svgx_common.contract.close_codes import Close
from svgx_common.contract.errors import SvgxError
from svgx_common.messaging.bus import Bus
from svgx_common.messaging.caller import Caller
from svgx_gateway.identity.canvas_roles import CanvasRoles
from svgx_gateway.websocket.canvas import LiveCanvas
from svgx_gateway.websocket.connection import Connection
from svgx_gateway.websocket.outbox import PATIENCE
from svgx_gateway.websocket.roles import Roles

log = structlog.get_logger(__name__)

CONNECTIONS = Gauge("svgx_engine_live_connections", "WebSocket connections open on this gateway.")
CANVASES = Gauge("svgx_engine_live_canvases", "Canvases with a connection on this gateway.")

LEAVING = 2.0
"""Seconds that closed connections of a stopping gateway have to be gone."""


class Hub:
    """Groups connections by canvas."""

    def __init__(self, bus: Bus, canvas_roles: CanvasRoles) -> None:
        self._bus = bus
        self._canvas_roles = canvas_roles
        self._roles = Roles(canvas_roles)
        self._canvases: dict[str, LiveCanvas] = {}
        self._starting: dict[str, asyncio.Task[LiveCanvas]] = {}
        self._stopping: set[asyncio.Task[None]] = set()
        self._closing = False
        self._inside = 0
        self._empty = asyncio.Event()
        self._empty.set()
        bus.on_reconnect(self._reconnected)
        canvas_roles.on_change(self._access_changed)
        CONNECTIONS.set_function(self._count)
        CANVASES.set_function(lambda: len(self._canvases))

    @contextlib.asynccontextmanager
    async def joined(self, canvas_id: str, connection: Connection) -> AsyncIterator[LiveCanvas]:
        """The canvas, with the connection among its own for the length of the block."""
        canvas = await self._canvas(canvas_id)
        canvas.connections.add(connection)
        self._inside += 1
        self._empty.clear()
        if self._closing:
            # It was on its way when the gateway was told to stop, and was not among those that were closed.
            connection.close(Close.RESTARTING, "restarting")
        try:
            # Once more: a change announced since the role was looked up found nobody to tell.
            await self.check_role(connection, canvas)
            yield canvas
        finally:
            canvas.connections.discard(connection)
            if (farewell := connection.voice.farewell()) is not None:
                with contextlib.suppress(SvgxError):
                    await canvas.tell_of(connection, farewell)
            if not canvas.connections and self._canvases.get(canvas_id) is canvas:
                task = asyncio.create_task(self._stop_when_flushed(canvas))
                self._stopping.add(task)
                task.add_done_callback(self._stopping.discard)
            self._inside -= 1
            if not self._inside:
                self._empty.set()

    async def drain(self, seconds: float) -> None:
        """Send every client to another gateway, spread over `seconds`; then see that what they sent is saved."""
        self._closing = True
        connections = [each for canvas in self._canvases.values() for each in canvas.connections]
        random.shuffle(connections)
        clock = asyncio.get_running_loop().time
        began = clock()
        for number, connection in enumerate(connections):
            # By the clock: of a thousand short pauses each is a little longer than it should be.
            await asyncio.sleep(began + seconds * number / len(connections) - clock())
            connection.close(Close.RESTARTING, "restarting")
        with contextlib.suppress(TimeoutError):
            # Each says by itself why it ends, and tells the others that it has gone: the server would cut it short.
            async with asyncio.timeout(LEAVING):
                await self._empty.wait()
        await asyncio.gather(*(canvas.outbox.flushed() for canvas in self._canvases.values()))

    async def stop(self) -> None:
        """Drop everything."""
        for task in self._stopping:
            task.cancel()
        await self._roles.stop()
        await asyncio.gather(*(canvas.stop() for canvas in self._canvases.values()))

    def close_revoked(self, revoked: Callable[[Caller], bool]) -> None:
        """End the connections of those whose access token counts no more; with a fresh one they may come back."""
        for canvas in self._canvases.values():
            for connection in canvas.connections:
                if revoked(connection.caller):
                    connection.close(Close.UNAUTHENTICATED, "the access token has been revoked")

    async def check_role(self, connection: Connection, canvas: LiveCanvas) -> None:
        """Look up again what a connection may do."""
        await self._roles.check(connection, canvas)

    def details(self) -> dict[str, int]:
        """Figures for the health report."""
        return {"connections": self._count(), "canvases": len(self._canvases)}

    def _count(self) -> int:
        return sum(len(canvas.connections) for canvas in self._canvases.values())

    async def _canvas(self, canvas_id: str) -> LiveCanvas:
        if (canvas := self._canvases.get(canvas_id)) is not None:
            return canvas
        starting = self._starting.get(canvas_id)
        if starting is None:
            starting = asyncio.create_task(self._start_canvas(canvas_id))
            self._starting[canvas_id] = starting
            starting.add_done_callback(lambda _: self._starting.pop(canvas_id, None))
        return await asyncio.shield(starting)

    async def _start_canvas(self, canvas_id: str) -> LiveCanvas:
        canvas = LiveCanvas(self._bus, canvas_id)
        await canvas.start()
        self._canvases[canvas_id] = canvas
        return canvas

    async def _stop_when_flushed(self, canvas: LiveCanvas) -> None:
        with contextlib.suppress(TimeoutError):
            # As long as for somebody who stayed: who closes a tab was told nothing, and trusts that it is saved.
            async with asyncio.timeout(PATIENCE):
                await canvas.outbox.flushed()
        if not canvas.connections and self._canvases.get(canvas.canvas_id) is canvas:
            del self._canvases[canvas.canvas_id]
            await canvas.stop()

    async def _reconnected(self) -> None:
        """Whatever was announced meanwhile was missed."""
        self._canvas_roles.forget()
        for canvas in self._canvases.values():
            canvas.look_for_gaps()
            canvas.outbox.holder_changed()
            self._roles.doubt(canvas)

    async def _access_changed(self, canvas_id: str) -> None:
        """Roles on a canvas changed: its connections keep what they still may."""
        if (canvas := self._canvases.get(canvas_id)) is not None:
            self._roles.doubt(canvas)
