"""The registry of live canvases: every canvas with connections or unsaved edits on this gateway."""

import asyncio
import contextlib
import contextvars
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator

import structlog
from prometheus_client import Gauge

from svgx_common.background import BackgroundTasks
from svgx_common.contract.close_codes import Close
from svgx_common.contract.errors import SvgxError
from svgx_common.messaging.bus import Bus
from svgx_common.messaging.caller import Caller
from svgx_common.observability.log_ids import use_ids
from svgx_gateway.identity.canvas_roles import CanvasRoles
from svgx_gateway.identity.revocations import ACCOUNT_CHANGED
from svgx_gateway.websocket.canvas import LiveCanvas
from svgx_gateway.websocket.connection import Connection
from svgx_gateway.websocket.links.outgoing_batch import OLDEST_UNSAVED, UNACKED
from svgx_gateway.websocket.links.replica_links import ReplicaLinks
from svgx_gateway.websocket.outbox import RETRY_SECONDS
from svgx_gateway.websocket.role_checks import RoleChecks

log = structlog.get_logger(__name__)

CONNECTIONS = Gauge(
    "svgx_engine_live_connections",
    "Connections that have joined a canvas on this gateway. A Hocuspocus socket has one for each document.",
)
EDITORS = Gauge("svgx_engine_live_editors", "Joined connections with a role that permits edits.")
CANVASES = Gauge(
    "svgx_engine_live_canvases", "Canvases with connections or unsaved edits on this gateway."
)

LEAVE_SECONDS = 2.0
"""Maximum time, in seconds, that a drain waits for the closed connections to leave their canvases."""


