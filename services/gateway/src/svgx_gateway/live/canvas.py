"""One canvas on this gateway: its connections, one subscription for all of them, and catching up."""

import asyncio
from dataclasses import dataclass

import structlog
from nats.aio.subscription import Subscription
from prometheus_client import Counter

from svgx_common.background import repeat
from svgx_common.bus import Bus
from svgx_common.contract import subjects
from svgx_common.contract.errors import SvgxError
from svgx_common.holder import ask_holder
from svgx_common.wire import (
    EMPTY_STATE_VECTOR,
    EMPTY_UPDATE,
    SyncReply,
    decode_broadcast,
    decode_presence,
    decode_sync_reply,
    encode_sync_request,
)
from svgx_gateway.live import protocol
from svgx_gateway.live.codes import Close, close_code
from svgx_gateway.live.connection import Connection, Flow
from svgx_gateway.live.outbox import Outbox

log = structlog.get_logger(__name__)

PATIENCE = 60.0
"""Seconds a sync with the holder is tried before the connections are told to come back later."""

ATTEMPT = 10.0
"""Seconds to wait for one answer of the holder."""

CHECKPOINT = 10.0
"""Seconds between two looks at the holder's state vector, from which a later catch-up starts."""

GAPS = Counter("svgx_engine_live_gaps", "Broadcasts this gateway found missing, and caught up.")
FRAMES = Counter("svgx_engine_live_frames_sent", "Frames queued for clients.")


@dataclass(frozen=True, slots=True)
class Position:
    """A place in the stream of broadcasts."""

    epoch: str
    sequence: int


