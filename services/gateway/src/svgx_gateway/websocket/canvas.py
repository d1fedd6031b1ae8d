"""The live canvas: the connections of one canvas on this gateway, its NATS subscriptions, and its catch-ups."""

import asyncio
import contextlib
import functools
import time
from collections.abc import Collection

import structlog
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError
from prometheus_client import Counter, Histogram

from svgx_common.background import BackgroundTasks
from svgx_common.contract.close_codes import Close, close_code_of_canvas
from svgx_common.contract.collab import (
    CANVAS_PRESENCE,
    CANVAS_SYNC,
    CANVAS_UPDATE,
    Broadcast,
    LinkBroadcast,
    Presence,
    SyncReply,
    SyncRequest,
)
from svgx_common.contract.errors import SvgxError
from svgx_common.messaging.bus import Bus
from svgx_common.messaging.headers import HEADER_ELEMENTS, HEADER_GATEWAY
from svgx_common.messaging.holder import Holder
from svgx_common.messaging.wire import decode, encode
from svgx_gateway.websocket.connection import Connection
from svgx_gateway.websocket.json_clients.element_feed import ElementFeed
from svgx_gateway.websocket.links.replica_links import ReplicaLinks
from svgx_gateway.websocket.live_presence import LivePresence
from svgx_gateway.websocket.outbox import Outbox
from svgx_gateway.websocket.saved_counts import SavedCounts
from svgx_gateway.websocket.shared_sync import LARGE_BYTES, SharedSync
from svgx_gateway.websocket.trackers.broadcast_tracker import BroadcastTracker, Position
from svgx_gateway.websocket.transport.frames import encode_frame
from svgx_yjs import protocol
from svgx_yjs.structure import EMPTY_STATE_VECTOR, EMPTY_UPDATE

log = structlog.get_logger(__name__)

RETRY_SECONDS = 60.0
"""Longest time, in seconds, for which an unanswered sync request is repeated.

Then the connections that wait for the reply are closed.
"""

ATTEMPT_SECONDS = 10.0
"""Time limit for one reply of the holder, in seconds. Beyond it, the request is repeated."""

LATE_SECONDS = 3.0
"""Seconds without a reply of the holder after which another replica is asked to open the canvas.

That replica refuses if the holder answers a probe. The time is longer than most replies take, and shorter than
`ATTEMPT_SECONDS`, which leaves time for the content of a large canvas.
"""

CHECKPOINT_INTERVAL = 10.0
"""Seconds between two requests for the holder's state vector.

A later catch-up starts from this state vector. While there are no edits, the reply also shows whether the last
broadcast was missed, and whether the holder has changed.
"""

RECHECK_INTERVAL = 1.0
"""Seconds until the next request for the state vector when the last reply was ahead of this gateway.

A broadcast that is still on its way arrives within this time.
"""

HEARTBEAT_INTERVAL = 12.0
"""Seconds between two heartbeats. A connection is quiet for at most twice this time.

y-websocket reconnects when no message has arrived for 30 s. Usually, a client receives its own awareness state within
these 30 s, but not while it sends a long message over a slow network, or when it has no awareness state.
"""

SYNC_SECONDS = Histogram(
    "svgx_engine_live_sync_seconds",
    "Time until a sync request to the holder is answered or has failed, including the opening of the canvas.",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)
FRAMES = Counter(
    "svgx_engine_live_frames_sent",
    "Broadcast frames for clients, also those that a lagging client does not get.",
)


