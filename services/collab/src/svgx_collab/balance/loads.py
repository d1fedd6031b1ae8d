"""The loads of all replicas of collab: a replica that has more to do than the others declines to open further canvases.

For each canvas, it declines at most `MAX_DECLINES` requests and takes the next, because the others may have stopped.
The loads of reserved replicas do not count, because these replicas open no canvas by themselves.
"""

import asyncio
import random
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

from prometheus_client import Counter, Gauge

from svgx_common.background import BackgroundTasks, repeat
from svgx_common.contract.collab import REPLICA_LOAD, ReplicaLoad
from svgx_common.messaging.bus import Bus

ANNOUNCE_SECONDS = 1.0
"""Seconds between two announcements of a replica's load."""

FRESH_SECONDS = 3.5
"""Lifetime of an announcement, in seconds. Beyond it, the announcement is ignored, as its replica may have stopped."""

EXCESS_FACTOR = 1.25
"""A replica declines only when its load is more than this many times the mean of all replicas."""

EXCESS_LOAD = 20.0
"""A replica declines only when its load exceeds the mean by more than this, because small differences do not matter."""

RETRY_SECONDS = 0.01
"""Seconds until the sender repeats a declined request. Any replica may receive the repeated request."""

MAX_DECLINES = 3
"""Largest number of declined requests for one canvas. The next is accepted: the other replicas may have stopped."""

FORGET_SECONDS = 5.0
"""Seconds from the last declined request for a canvas until its declined requests are forgotten."""

SMOOTHING = 0.3
"""The weight of the newest measurement in the moving average of edits per second."""

LOAD = Gauge(
    "svgx_engine_collab_load", "Load of this replica: held canvases plus edits per second."
)
DECLINED = Counter(
    "svgx_engine_collab_declined_openings",
    "Requests to open a canvas that were declined because other replicas have less to do.",
)


Value = TypeVar("Value")


class Loads:
    """The load of this replica, and the newest announcements of the others.

    `count_canvases` returns the number of held canvases, and `count_edits` the number of edits since the start. With
    `is_reserved`, this replica takes only canvases that other replicas hand over to it.
    """

    def __init__(
        self,
        bus: Bus,
        count_canvases: Callable[[], int],
        count_edits: Callable[[], int],
        clock: Callable[[], float] = time.monotonic,
        *,
        is_reserved: bool = False,
    ) -> None:
        self._bus = bus
        self._is_reserved = is_reserved
        self._count_canvases = count_canvases
        self._count_edits = count_edits
        self._clock = clock
        self._edits_per_second = 0.0
        self._last_count = (clock(), count_edits())
        self._others: dict[str, tuple[ReplicaLoad, float]] = {}
        """For each other replica, its newest announcement and the time of this announcement."""
        self._declined: dict[str, tuple[int, float]] = {}
        """For each canvas, the number of declined requests, and the time of the newest of them."""
        self._background = BackgroundTasks()
        LOAD.set_function(lambda: self.own)

    async def start(self) -> None:
        """Announce this replica's load from now on, and receive the announcements of the others."""
        await self._bus.listen(REPLICA_LOAD.subject, self._note)
        self._background.start("announce load", repeat("announce load", self._announce))

    async def stop(self) -> None:
        """Stop the announcements."""
        await self._background.stop()

    @property
    def own(self) -> float:
        """The load of this replica: held canvases plus edits per second."""
        return self._count_canvases() + self._edits_per_second

    def details(self) -> dict[str, float | bool]:
        """Return the figures of the health report. Gateways read `reserved` (see `HealthReport`)."""
        return {"load": round(self.own, 1), "reserved": self._is_reserved}

    def declines(self, canvas_id: str) -> bool:
        """Return whether another replica should open the canvas. Count a request that is declined."""
        now = self._clock()
        others = [each.load for each in self._fresh(now) if not each.is_reserved]
        mean = (self.own + sum(others)) / (1 + len(others))
        if self.own <= mean * EXCESS_FACTOR or self.own <= mean + EXCESS_LOAD:
            return False
        tries, _ = self._declined.get(canvas_id, (0, now))
        if tries >= MAX_DECLINES:
            return False
        self._declined[canvas_id] = tries + 1, now
        DECLINED.inc()
        return True

    def free_reserved_replica(self) -> str | None:
        """Return the id of a random reserved replica that holds no canvas, or None.

        The choice is random. Otherwise, two replicas that move a canvas at the same time would choose the same replica.
        """
        free = [each.replica for each in self._fresh(self._clock()) if each.is_free]
        return random.choice(free) if free else None  # noqa: S311  # nothing is secret here

    def measure(self) -> None:
        """Measure the edits per second since the last measurement."""
        now, edits = self._clock(), self._count_edits()
        since, before = self._last_count
        if now > since:
            newest = (edits - before) / (now - since)
            self._edits_per_second += SMOOTHING * (newest - self._edits_per_second)
            self._last_count = now, edits
        self._declined = _newer(self._declined, now - FORGET_SECONDS)

    def note(self, load: ReplicaLoad) -> None:
        """Note the announcement of a replica."""
        if load.replica != self._bus.replica_id:
            now = self._clock()
            self._others = _newer(self._others, now - FRESH_SECONDS)
            self._others[load.replica] = load, now

    def _fresh(self, now: float) -> Iterator[ReplicaLoad]:
        """Yield the announcements of the replicas that still run."""
        return (load for load, at in self._others.values() if now - at < FRESH_SECONDS)

    async def _note(self, _: str, content: bytes) -> None:
        self.note(ReplicaLoad.model_validate_json(content))

    async def _announce(self) -> None:
        await asyncio.sleep(ANNOUNCE_SECONDS)
        self.measure()
        load = ReplicaLoad(
            replica=self._bus.replica_id,
            load=self.own,
            is_reserved=self._is_reserved,
            is_free=self._is_reserved and not self._count_canvases(),
        )
        await self._bus.broadcast(REPLICA_LOAD, load)


def _newer(entries: Mapping[str, tuple[Value, float]], at: float) -> dict[str, tuple[Value, float]]:
    """Return the entries with a time after `at`."""
    return {key: entry for key, entry in entries.items() if entry[1] > at}
