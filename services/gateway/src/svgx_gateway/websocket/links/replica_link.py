"""The link to one replica of collab. A flush sends the edits for all canvases of the replica.

A flush usually sends one message. It sends several messages if the parts exceed `MAX_MESSAGE_BYTES`.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

import structlog
from prometheus_client import Counter, Histogram

from svgx_common.contract.collab import (
    LINK_TO_REPLICA,
    AuthoredState,
    Edit,
    LinkBatch,
    LinkReceipt,
    LinkState,
    LinkToReplica,
)
from svgx_common.contract.errors import TemporaryError, Unavailable
from svgx_common.messaging.bus import Bus
from svgx_common.messaging.link_codec import encode_to_replica
from svgx_common.timing.alarm import EARLY_SECONDS, Alarm
from svgx_yjs.record import record

log = structlog.get_logger(__name__)

FLUSH_INTERVAL_SECONDS = 0.008
"""Seconds between a message with many batches and the next message."""

SECONDS_PER_BATCH = 0.003
"""Seconds that each batch of a message adds to the time until the next message, up to `FLUSH_INTERVAL_SECONDS`.

So a canvas waits for other canvases only if several are edited.
"""

FLUSH_SLACK_SECONDS = 0.004
"""Seconds by which a batch or a message may be sent early when an edit arrives. An early message saves a wake-up."""

STATE_INTERVAL_SECONDS = 0.033
"""Seconds between two messages with awareness states. Meanwhile, a client's newer state replaces its older state."""

MAX_STATE_CHARACTERS = 16 * 1024
"""Maximum size of an awareness state on a link, in characters.

A larger state has its own message, to delay no edits.
"""

BYTES_PER_CHARACTER = 4
"""Maximum number of bytes of one character in UTF-8."""

MAX_MESSAGE_BYTES = 256 * 1024
"""Size of a message, in bytes. When the parts of a message are larger, the next part begins a new message.

So a message exceeds this number by one part at most, and is still below NATS's `max_payload`.
"""

PART_OVERHEAD_BYTES = 128
"""Bytes that are counted for the ids and numbers of one part."""

MESSAGES = Counter("svgx_engine_live_link_messages", "Messages on the links to replicas of collab.")
BATCHES = Histogram(
    "svgx_engine_live_link_batches",
    "Batches of edits in one message to a replica of collab.",
    buckets=(0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000),
)

Outcome = LinkReceipt | TemporaryError | None
"""The receipt of a batch, or the reason why the batch has to be sent again. None is an unknown reason."""


@record
class NextBatch:
    """A batch for the next message. It takes `size` bytes in the message. `settle` is called once with its outcome."""

    number: int
    edits: tuple[Edit, ...]
    size: int
    settle: Callable[[Outcome], None]


@dataclass(slots=True)
class _Message:
    """The parts of one message to a replica, and their bytes."""

    batches: list[LinkBatch] = field(default_factory=list)
    states: list[LinkState] = field(default_factory=list)
    size: int = 0

    @property
    def is_full(self) -> bool:
        """Whether another message has to begin."""
        return self.size > MAX_MESSAGE_BYTES


class BatchSource(Protocol):
    """The outbox of one canvas."""

    canvas_id: str
    paced_until: float
    """Time of the next batch on the link, in seconds of the monotonic clock.

    A batch may be early by `FLUSH_SLACK_SECONDS`.
    """

    def take_batch(self, now: float) -> NextBatch | None:
        """Return the next batch, or None if there are no edits or no batch may be sent on the link now."""

    @property
    def link(self) -> "ReplicaLink | None":
        """The link on which the next batch is sent."""

    @property
    def waits(self) -> bool:
        """Whether edits wait to be sent."""

    def lose_link(self) -> None:
        """Stop using the link, and send the waiting edits in requests."""