class LiveCanvas:
    """Fans out what the holder broadcasts.

    `_vector` is a state vector every connection is known to have (an empty document's at first); what is missing
    after a gap, a reconnect or a change of holder is asked for from there and sent to all in one merged update.
    """

    def __init__(self, bus: Bus, canvas_id: str) -> None:
        self.canvas_id = canvas_id
        self.connections: set[Connection] = set()
        self.outbox = Outbox(bus, canvas_id, self.close_all)
        self._bus = bus
        self._subscriptions: list[Subscription] = []
        self._position: Position | None = None
        self._holder: str | None = None
        self._vector: bytes | None = None
        self._checkpoint: tuple[Position, bytes] | None = None
        self._seen: Position | None = None
        self._behind = asyncio.Event()
        self._tasks = [
            asyncio.create_task(repeat("catch up", self._catch_up)),
            asyncio.create_task(repeat("checkpoint", self._look_ahead)),
        ]
        self._recoveries: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen to the holder's broadcasts."""
        updates, presence = (
            subjects.canvas(self.canvas_id, "update"),
            subjects.canvas(self.canvas_id, "presence"),
        )
        self._subscriptions += [
            await self._bus.listen(updates, self._updated),
            await self._bus.listen(presence, self._present),
        ]

    async def stop(self) -> None:
        """Stop listening."""
        for task in (*self._tasks, *self._recoveries):
            task.cancel()
        await self.outbox.close()
        if self._bus.connected:
            for subscription in self._subscriptions:
                await subscription.unsubscribe()

    def close_all(self, code: Close, reason: str) -> None:
        """End every connection."""
        for connection in self.connections:
            connection.close(code, reason)

    def look_for_gaps(self) -> None:
        """Broadcasts may have been missed without a sign of it: ask."""
        self._behind.set()

    async def sync(self, connection: Connection, state_vector: bytes) -> None:
        """Answer a client's sync step 1. It must be among `connections` already, so that it misses nothing after."""
        reply = await self._ask(state_vector)
        if self._vector is None:
            self._vector = reply.state_vector
        if self._position is None:
            self._position = Position(reply.epoch, reply.sequence)
        if self._holder is None:
            self._holder = reply.epoch
        elif reply.epoch != self._holder:
            self.look_for_gaps()
        connection.send(protocol.step_2(reply.update))
        if connection.may_edit:
            connection.send(protocol.step_1(reply.state_vector))
        connection.send(protocol.aware(reply.awareness))

    async def ask_for_all(self, connection: Connection) -> None:
        """Ask a client who may edit from now on for what it has: as a viewer it was not taken at its word."""
        connection.send(protocol.step_1((await self._ask(None)).state_vector))

    async def send_everyone_to(self, connection: Connection) -> None:
        """Answer a client that asks who is there."""
        connection.send(protocol.aware((await self._ask(None)).awareness))

    async def send_awareness(self, update: bytes) -> None:
        """Tell the holder; a lost one is repeated by its client within 15 s."""
        await self._bus.publish(subjects.canvas(self.canvas_id, "awareness"), update)

    async def _updated(self, _: str, content: bytes) -> None:
        broadcast = decode_broadcast(content)
        position = Position(broadcast.epoch, broadcast.sequence)
        self._fan_out(protocol.update(broadcast.update))
        known = self._position
        if known is None or known.epoch != position.epoch:
            self._position = position
            self.look_for_gaps()
        elif position.sequence > known.sequence:
            self._position = position
            if position.sequence > known.sequence + 1:
                GAPS.inc()
                self.look_for_gaps()
        self._adopt_checkpoint()

    async def _present(self, _: str, content: bytes) -> None:
        self._fan_out(protocol.aware(decode_presence(content).update))

    def _fan_out(self, frame: bytes) -> None:
        FRAMES.inc(len(self.connections))
        vector = self._vector or EMPTY_STATE_VECTOR
        for connection in self.connections:
            if not connection.broadcast(frame, vector):
                self._recover(connection)

    def _recover(self, connection: Connection) -> None:
        task = asyncio.create_task(self._recover_when_drained(connection))
        self._recoveries.add(task)
        task.add_done_callback(self._recoveries.discard)

    async def _recover_when_drained(self, connection: Connection) -> None:
        """A slow client has taken what was queued: one merged update brings it up to date."""
        await connection.drained()
        vector = connection.lag_vector
        connection.flow = Flow.LIVE
        try:
            reply = await self._ask(vector)
        except SvgxError as error:
            connection.close(close_code(error), "cannot catch up")
            return
        connection.send(protocol.update(reply.update))
        connection.send(protocol.aware(reply.awareness))

    async def _catch_up(self) -> None:
        await self._behind.wait()
        self._behind.clear()
        if not self.connections:
            return
        try:
            reply = await self._ask(self._vector or EMPTY_STATE_VECTOR)
        except SvgxError as error:
            log.warning("a canvas cannot catch up", canvas_id=self.canvas_id, code=error.code)
            self.close_all(close_code(error), "cannot catch up")
            return
        except Exception:
            self._behind.set()
            raise
        if reply.update != EMPTY_UPDATE:
            self._fan_out(protocol.update(reply.update))
        # Those who lag keep the older vector they remember themselves.
        self._vector = reply.state_vector
        if reply.epoch != self._holder:
            self._holder = reply.epoch
            await self._welcome_holder(reply)

    async def _welcome_holder(self, reply: SyncReply) -> None:
        """A new holder knows what is committed. What clients have beyond that, and who is there, it learns here."""
        if self._position is None or self._position.epoch != reply.epoch:
            self._position = Position(reply.epoch, reply.sequence)
        self.outbox.holder_changed()
        question = protocol.step_1(reply.state_vector)
        for connection in list(self.connections):
            if connection.may_edit:
                connection.send(question)
            if (presence := connection.presence()) is not None:
                await self.send_awareness(presence)

    async def _look_ahead(self) -> None:
        """Ask for the holder's vector now and then, while people draw."""
        await asyncio.sleep(CHECKPOINT)
        if self._position is None or self._position == self._seen or not self.connections:
            return
        try:
            reply = await self._ask(None)
        except SvgxError:
            return
        self._seen = Position(reply.epoch, reply.sequence)
        self._checkpoint = (self._seen, reply.state_vector)
        self._adopt_checkpoint()

    def _adopt_checkpoint(self) -> None:
        """The vector holds for all once every broadcast up to it has been passed on, without a gap."""
        if self._checkpoint is None or self._position is None or self._behind.is_set():
            return
        position, vector = self._checkpoint
        if position.epoch != self._position.epoch:
            self._checkpoint = None
        elif position.sequence <= self._position.sequence:
            self._vector = vector
            self._checkpoint = None

    async def _ask(self, state_vector: bytes | None) -> SyncReply:
        return decode_sync_reply(
            await ask_holder(
                self._bus,
                self.canvas_id,
                "sync",
                encode_sync_request(state_vector),
                patience=PATIENCE,
                attempt=ATTEMPT,
            )
        )
