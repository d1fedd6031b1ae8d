"""The element feed of one canvas: the edits and the locks for the JSON clients of this gateway."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import structlog
from nats.aio.subscription import Subscription
from prometheus_client import Counter
from pydantic_core import to_json

from svgx_common.background import BackgroundTasks
from svgx_common.contract.close_codes import close_code_of_canvas
from svgx_common.contract.collab import Edit, SyncReply
from svgx_common.contract.errors import SvgxError
from svgx_common.contract.live.element_events import (
    CANVAS_ELEMENTS,
    LISTENING_SECONDS,
    ElementEvents,
)
from svgx_common.contract.live.json_messages import LockAcquired, LockReleased, Reload
from svgx_common.contract.live.locks import CANVAS_LOCKS, LockChange
from svgx_common.messaging.bus import Bus
from svgx_common.messaging.holder import ask_to_save
from svgx_common.messaging.wire import decode
from svgx_gateway.websocket.json_clients.connection import JsonConnection
from svgx_gateway.websocket.transport.frames import encode_text_frame
from svgx_yjs.structure import EMPTY_UPDATE

log = structlog.get_logger(__name__)

RETRY_SECONDS = 20.0
"""Longest time, in seconds, for which an unanswered request for the saved revision is repeated."""

ATTEMPT_SECONDS = 5.0
"""Time limit for one answer of the holder, in seconds. Beyond it, the request is repeated."""

SECONDS_BETWEEN_CLIENTS = 0.02
"""Seconds between the reloads of two clients, because each client then loads an export, which a worker makes."""

SHORTEST_PAUSE_SECONDS = 1.0
"""Fewest seconds between two reloads of a client.

