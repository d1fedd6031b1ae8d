"""One canvas on this gateway: its connections, one subscription for all of them, and catching up."""

import asyncio

import structlog
from nats.aio.subscription import Subscription
from prometheus_client import Counter

from svgx_common.background import repeat
from svgx_common.contract import subjects
from svgx_common.contract.close_codes import Close, close_code
from svgx_common.contract.errors import SvgxError
from svgx_common.messaging.bus import Bus
from svgx_common.messaging.holder import Holder
from svgx_common.messaging.wire import (
    SyncReply,
    decode_broadcast,
    decode_presence,
    decode_sync_reply,
    encode_authored_state,
    encode_sync_request,
)
from svgx_gateway.websocket.awareness_owner import AwarenessClocks
from svgx_gateway.websocket.connection import Connection
from svgx_gateway.websocket.outbox import Outbox
from svgx_gateway.websocket.stream import Stream
from svgx_yjs import protocol
from svgx_yjs.awareness import State
from svgx_yjs.structure import EMPTY_UPDATE

log = structlog.get_logger(__name__)

PATIENCE = 60.0
"""Seconds a sync with the holder is tried before the connections are told to come back later."""

ATTEMPT = 10.0
"""Seconds to wait for one answer of the holder."""

CHECKPOINT = 10.0
"""Seconds between two looks at the holder's state vector: a later catch-up starts from there, and a canvas that went
quiet learns whether it missed the last broadcast, or the holder is gone."""

SOON = 1.0
"""Seconds to the next look when the holder was ahead: a broadcast that is only under way arrives meanwhile."""

FRAMES = Counter("svgx_engine_live_frames_sent", "Frames queued for clients.")


class LiveCanvas:
    """Fans out what the holder broadcasts.

    What is missing after a gap, a reconnect or a change of holder is asked for from a state vector that every
    connection is known to have, and sent to all in one merged update.
    """

    def __init__(self, bus: Bus, canvas_id: str) -> None:
        self.canvas_id = canvas_id
        self.connections: set[Connection] = set()
        self.outbox = Outbox(bus, canvas_id, self.close_all)
        self._bus = bus
        self._holder = Holder(bus, canvas_id)
        self._subscriptions: list[Subscription] = []
        self._stream = Stream()
        self._told = AwarenessClocks()
        self._pause = CHECKPOINT
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
            await self._bus.listen(updates, self._updated, lost=self.look_for_gaps),
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
        self._stream.doubt()

    async def sync(self, connection: Connection, state_vector: bytes) -> None:
        """Answer a client's sync step 1. It must be among `connections` already, so that it misses nothing after."""
        reply = await self._ask(state_vector)
        self._stream.joined(reply)
        connection.send(protocol.encode_sync_step_2(reply.update))
        if connection.may_edit:
            connection.send(protocol.encode_sync_step_1(reply.state_vector))
        connection.send(protocol.encode_awareness(reply.awareness))

    async def ask_for_all(self, connection: Connection) -> None:
        """Ask a client who may edit from now on for what it has: as a viewer it was not taken at its word."""
        connection.send(protocol.encode_sync_step_1((await self._ask(None)).state_vector))

    async def send_everyone_to(self, connection: Connection) -> None:
        """Answer a client that asks who is there."""
        connection.send(protocol.encode_awareness((await self._ask(None)).awareness))

    async def hear(self, connection: Connection, update: bytes) -> None:
        """Pass on what is new of a client in an awareness update it sent. Raises `Malformed`."""
        if (state := connection.awareness.hear(update, self._told)) is not None:
            await self.tell_of(connection, state)

    async def tell_of(self, connection: Connection, state: State) -> None:
        """Tell the holder a client's state; a lost one is repeated by its client within 15 s."""
        said = encode_authored_state(connection.caller.user_id, state)
        await self._bus.publish(subjects.canvas(self.canvas_id, "awareness"), said)

    async def _updated(self, _: str, content: bytes) -> None:
        broadcast = decode_broadcast(content)
        self._fan_out(protocol.encode_update(broadcast.update))
        self._stream.passed_on(broadcast)

    async def _present(self, _: str, content: bytes) -> None:
        update = decode_presence(content).update
        self._told.note(update)
        self._fan_out(protocol.encode_awareness(update))

    def _fan_out(self, frame: bytes) -> None:
        FRAMES.inc(len(self.connections))
        for connection in self.connections:
            if not connection.broadcast(frame, self._stream.vector):
                self._recover(connection)

    def _recover(self, connection: Connection) -> None:
        task = asyncio.create_task(self._recover_when_drained(connection))
        self._recoveries.add(task)
        task.add_done_callback(self._recoveries.discard)

    async def _recover_when_drained(self, connection: Connection) -> None:
        """A slow client has taken what was queued: one merged update brings it up to date."""
        await connection.wait_until_sent()
        vector = connection.begin_catch_up()
        if vector is None:
            return
        try:
            reply = await self._ask(vector)
        except SvgxError as error:
            connection.close(close_code(error), "cannot catch up")
            return
        connection.send(protocol.encode_update(reply.update))
        connection.send(protocol.encode_awareness(reply.awareness))

    async def _catch_up(self) -> None:
        await self._stream.behind.wait()
        doubts = self._stream.doubts
        if not self.connections:
            self._stream.behind.clear()
            return
        try:
            reply = await self._ask(self._stream.vector)
        except SvgxError as error:
            log.warning("a canvas cannot catch up", canvas_id=self.canvas_id, code=error.code)
            self.close_all(close_code(error), "cannot catch up")
            self._stream.behind.clear()
            return
        if reply.update != EMPTY_UPDATE:
            self._fan_out(protocol.encode_update(reply.update))
        # Those who lag keep the older vector they remember themselves.
        self._stream.caught_up(reply, doubts)
        if reply.epoch != self._stream.holder:
            self._stream.holder = reply.epoch
            await self._welcome_holder(reply)

    async def _welcome_holder(self, reply: SyncReply) -> None:
        """A new holder knows what is committed. What clients have beyond that, and who is there, it learns here."""
        self.outbox.holder_changed()
        question = protocol.encode_sync_step_1(reply.state_vector)
        for connection in list(self.connections):
            if connection.may_edit:
                connection.send(question)
            if (state := connection.awareness.presence()) is not None:
                await self.tell_of(connection, state)

    async def _look_ahead(self) -> None:
        """Ask for the holder's vector now and then, also while nobody draws: clients must not stay behind unnoticed."""
        await asyncio.sleep(self._pause)
        if not self.connections:
            return
        try:
            reply = await self._ask(None)
        except SvgxError:
            return
        self._pause = CHECKPOINT if self._stream.looked(reply) else SOON

    async def _ask(self, state_vector: bytes | None) -> SyncReply:
        request = encode_sync_request(state_vector)
        answer = await self._holder.ask("sync", request, patience=PATIENCE, attempt=ATTEMPT)
        reply = decode_sync_reply(answer)
        self._told.note(reply.awareness)
        return reply
