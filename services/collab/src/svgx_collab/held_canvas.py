"""A canvas that this replica holds: the room, its participants, and the requests that wait for a commit.

The state goes from `Holding` to `Leaving` to `Released`, or from `Holding` to `Released`. Only the methods of
`HeldCanvas` change it.
"""

import asyncio
import functools
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from nats.aio.subscription import Subscription
from opentelemetry.trace import SpanContext

from svgx_collab.participants import Participants
from svgx_collab.room import Receipt, Room
from svgx_common.background import BackgroundTasks

IDLE = 600.0
"""Seconds without a request after which a canvas without participants is idle."""


@dataclass(frozen=True, slots=True)
class Holding:
    """The canvas is served."""


@dataclass(frozen=True, slots=True)
class Leaving:
    """A request to open the canvas is refused. The canvas is released when all its edits are committed."""

    committed: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the room has no unsaved edits, and at the latest when the canvas is released."""


@dataclass(frozen=True, slots=True)
class Released:
    """The canvas is not held any more. Edits that still arrive are refused."""


State: TypeAlias = Holding | Leaving | Released


@dataclass(frozen=True, slots=True)
class WaitingRequest:
    """A batch of edits that is not committed yet, and the NATS subject that takes the answer."""

    receipt: Receipt
    reply: str


class HeldCanvas:
    """The room of one canvas, and the state that its channels and its background task share.

    `broadcast` is awaited again and again, as a task of `background`, until the canvas is released.
    """

    def __init__(
        self,
        room: Room,
        background: BackgroundTasks,
        broadcast: Callable[["HeldCanvas"], Awaitable[None]],
    ) -> None:
        self.room = room
        self.participants = Participants()
        room.owner_of = self.participants.owner
        self.subscriptions: list[Subscription] = []
        """The NATS subscriptions of the canvas's channels."""
        self._state: State = Holding()
        self._waiting: list[WaitingRequest] = []
        self._uncommitted: list[tuple[int, SpanContext]] = []
        """The recorded spans of batches with uncommitted edits, with the positions of their last edits in the room."""
        self._unsent: list[SpanContext] = []
        """The recorded spans of batches with edits that are not broadcast yet."""
        self._changed = asyncio.Event()
        self._used_at = time.monotonic()
        self._broadcaster = background.repeat("broadcast", functools.partial(broadcast, self))

    @property
    def is_holding(self) -> bool:
        """True while the canvas is served, and neither being left nor released."""
        return isinstance(self._state, Holding)

    @property
    def is_released(self) -> bool:
        """True when the canvas is not held any more."""
        return isinstance(self._state, Released)

    def begin_leaving(self) -> bool:
        """Go from `Holding` to `Leaving`. Return False, and change nothing, in any other state."""
        if not isinstance(self._state, Holding):
            return False
        self._state = Leaving()
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
        """Go to `Released`, wake `wait_committed`, and cancel broadcasting. Calling it again changes nothing."""
        self.mark_committed()
        self._state = Released()
        self._broadcaster.cancel()

    def mark_changed(self) -> None:
        """Wake `wait_changed`: there may be something to broadcast."""
        self._changed.set()

    async def wait_changed(self) -> None:
        """Wait until there may be something to broadcast."""
        await self._changed.wait()
        self._changed.clear()

    def touch(self) -> None:
        """Note that the canvas is in use."""
        self._used_at = time.monotonic()

    def is_idle(self, now: float) -> bool:
        """Return whether the canvas has no participants and had no request for `IDLE` seconds."""
        return now - self._used_at > IDLE and not len(self.participants)

    def add_waiting(self, receipt: Receipt, reply: str) -> None:
        """Keep a request until its edits are committed."""
        self._waiting.append(WaitingRequest(receipt, reply))

    def add_origin(self, receipt: Receipt, origin: SpanContext) -> None:
        """Keep the recorded span of a batch for the broadcast and the commit of its edits."""
        self._unsent.append(origin)
        if not self.room.is_saved(receipt):
            self._uncommitted.append((receipt.position, origin))

    def take_unsent(self) -> list[SpanContext]:
        """Remove and return the spans of the batches with edits that are not broadcast yet."""
        if not self._unsent:
            return self._unsent
        unsent, self._unsent = self._unsent, []
        return unsent

    def take_in_flight(self) -> list[SpanContext]:
        """Remove and return the spans of the batches that the room's entry in flight completes."""
        if not self._uncommitted:
            return []
        position = self.room.position_in_flight
        origins = [origin for last, origin in self._uncommitted if last <= position]
        self._uncommitted = [each for each in self._uncommitted if each[0] > position]
        return origins

    def take_saved(self) -> list[WaitingRequest]:
        """Remove and return the waiting requests with no uncommitted edits."""
        saved = [request for request in self._waiting if self.room.is_saved(request.receipt)]
        if saved:
            self._waiting = [
                request for request in self._waiting if not self.room.is_saved(request.receipt)
            ]
        return saved

    def take_waiting(self) -> list[WaitingRequest]:
        """Remove and return all waiting requests."""
        waiting, self._waiting = self._waiting, []
        return waiting