While reloads follow each other, each pause is twice as long as the pause before, up to `LONGEST_PAUSE_SECONDS`.
"""

LONGEST_PAUSE_SECONDS = 10.0
"""Longest pause between two reloads of a client, in seconds, because exports have a rate limit."""

RELOADS = Counter(
    "svgx_engine_live_json_reloads",
    "Reloads: the JSON clients of a canvas were told to load it again, because events may be missing, or because the"
    " holder asked for it.",
)

RequestSync = Callable[[], Awaitable[SyncReply]]
"""A function that asks the holder for its position, and tells the holder that the gateway has JSON clients."""


class ElementFeed:
    """Sends the element events and the lock changes of one canvas to the JSON clients on this gateway.

    The holder observes changes of elements while a gateway has JSON clients (see `ElementEvents`). When events may be
    missing, after a gap or with a new holder, the feed tells its clients to load the canvas again.
    """

    def __init__(self, bus: Bus, canvas_id: str, request_sync: RequestSync) -> None:
        self._bus = bus
        self._canvas_id = canvas_id
        self._request_sync = request_sync
        self._connections: set[JsonConnection] = set()
        self._subscriptions: list[Subscription] = []
        self._epoch: str | None = None
        """The epoch of the holder that observes the changes."""
        self._sequence: int | None = None
        """The sequence of the newest event; None before the first one of the epoch."""
        self._asked_at: float | None = None
        """Time of the newest answered request to the holder, in seconds of the monotonic clock; None before it."""
        self._must_reload = False
        """True if events may be missing that the running reload does not cover."""
        self._is_reloading = False
        self._subscribing = asyncio.Lock()
        self._background = BackgroundTasks()

    @property
    def has_clients(self) -> bool:
        """Return whether the canvas has JSON clients on this gateway."""
        return bool(self._connections)

    async def join(self, connection: JsonConnection) -> tuple[SyncReply, int]:
        """Send events to this connection from now on. Return the holder's position and a revision.

        Every later change comes as an event, and all earlier edits are committed at the revision. Raises the errors of
        the requests to the holder. The caller must call `leave`, also after an error.
        """
        self._connections.add(connection)
        async with self._subscribing:
            if not self._subscriptions:
                await self._subscribe()
        reply = await self._request_sync()
        return reply, await self._saved_revision()

    async def _subscribe(self) -> None:
        elements, locks = (
            channel.subject_of(canvas_id=self._canvas_id)
            for channel in (CANVAS_ELEMENTS, CANVAS_LOCKS)
        )
        subscription = await self._bus.listen(elements, self._receive_elements, lost=self.reload)
        try:
            self._subscriptions = [
                subscription,
                await self._bus.listen(locks, self._receive_lock),
            ]
        except BaseException:
            await self._bus.leave([subscription])
            raise

    async def leave(self, connection: JsonConnection) -> None:
        """Send no more events to this connection. After the last connection, end the subscriptions."""
        self._connections.discard(connection)
        if self._subscriptions and not self._connections:
            subscriptions, self._subscriptions = self._subscriptions, []
            self._epoch = self._sequence = self._asked_at = None
            await self._bus.leave(subscriptions)

    async def stop(self) -> None:
        """Stop the reload that runs, if any."""
        await self._background.stop()

    def note_reply(self, epoch: str, asked_at: float) -> None:
        """Note a reply of the holder to a request that was sent at `asked_at`, in seconds of the monotonic clock.

        After a long time without a request, for example while this process was stopped, the holder may have stopped
        observing changes, so the clients must load them.
        """
        if not self._connections:
            return
        before = self._asked_at
        self._asked_at = asked_at if before is None else max(before, asked_at)
        self.note_holder(epoch)
        if before is not None and time.monotonic() - before > LISTENING_SECONDS:
            self.reload()

    def note_holder(self, epoch: str) -> None:
        """Note the holder's epoch. A new holder has not observed all changes, so the clients have to reload."""
        if not self._connections or epoch == self._epoch:
            return
        is_first = self._epoch is None
        self._epoch, self._sequence = epoch, None
        if not is_first:
            self.reload()

    def reload(self) -> None:
        """Tell the clients to load the canvas again, because events may be missing."""
        if not self._connections:
            return
        self._must_reload = True
        if not self._is_reloading:
            self._is_reloading = True
            self._background.start("reload JSON clients", self._reload())

    async def _reload(self) -> None:
        pause = SHORTEST_PAUSE_SECONDS
        try:
            while self._must_reload:
                self._must_reload = False
                await self._request_sync()
                event = Reload(revision=await self._saved_revision())
                RELOADS.inc()
                log.info("json clients load a canvas again", canvas_id=self._canvas_id)
                for connection in list(self._connections):
                    connection.send_event(event)
                    await asyncio.sleep(SECONDS_BETWEEN_CLIENTS)
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
        except SvgxError as error:
            for connection in self._connections:
                connection.close(
                    close_code_of_canvas(error), f"cannot follow the canvas: {error.detail}"
                )
        finally:
            self._is_reloading = False

    async def _saved_revision(self) -> int:
        """Return a revision at which all edits that the holder has taken before this request are committed.

        An empty edit changes nothing. Its receipt comes after the commit of all earlier edits.
        """
        saved = await ask_to_save(
            self._bus,
            self._canvas_id,
            Edit("", EMPTY_UPDATE),
            retry_seconds=RETRY_SECONDS,
            attempt_seconds=ATTEMPT_SECONDS,
        )
        return saved.revision

    async def _receive_elements(self, _: str, content: bytes) -> None:
        events = decode(ElementEvents, content)
        self.note_holder(events.epoch)
        follows = self._sequence is None or events.sequence == self._sequence + 1
        self._sequence = events.sequence
        if not follows or not events.operations:
            self.reload()
        if events.operations:
            message = b'{"type":"edit_operation","operations":%s}' % events.operations.encode()
            self._send(message)

    async def _receive_lock(self, _: str, content: bytes) -> None:
        change = LockChange.model_validate_json(content)
        event = (
            LockReleased(object_id=change.object_id, user_id=change.user_id)
            if change.lock is None
            else LockAcquired(lock=change.lock)
        )
        self._send(to_json(event, exclude_none=True))

    def _send(self, message: bytes) -> None:
        frame = encode_text_frame(message)
        for connection in self._connections:
            connection.send_text(message, frame)