class ReplicaLink:
    """The link to one replica. `expect` is called with each batch before it is sent."""

    def __init__(
        self,
        bus: Bus,
        replica_id: str,
        reply: str,
        expect: Callable[["ReplicaLink", NextBatch], None],
    ) -> None:
        self.is_open = True
        """False when the replica is gone, or the link was not used for a long time."""
        self._bus = bus
        self._subject = LINK_TO_REPLICA.subject_of(replica_id=replica_id)
        self._reply = reply
        self._expect = expect
        self._ready: dict[BatchSource, None] = {}
        self._states: dict[tuple[str, str, int], LinkState] = {}
        self._states_at = 0.0
        """Earliest time of the next awareness states, in seconds of the monotonic clock."""
        self._alarm = Alarm()
        self._next_flush = 0.0
        """Earliest time of the next message, in seconds of the monotonic clock."""
        self.used_at = time.monotonic()
        """Time of the newest message, in seconds of the monotonic clock."""

    def request(self, source: BatchSource) -> None:
        """Send the outbox's next batch with the next message."""
        self._ready[source] = None
        self._alarm.ring_at(max(source.paced_until, self._next_flush), slack=FLUSH_SLACK_SECONDS)

    def add_state(self, canvas_id: str, state: AuthoredState) -> bool:
        """Send a client's awareness state with the next message, in place of an older one that still waits.

        Return False for a state that is too large for a link.
        """
        if len(state.json) > MAX_STATE_CHARACTERS:
            return False
        key = (canvas_id, state.author, state.client)
        waiting = self._states.get(key)
        if waiting is None or _is_newer(state, waiting.state):
            self._states[key] = LinkState(canvas_id, state)
        self._alarm.ring_at(max(self._states_at, self._next_flush))
        return True

    def close(self) -> None:
        """Close the link. Its outboxes then send their edits in requests."""
        self.is_open = False
        self._return_sources()

    async def send_last_states(self) -> None:
        """Send the awareness states that wait, because no flush follows."""
        self._states_at = 0.0
        await self._send_states(_Message(), now=0.0)

    async def flush(self) -> None:
        """Wait for edits or states, and send them."""
        await self._alarm.wait()
        now = time.monotonic()
        if not self._bus.reachable:
            # The outboxes then send their edits in requests. Requests wait for NATS, and the clients are told when this
            # takes too long.
            self._return_sources()
        message = _Message()
        batches = 0
        for canvas_id, batch in self._take_batches(now):
            batches += 1
            message.batches.append(LinkBatch(canvas_id, batch.number, batch.edits))
            message.size += batch.size + PART_OVERHEAD_BYTES
            if message.is_full:
                await self._send(message)
                message = _Message()
        await self._send_states(message, now)
        interval = min(FLUSH_INTERVAL_SECONDS, max(1, batches) * SECONDS_PER_BATCH)
        self._next_flush = max(self._next_flush, now) + interval
        if self._ready:
            due = min(source.paced_until for source in self._ready)
            self._alarm.ring_at(max(due, self._next_flush))
        if self._states:
            self._alarm.ring_at(max(self._states_at, self._next_flush))

    def _take_batches(self, now: float) -> Iterator[tuple[str, NextBatch]]:
        """Yield the canvas id and the next batch of each outbox. From then on, the batch's receipt is expected."""
        for source in list(self._ready):
            self._ready.pop(source, None)
            if source.link is not self:
                continue  # the canvas has another holder now
            batch = source.take_batch(now)
            if source.waits:
                self._ready[source] = None
            if batch is not None:
                self._expect(self, batch)
                yield source.canvas_id, batch

    async def _send_states(self, message: _Message, now: float) -> None:
        """Send the message with the awareness states that are due, and further messages if they do not fit."""
        for state in self._take_states(now):
            message.states.append(state)
            message.size += PART_OVERHEAD_BYTES + BYTES_PER_CHARACTER * len(state.state.json)
            if message.is_full:
                await self._send(message)
                message = _Message()
        if message.size:
            await self._send(message)

    def _take_states(self, now: float) -> tuple[LinkState, ...]:
        """Return the awareness states that wait, or none before the pause after the last states has ended."""
        if not self._states or now < self._states_at - EARLY_SECONDS:
            return ()
        states = tuple(self._states.values())
        self._states.clear()
        self._states_at = now + STATE_INTERVAL_SECONDS
        return states

    def _return_sources(self) -> None:
        ready, self._ready = self._ready, {}
        for source in ready:
            source.lose_link()

    async def _send(self, message: _Message) -> None:
        self.used_at = time.monotonic()
        MESSAGES.inc()
        BATCHES.observe(len(message.batches))
        parts = LinkToReplica(self._bus.replica_id, tuple(message.batches), tuple(message.states))
        try:
            await self._bus.publish(self._subject, encode_to_replica(parts), reply=self._reply)
        except Unavailable:
            # The batches are sent again when their receipts do not come, and clients repeat their states.
            log.warning("a message to a replica of collab could not be sent")


def _is_newer(state: AuthoredState, other: AuthoredState) -> bool:
    """Return whether a state replaces the other state of the same client.

    A state with a higher clock replaces a state with a lower clock. With equal clocks, the state replaces the other
    state unless the other state is `null`. `null` means that the client has left.
    """
    return state.clock > other.clock or (state.clock == other.clock and other.json != "null")