class LiveCanvas:
    """A canvas with connections or unsaved edits on this gateway.

    It sends the holder's broadcasts to all connections. After a gap, a reconnect or a change of holder, it requests
    the missed updates from the holder, and sends them to all connections as one merged update. The request contains
    the state vector of content that every client is known to have.
    """

    def __init__(self, bus: Bus, canvas_id: str, links: ReplicaLinks) -> None:
        self.canvas_id = canvas_id
        self.connections: set[Connection] = set()
        self.removals = 0
        """How often the removal of this canvas has begun, because all connections had left."""
        self._saved_counts = SavedCounts(self.connections)
        self.outbox = Outbox(
            bus,
            canvas_id,
            self.close_all,
            links,
            self._ask_again,
            send_saved=self._saved_counts.send,
        )
        self._links = links
        self._bus = bus
        self._holder = Holder(bus, canvas_id)
        self._replacing: asyncio.Task[None] | None = None
        """The task of the last request to replace a silent holder."""
        self._shared_sync = SharedSync(self._request_sync)
        self.elements = ElementFeed(bus, canvas_id, functools.partial(self._request_sync, None))
        self._subscriptions: list[Subscription] = []
        self._tracker = BroadcastTracker()
        self.presence = LivePresence(
            bus,
            canvas_id,
            self.connections,
            broadcast=self._broadcast_to,
            send_on_link=self.outbox.send_state,
        )
        self._checkpoint_in = CHECKPOINT_INTERVAL
        self._background = BackgroundTasks()
        self._background.repeat("catch up", self._catch_up)
        self._background.repeat("checkpoint", self._checkpoint)
        self._background.repeat("heartbeat", self._heartbeat)

    async def start(self) -> None:
        """Subscribe to the holder's broadcasts, on links and on the canvas's own subjects."""
        await self._links.start()
        self._links.receivers[self.canvas_id] = self
        updates, presence = (
            CANVAS_UPDATE.subject_of(canvas_id=self.canvas_id),
            CANVAS_PRESENCE.subject_of(canvas_id=self.canvas_id),
        )
        self._subscriptions += [
            await self._bus.listen(
                updates,
                self._forward_update,
                lost=self.suspect_gap,
                span=functools.partial(self._bus.spans.receive, CANVAS_UPDATE, self.canvas_id),
            ),
            await self._bus.listen(presence, self._forward_presence),
        ]

    async def stop(self) -> None:
        """Stop the background tasks, discard uncommitted edits, and unsubscribe."""
        if self._links.receivers.get(self.canvas_id) is self:
            del self._links.receivers[self.canvas_id]
        self._shared_sync.stop()
        await self.elements.stop()
        await self._background.stop()
        await self.presence.stop()
        await self.outbox.stop()
        self._saved_counts.stop()
        for subscription in self._subscriptions:
            # While NATS is not reachable, `unsubscribe` sends nothing, but a later reconnect does not subscribe again.
            with contextlib.suppress(NatsError):
                await subscription.unsubscribe()

    def close_all(self, code: Close, reason: str) -> None:
        """Close every connection."""
        for connection in self.connections:
            connection.close(code, reason)

    def suspect_gap(self) -> None:
        """Start a catch-up, because broadcasts may have been missed."""
        self._tracker.suspect_gap()
        self.elements.reload()

    async def sync(self, connection: Connection, state_vector: bytes) -> None:
        """Answer a client's sync step 1.

        The connection must be in `connections` already, so that it gets every broadcast after the reply.
        """
        async with connection.sync_turn(self.canvas_id) as turn:
            shared = await self._shared_sync.ask(state_vector)
            reply = shared.reply
            self._tracker.record_sync(reply)
            connection.send_frame(shared.message, shared.frame)
            turn.size = len(shared.message) + len(reply.awareness)
            turn.is_full = state_vector == EMPTY_STATE_VECTOR
            self._follow(connection, Position(reply.epoch, reply.sequence), reply.state_vector)
        if connection.is_asked_for_updates:
            connection.ask_for_edits(reply.state_vector, reply.epoch)
        self.presence.welcome(connection, reply.awareness)

    def follow_without_sync(self, connection: Connection) -> None:
        """Send broadcasts to a client that began with another message than a sync step 1."""
        self._follow(connection, None, EMPTY_STATE_VECTOR)
        if not self._tracker.has_position:
            # The holder sends its broadcasts only to gateways that have asked it.
            self._background.start("ask for broadcasts", self._compare_with_holder())

    def _follow(self, connection: Connection, reply: Position | None, vector: bytes) -> None:
        if not connection.follow(reply, vector):
            self._background.start("catch up a client", self._catch_up_client(connection))

    async def request_client_state(self, connection: Connection) -> None:
        """Ask a client for the updates that the server lacks.

        The server lacks updates in three cases:

        - it discarded them while the client was a viewer;
        - it refused them for a quota;
        - the holder ended before it committed them.
        """
        reply = await self._request_sync(None)
        connection.ask_for_edits(reply.state_vector, reply.epoch)

    def _ask_again(self, connection: Connection) -> None:
        """Start to ask a client again for its edits, because the client's last answer may be incomplete.

        The client was asked for the edits that an earlier holder lacked, and the new holder has committed the answer.
        The answer lacks the edits that the earlier holder had (see `SavedCounter`). A client is asked on behalf of the
        earlier holder if that holder's sync reply arrives after the first sync reply of the new holder.
        """
        connection.saved_counter.is_unasked = False
        self._background.start("ask a client again", self._request_unsaved(connection))

    async def _request_unsaved(self, connection: Connection) -> None:
        try:
            await self.request_client_state(connection)
        except SvgxError as error:
            connection.close(close_code_of_canvas(error), f"cannot ask for edits: {error.detail}")

    async def send_awareness(self, connection: Connection) -> None:
        """Send the awareness states of all clients to one client, in its sync turn, because they may be many bytes."""
        async with connection.sync_turn(self.canvas_id) as turn:
            reply = await self._request_sync(None)
            connection.send(protocol.encode_awareness(reply.awareness))
            turn.size = len(reply.awareness)

    async def _forward_update(self, _: str, content: bytes) -> None:
        self.receive_broadcast(decode(Broadcast, content))

    async def _forward_presence(self, _: str, content: bytes) -> None:
        self.receive_presence(decode(Presence, content).update)

    def receive_broadcast(self, broadcast: Broadcast | LinkBroadcast) -> None:
        """Send a broadcast of the holder to all connections. A catch-up follows the announcement of a new holder."""
        if broadcast.sequence == 0:
            self._tracker.record_announcement(broadcast.epoch)
            self._holder.restart()
            return
        self.outbox.locate(broadcast.epoch)
        position = Position(broadcast.epoch, broadcast.sequence)
        self._broadcast(protocol.encode_update(broadcast.update), position)
        self._tracker.record_broadcast(broadcast)

    def receive_presence(self, update: bytes) -> None:
        """Send an awareness update of the holder to all connections."""
        self.presence.forward(update)

    def _broadcast(self, message: bytes, position: Position) -> None:
        """Send edits of the holder to all connections."""
        self._broadcast_to(message, self.connections, position)
        self._saved_counts.note_broadcast()

    def _broadcast_to(
        self,
        message: bytes,
        connections: Collection[Connection],
        position: Position | None = None,
    ) -> None:
        FRAMES.inc(len(connections))
        frame, vector = encode_frame(message), self._tracker.vector
        for connection in connections:
            if not connection.broadcast(message, frame, vector, position):
                self._background.start("catch up a client", self._catch_up_client(connection))

    async def _catch_up_client(self, connection: Connection) -> None:
        """Send one merged update to a client that lagged, once its queue has been sent."""
        await connection.wait_until_sent()
        try:
            async with connection.sync_turn(self.canvas_id) as turn:
                vector = connection.begin_catch_up()
                if vector is None:
                    return
                reply = await self._request_sync(vector)
                connection.send(protocol.encode_update(reply.update))
                connection.send(protocol.encode_awareness(reply.awareness))
                turn.size = len(reply.update) + len(reply.awareness)
        except SvgxError as error:
            connection.close(close_code_of_canvas(error), f"cannot catch up: {error.detail}")
        except Exception:
            # The client gets broadcasts again, but no later broadcast shows that the dropped ones are missing.
            connection.close(Close.INTERNAL, "cannot catch up")
            raise

    async def _catch_up(self) -> None:
        """Wait for a suspected gap, then send the missed updates to all clients. Close all connections on failure."""
        tracker = self._tracker
        await tracker.behind.wait()
        suspected_gaps = tracker.suspected_gaps
        if not self.connections:
            tracker.behind.clear()
            return
        try:
            reply = await self._request_sync(tracker.begin_catch_up())
        except SvgxError as error:
            log.warning("a canvas cannot catch up", canvas_id=self.canvas_id, code=error.code)
            self.close_all(close_code_of_canvas(error), f"cannot catch up: {error.detail}")
            tracker.behind.clear()
            return
        if reply.update != EMPTY_UPDATE:
            position = Position(reply.epoch, reply.sequence)
            self._broadcast(protocol.encode_update(reply.update), position)
        # The vector may advance although a lagging client has less: that client's connection keeps its older vector.
        tracker.record_catch_up(reply, suspected_gaps)
        if reply.epoch != tracker.sent_epoch:
            tracker.sent_epoch = reply.epoch
            await self._inform_holder(reply)

    async def _inform_holder(self, reply: SyncReply) -> None:
        """Send a new holder the clients' uncommitted edits and awareness states, because it has loaded neither."""
        self.outbox.resend()
        for connection in list(self.connections):
            if connection.may_edit:
                connection.ask_for_edits(reply.state_vector, reply.epoch)
            if (state := connection.awareness.presence()) is not None:
                await self.presence.publish(connection, state)

    async def _checkpoint(self) -> None:
        """Wait, then compare with the holder, so that a gap is found even while there are no edits."""
        await asyncio.sleep(self._checkpoint_in)
        if self.connections:
            await self._compare_with_holder()

    async def _compare_with_holder(self) -> None:
        """Request the holder's position and state vector, and record them."""
        try:
            reply = await self._request_sync(None)
        except SvgxError:
            return
        up_to_date = self._tracker.record_checkpoint(reply)
        self._checkpoint_in = CHECKPOINT_INTERVAL if up_to_date else RECHECK_INTERVAL

    async def _heartbeat(self) -> None:
        await asyncio.sleep(HEARTBEAT_INTERVAL)
        for connection in self.connections:
            connection.send_heartbeat()

    async def _request_sync(self, state_vector: bytes | None) -> SyncReply:
        """Return the holder's reply to a state vector; None requests no update."""
        request = encode(SyncRequest(state_vector))
        # After its reply, the holder sends its broadcasts on the link to this gateway.
        headers = {HEADER_GATEWAY: self._bus.replica_id}
        has_json_clients, asked_at = self.elements.has_clients, time.monotonic()
        if has_json_clients:
            headers[HEADER_ELEMENTS] = "1"
        late = asyncio.get_running_loop().call_later(LATE_SECONDS, self._replace_silent_holder)
        try:
            with SYNC_SECONDS.time(), self._bus.spans.ask_holder(CANVAS_SYNC, self.canvas_id):
                content = await self._holder.ask(
                    CANVAS_SYNC,
                    request,
                    retry_seconds=RETRY_SECONDS,
                    attempt_seconds=ATTEMPT_SECONDS,
                    more_headers=headers,
                )
        finally:
            late.cancel()
        if len(content) > LARGE_BYTES:
            # Let other tasks run here: the pieces of the reply were just joined, and decoding copies them again.
            await asyncio.sleep(0)
        reply = decode(SyncReply, content)
        self.outbox.locate(reply.epoch)
        self.presence.record(reply.awareness, is_complete=True)
        if has_json_clients:
            self.elements.note_reply(reply.epoch, asked_at)
        return reply

    def _replace_silent_holder(self) -> None:
        """Let another replica open the canvas if the holder answers neither this gateway nor a probe.

        The new holder announces itself. After the announcement, the requests that wait are sent again.
        """
        if self._replacing is None or self._replacing.done():
            self._replacing = self._background.start("replace the holder", self._holder.open())
