"""The relay publishes the events of the outbox. Only one replica of a service relays at a time."""

import asyncio
import functools
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime

from prometheus_client import Counter, Gauge

from svgx_common.background import BackgroundTasks
from svgx_common.contract.storage.events import CHANNEL_OF, EVENTS, DomainEvent
from svgx_common.events.outbox import event_of
from svgx_common.messaging.bus import Bus
from svgx_common.postgres import Database, Session

BATCH_EVENTS = 100
"""The most events that are relayed in one transaction."""

LAG = Gauge(
    "svgx_engine_events_outbox_lag_seconds",
    "Age of the oldest event that is not published yet; 0 if all are published.",
)
RELAYED = Counter(
    "svgx_engine_events_relayed", "Events that were published from the outbox, by type.", ["type"]
)
for _type in EVENTS:
    RELAYED.labels(_type)

DROP_INTERVAL_SECONDS = 3600.0
"""Seconds between two removals of old events."""

DROP_SLICE_EVENTS = 500
"""Number of old events that one statement examines."""

DROP_PAUSE_SECONDS = 0.02
"""Seconds between two statements of a removal, so that a large removal does not occupy the database."""

HandOver = Callable[[Session, Sequence[DomainEvent]], Awaitable[None]]
"""Hands events over for delivery to webhooks. The session has the transaction that marks the events as relayed."""


class Relay:
    """The relay of one replica. It checks the outbox every `interval_seconds`.

    After a crash between the hand-over of an event and the commit, the event is relayed again with the same id.
    """

    def __init__(
        self, bus: Bus, database: Database, hand_over: HandOver, *, interval_seconds: float
    ) -> None:
        self._bus = bus
        self._database = database
        self._hand_over = hand_over
        self._interval_seconds = interval_seconds

    def repeat(
        self, tasks: BackgroundTasks, retention_days: int, *, quiet_seconds: float = 0.0
    ) -> None:
        """Relay events, and drop those older than `retention_days`, in background tasks.

        `quiet_seconds` applies to the task that relays, and is described at `svgx_common.background.OutageLog`.
        """
        tasks.repeat("relay events", self.step, quiet_seconds=quiet_seconds)
        tasks.repeat(
            "drop old events",
            functools.partial(drop_old_events, self._database, retention_days),
        )

    async def step(self) -> None:
        """Relay all events that are in the outbox now, then wait. This is a step to repeat in the background."""
        while await self.relay_batch() == BATCH_EVENTS:
            pass
        await asyncio.sleep(self._interval_seconds)

    async def relay_batch(self) -> int:
        """Relay the oldest events of the outbox, and return their number. Return 0 while another replica relays.

        Events become visible in the order of their commits, and not in the order of the column `number`. So the relay
        selects the events that are not marked as relayed, instead of those after the last relayed `number`.
        """
        lag = await self._database.row("outbox_lag")
        if lag is None or lag["seconds"] is None:
            LAG.set(0.0)
            return 0  # the usual case, without the round trips of a transaction
        LAG.set(lag["seconds"])
        async with self._database.transaction() as session:
            claim = await session.row("claim_relay")
            if claim is None or not claim["claimed"]:
                return 0
            rows = await session.rows("unrelayed_events", BATCH_EVENTS)
            if not rows:
                return 0
            events = [event_of(row) for row in rows]
            await self._hand_over(session, events)
            for event in events:
                await self._bus.broadcast(CHANNEL_OF[event.type], event)
            await self._bus.settle()  # wait until the server has all broadcasts
            await session.run("mark_relayed", [event.id for event in events])
        for event in events:
            RELAYED.labels(event.type).inc()
        return len(events)


async def drop_old_events(database: Database, days: int) -> None:
    """Remove relayed events that are older than `days`, then wait. This is a step to repeat in the background."""
    await drop_slices(database, days)
    await asyncio.sleep(DROP_INTERVAL_SECONDS)


async def drop_slices(database: Database, days: int, size: int = DROP_SLICE_EVENTS) -> int:
    """Remove relayed events that are older than `days`. Return the number of statements.

    A statement examines only `size` events, so that it does not hold its locks for long. Events that are not relayed
    yet, or not delivered to webhooks yet, stay. A call examines each event only once.
    """
    at: datetime | None = None
    last: str | None = None
    number = 0
    while True:
        row = await database.row("drop_old_events", days, size, at, last)
        number += 1
        if row is None or not row["full"]:
            return number
        at, last = row["at"], row["id"]
        await asyncio.sleep(DROP_PAUSE_SECONDS)
