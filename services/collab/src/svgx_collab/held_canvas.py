"""A canvas that this replica holds: the room, its participants, and the requests that wait for a commit.

The state goes from `Holding` to `Leaving` to `Released`, or from `Holding` to `Released`. Only the methods of
`HeldCanvas` change it.
"""

import asyncio
import contextvars
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from nats.aio.subscription import Subscription
from opentelemetry.trace import SpanContext

from svgx_collab.participants import Participants
from svgx_collab.room import Receipt, Room
from svgx_collab.turns import BatchQueue
from svgx_common.contract.live.element_events import LISTENING_SECONDS
from svgx_yjs.record import record

IDLE_SECONDS = 600.0
"""Time without a request, in seconds, after which a canvas without participants is idle."""

ALL_GATEWAYS = ""
"""Stands for all gateways. It is used when the sender of a sync request is unknown."""


@dataclass(frozen=True, slots=True)
class Holding:
    """The canvas is served."""


@dataclass(frozen=True, slots=True)
class Leaving:
    """The canvas is being left. Requests to open it are refused. It is released when all its edits are committed."""

    committed: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the room has no unsaved edits, and at the latest when the canvas is released."""


@dataclass(frozen=True, slots=True)
class Released:
    """The canvas is not held any more. Edits that still arrive are refused."""


State: TypeAlias = Holding | Leaving | Released


@record
class LinkReply:
    """The gateway that sent a batch on its link, and the batch's number on this link."""

    gateway: str
    number: int


@record
class WaitingRequest:
    """A batch of edits that is not committed yet, and the receiver of the answer: a link, or a NATS subject."""

    receipt: Receipt
    reply: "LinkReply | str"


