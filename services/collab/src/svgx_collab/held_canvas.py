"""A canvas this replica holds: the room, its participants, and the answers that wait for a commit."""

import asyncio
import time
from dataclasses import dataclass, field

from nats.aio.subscription import Subscription

from svgx_collab.participants import Participants
from svgx_collab.room import Receipt, Room


@dataclass(slots=True)
class HeldCanvas:
    """State of one held canvas that the shell needs around the sans-I/O room."""

    room: Room
    participants: Participants = field(default_factory=Participants)
    waiting: list[tuple[Receipt, str]] = field(default_factory=list)
    """Receipts of edits that are not committed yet, each with the subject to answer on."""
    subscriptions: list[Subscription] = field(default_factory=list)
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    clean: asyncio.Event = field(default_factory=asyncio.Event)
    pacer: asyncio.Task[None] | None = None
    leaving: bool = False
    gone: bool = False
    used_at: float = field(default_factory=time.monotonic)

    def touch(self) -> None:
        """Somebody uses the canvas."""
        self.used_at = time.monotonic()

    def take_answerable(self) -> list[tuple[Receipt, str]]:
        """The requests whose edits are committed now, removed from those that wait."""
        done = [item for item in self.waiting if self.room.saved(item[0])]
        if done:
            self.waiting = [item for item in self.waiting if not self.room.saved(item[0])]
        return done