class LiveCanvases:
    """The live canvases of one gateway."""

    def __init__(self, bus: Bus, canvas_roles: CanvasRoles) -> None:
        self._bus = bus
        self._canvas_roles = canvas_roles
        self._links = ReplicaLinks(bus)
        self._role_checks = RoleChecks(canvas_roles)
        self._canvases: dict[str, LiveCanvas] = {}
        self._starting: dict[str, asyncio.Task[LiveCanvas]] = {}
        self._expected = Counter[str]()
        """By canvas id: the number of connections that wait for the start of the canvas."""
        self._context = contextvars.copy_context()
        self._removals = BackgroundTasks()
        self._draining = False
        self._joined = 0
        """Number of connections that have joined a canvas and have not left it completely."""
        self._all_left = asyncio.Event()
        """Set while `_joined` is 0."""
        self._all_left.set()
        bus.on_reconnect(self._reconnected)
        canvas_roles.on_change(self._access_changed)
        CONNECTIONS.set_function(self._count_connections)
        EDITORS.set_function(self._count_editors)
        UNACKED.set_function(self._unsaved_bytes)
        OLDEST_UNSAVED.set_function(self._oldest_unsaved_seconds)
        CANVASES.set_function(lambda: len(self._canvases))

    async def join(self, canvas_id: str, connection: Connection) -> LiveCanvas:
        """Add a connection to its canvas, and return the canvas. Unless `join` raises, the caller must call `leave`."""
        self._expected[canvas_id] += 1
        try:
            canvas = await self._start(canvas_id)
            canvas.connections.add(connection)
        finally:
            self._expected[canvas_id] -= 1
            self._remove_unused(canvas_id)
        self._joined += 1
        self._all_left.clear()
        if self._draining:
            # The drain did not close this connection, because it had not joined yet.
            connection.close(Close.RESTARTING, "restarting")
        try:
            # Check the role again, because a change since the first lookup did not reach this connection.
            await self.check_role(connection, canvas)
        except BaseException:
            await self.leave(canvas, connection)
            raise
        return canvas

    async def leave(self, canvas: LiveCanvas, connection: Connection) -> None:
        """Remove a connection from its canvas, and its presence from the other clients."""
        canvas.connections.discard(connection)
        try:
            if (state := connection.awareness.removal()) is not None:
                with contextlib.suppress(SvgxError):
                    await canvas.presence.publish(connection, state)
        finally:
            self._remove_unused(canvas.canvas_id)
            self._joined -= 1
            if not self._joined:
                self._all_left.set()

    async def drain(self, seconds: float) -> None:
        """Close every connection in random order over `seconds`, then wait until all edits are committed.

        The clients reconnect to another gateway.
        """
        self._draining = True
        connections = [each for canvas in self._canvases.values() for each in canvas.connections]
        random.shuffle(connections)
        clock = asyncio.get_running_loop().time
        start = clock()
        for number, connection in enumerate(connections):
            # Wait until an absolute time, because every sleep lasts a little too long and the errors would add up.
            await asyncio.sleep(start + seconds * number / len(connections) - clock())
            connection.close(Close.RESTARTING, "restarting")
        with contextlib.suppress(TimeoutError):
            # Wait until each connection has sent its close code and removed its presence, before the server ends.
            async with asyncio.timeout(LEAVE_SECONDS):
                await self._all_left.wait()
        await asyncio.gather(
            *(canvas.outbox.wait_until_empty() for canvas in self._canvases.values())
        )

    async def stop(self) -> None:
        """Stop the background tasks and every canvas."""
        await self._removals.stop()
        await self._role_checks.stop()
        await asyncio.gather(*(canvas.stop() for canvas in self._canvases.values()))
        await self._links.stop()

    def close_revoked(self, revocation: Callable[[Caller], str | None]) -> None:
        """Close the connections of revoked access tokens and API keys.

        `revocation` returns the reason for a caller, or None for a caller that is not revoked. For the reason
        `ACCOUNT_CHANGED`, the connection is closed with 1012: the API key may still be valid, so the client reconnects
        at once. For any other reason it is closed with 4401, and the client needs a fresh token or another key.
        """
        for canvas in self._canvases.values():
            for connection in canvas.connections:
                reason = revocation(connection.caller)
                if reason == ACCOUNT_CHANGED:
                    connection.close(Close.RESTARTING, reason)
                elif reason is not None:
                    connection.close(Close.UNAUTHENTICATED, reason)

    @property
    def is_draining(self) -> bool:
        """True once the drain has begun."""
        return self._draining

    async def check_role(self, connection: Connection, canvas: LiveCanvas) -> None:
        """Look up a connection's role again, and adopt it."""
        await self._role_checks.check(connection, canvas)

    def check_role_later(self, connection: Connection, canvas_id: str) -> None:
        """Check a connection's role in the background. The connection's edits wait until the role is known."""
        if (canvas := self._canvases.get(canvas_id)) is not None:
            self._role_checks.check_later(connection, canvas)

    def live(self, canvas_id: str) -> LiveCanvas | None:
        """Return the canvas if it is live on this gateway, or None."""
        return self._canvases.get(canvas_id)

    def watch_share_link(
        self, connection: Connection, canvas: LiveCanvas, expires_at: float | None
    ) -> asyncio.TimerHandle | None:
        """Start a timer that removes the share link from a connection when the share link expires.

        The connection keeps only the role of its account after that time. `expires_at` is the time in Unix seconds. If
        it is None, start no timer and return None.
        """
        if expires_at is None:
            return None

        def expire() -> None:
            connection.renew(connection.caller.with_link(None))
            self._role_checks.check_later(connection, canvas)

        seconds = max(0.0, expires_at - time.time())
        return asyncio.get_running_loop().call_later(seconds, expire)

    def connections(self) -> Iterator[tuple[str, Connection]]:
        """Yield the open connections, each with the id of its canvas."""
        for canvas_id, canvas in self._canvases.items():
            for connection in canvas.connections:
                yield canvas_id, connection

    def details(self) -> dict[str, float]:
        """Return figures for the health report."""
        return {
            "connections": self._count_connections(),
            "canvases": len(self._canvases),
            "oldest_unsaved_seconds": round(self._oldest_unsaved_seconds(), 3),
        }

    def _count_connections(self) -> int:
        return sum(len(canvas.connections) for canvas in self._canvases.values())

    def _count_editors(self) -> int:
        return sum(
            each.may_edit for canvas in self._canvases.values() for each in canvas.connections
        )

    def _unsaved_bytes(self) -> int:
        return sum(canvas.outbox.unsaved_bytes for canvas in self._canvases.values())

    def _oldest_unsaved_seconds(self) -> float:
        times = (canvas.outbox.unsaved_since for canvas in self._canvases.values())
        now = time.monotonic()
        return now - min((since for since in times if since is not None), default=now)

    async def _start(self, canvas_id: str) -> LiveCanvas:
        """Return the live canvas; start it unless it is live or starting already."""
        if (canvas := self._canvases.get(canvas_id)) is not None:
            return canvas
        starting = self._starting.get(canvas_id)
        if starting is None:
            # The tasks of a canvas serve all its users, so their log lines must not have the first user's id.
            context = self._context.copy()
            starting = asyncio.create_task(self._start_new(canvas_id), context=context)
            self._starting[canvas_id] = starting
            starting.add_done_callback(lambda _: self._starting.pop(canvas_id, None))
        return await asyncio.shield(starting)

    async def _start_new(self, canvas_id: str) -> LiveCanvas:
        use_ids({"canvas_id": canvas_id})
        canvas = LiveCanvas(self._bus, canvas_id, self._links)
        try:
            await canvas.start()
        except BaseException:
            await canvas.stop()
            raise
        self._canvases[canvas_id] = canvas
        # Every connection that waited for this canvas may have gone meanwhile.
        self._remove_unused(canvas_id)
        return canvas

    def _remove_unused(self, canvas_id: str) -> None:
        """Start to remove a canvas without connections, unless a connection is about to join it."""
        canvas = self._canvases.get(canvas_id)
        if self._expected[canvas_id] == 0:
            del self._expected[canvas_id]
            if canvas is not None and not canvas.connections:
                self._removals.start("remove a canvas", self._remove(canvas))

    async def _remove(self, canvas: LiveCanvas) -> None:
        """Stop a canvas without connections once its edits are committed, or after `RETRY_SECONDS`.

        A canvas that a client joins meanwhile is not stopped. If this client leaves too, another removal begins, with a
        time limit of its own.
        """
        canvas.removals += 1
        number = canvas.removals
        with contextlib.suppress(TimeoutError):
            # The time limit is the same as for a canvas with clients, because a user that closes a tab expects the
            # edits to be saved.
            async with asyncio.timeout(RETRY_SECONDS):
                await canvas.outbox.wait_until_empty()
        is_unused = (
            number == canvas.removals
            and not canvas.connections
            and canvas.canvas_id not in self._expected
        )
        if is_unused and self._canvases.get(canvas.canvas_id) is canvas:
            del self._canvases[canvas.canvas_id]
            await canvas.stop()

    async def _reconnected(self) -> None:
        """Check roles and broadcasts and resend batches, because messages may have been lost while NATS was down."""
        self._canvas_roles.forget()
        for canvas in self._canvases.values():
            canvas.suspect_gap()
            canvas.outbox.resend()
            self._role_checks.check_all(canvas)

    async def _access_changed(self, canvas_id: str) -> None:
        """Check the roles on a canvas, because a change was announced."""
        if (canvas := self._canvases.get(canvas_id)) is not None:
            self._role_checks.check_all(canvas)