class HeldCanvas:
    """The room of one canvas, and the state that its channels and the broadcaster share.

    `on_changed` is called when there may be something to broadcast.
    """

    def __init__(self, room: Room, on_changed: Callable[["HeldCanvas"], None]) -> None:
        self.room = room
        self.context = contextvars.copy_context()
        """The context variables (trace, log ids) for work on the canvas that belongs to no request."""
        self.broadcast_at = 0.0
        """Earliest time of the next broadcast, in seconds of the monotonic clock."""
        self.presence_at = 0.0
        """Earliest time of the next presence broadcast, in seconds of the monotonic clock."""
        self.participants = Participants()
        room.owner_of = self.participants.owner
        self.queue = BatchQueue()
        """The batches that wait for their turns."""
        self.subscriptions: list[Subscription] = []
        """The NATS subscriptions of the canvas's channels."""
        self.next_holder: str | None = None
        """The replica that gets the lease when this replica has left the canvas; None releases the lease."""
        self._state: State = Holding()
        self._waiting: list[WaitingRequest] = []
        self._origins_without_entry: list[tuple[int, SpanContext]] = []
        """For each batch with edits that are in no journal entry yet: its receipt's position, and its recorded span."""
        self._unsent_count = 0
        """The number of edits since the last broadcast."""
        self._unsent_origins: list[SpanContext] = []
        """The recorded spans of batches with edits that are not broadcast yet."""
        self._on_changed = on_changed
        self._listening: dict[str, float] = {}
        """For each gateway, the time until which it receives broadcasts, in seconds of the monotonic clock."""
        self.elements_at = 0.0
        """Earliest time of the next element event, in seconds of the monotonic clock."""
        self._elements_until = 0.0
        """The time until which gateways have JSON clients of the canvas, in seconds of the monotonic clock."""
        self._used_at = time.monotonic()

    @property
    def is_holding(self) -> bool:
        """True while the canvas is served, and neither being left nor released."""
        return isinstance(self._state, Holding)

    @property
    def must_stop_edits(self) -> bool:
        """Whether the room must take no more edits of the present batch.

        While the replica leaves the canvas, an unfinished edit is not continued, because it may take minutes.
        """
        return self.is_released or (self.room.is_unfinished and not self.is_holding)

    @property
    def is_released(self) -> bool:
        """True when the canvas is not held any more."""
        return isinstance(self._state, Released)

    def begin_leaving(self, next_holder: str | None = None) -> bool:
        """Go from `Holding` to `Leaving`. Return False, and change nothing, in any other state."""
        if not isinstance(self._state, Holding):
            return False
        self._state = Leaving()
        self.next_holder = next_holder
        return True

    async def wait_committed(self) -> None:
        """Wait for the next `mark_committed` or `release`. Return at once unless the canvas is being left."""
        if isinstance(self._state, Leaving):
            self._state.committed.clear()
            await self._state.committed.wait()

    def mark_committed(self) -> None:
        """Wake `wait_committed`: the room has no unsaved edits."""
        if isinstance(self._state, Leaving):
            self._state.committed.set()

    def release(self) -> None:
        """Go to `Released`, and wake `wait_committed`. Calling it again changes nothing."""
        self.mark_committed()
        self._state = Released()

    def mark_changed(self) -> None:
        """Note that there may be something to broadcast. After the release, nothing is broadcast."""
        if not self.is_released:
            self._on_changed(self)

    def add_gateway(self, gateway: str, now: float) -> None:
        """Note that a gateway, or `ALL_GATEWAYS`, receives broadcasts for the next `LISTENING_SECONDS`."""
        self._listening[gateway] = now + LISTENING_SECONDS

    def gateways(self) -> list[str] | None:
        """Return the gateways that receive broadcasts on their links, or None when all gateways have to receive them.

        All gateways have to receive them when `ALL_GATEWAYS` is noted, and when no gateway is noted.
        """
        return None if ALL_GATEWAYS in self._listening else (list(self._listening) or None)

    def expire_gateways(self, now: float) -> None:
        """Forget the gateways that have sent no sync request for `LISTENING_SECONDS`."""
        self._listening = {each: end for each, end in self._listening.items() if end > now}

    def observe_elements(self, now: float) -> None:
        """Observe the changed elements for the next `LISTENING_SECONDS`, because a gateway has JSON clients."""
        self.room.observe_elements()
        self._elements_until = now + LISTENING_SECONDS

    def expire_elements(self, now: float) -> None:
        """Stop observing the changed elements if no gateway has reported JSON clients for `LISTENING_SECONDS`."""
        if self._elements_until <= now:
            self.room.stop_observing_elements()

    def touch(self, now: float | None = None) -> None:
        """Note that the canvas is in use. `now` is the present time of the monotonic clock, if the caller has it."""
        self._used_at = time.monotonic() if now is None else now

    def is_idle(self, now: float) -> bool:
        """Return whether the canvas has no participants and had no request for `IDLE_SECONDS`."""
        return now - self._used_at > IDLE_SECONDS and not len(self.participants)

    def add_waiting(self, receipt: Receipt, reply: LinkReply | str) -> None:
        """Keep a request until its edits are committed."""
        self._waiting.append(WaitingRequest(receipt, reply))

    def add_origin(self, receipt: Receipt, origin: SpanContext) -> None:
        """Keep a batch's recorded span, for the spans of the broadcast and of the commit."""
        self._unsent_origins.append(origin)
        if not self.room.is_saved(receipt):
            self._origins_without_entry.append((receipt.position, origin))

    def count_edits(self, count: int) -> None:
        """Note that a batch of `count` edits was applied."""
        self._unsent_count += count

    def take_unsent_count(self) -> int:
        """Return the number of edits since the last call."""
        count, self._unsent_count = self._unsent_count, 0
        return count

    def take_unsent_origins(self) -> list[SpanContext]:
        """Remove and return the spans of the batches with edits that are not broadcast yet."""
        unsent, self._unsent_origins = self._unsent_origins, []
        return unsent

    def take_origins_in_flight(self) -> list[SpanContext]:
        """Remove and return the spans of the batches with all their edits in flight or committed."""
        if not self._origins_without_entry:
            return []
        position = self.room.position_in_flight
        waiting = self._origins_without_entry
        self._origins_without_entry = [each for each in waiting if each[0] > position]
        return [origin for last, origin in waiting if last <= position]

    def take_saved(self) -> list[WaitingRequest]:
        """Remove and return the waiting requests with no uncommitted edits."""
        saved: list[WaitingRequest] = []
        unsaved: list[WaitingRequest] = []
        for request in self._waiting:
            (saved if self.room.is_saved(request.receipt) else unsaved).append(request)
        self._waiting = unsaved
        return saved

    def take_waiting(self) -> list[WaitingRequest]:
        """Remove and return all waiting requests."""
        waiting, self._waiting = self._waiting, []
        return waiting
