"""The delays between writers and sampled clients."""

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from bench.collab.arrivals import Arrivals, Range
from bench.collab.edits import Writer
from bench.collab.sockets import Client

_SAMPLED = 40
"""The largest number of sampled clients in a load. Large rooms have fewer, because each client gets all edits of its
room."""

_SAMPLED_EDITS = 600_000
"""The largest number of edits that all sampled clients together receive. Beyond it, two clients are still sampled."""


@dataclass(slots=True)
class Writing:
    """A writer, its connection, the index of its room, and the times in ns at which its edits or cursors were sent."""

    writer: Writer
    client: Client
    room: int
    stamps: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Delays:
    """The share of edits that arrived in time, and quantiles of the delays in ms.

    An edit that is late or lost has an infinite delay.
    """

    share: float
    quantiles: Mapping[str, float]


def sample(clients: int, edits_of_room: float) -> list[int]:
    """Return the indexes of the sampled clients: a random choice that is the same in each run."""
    count = max(2, min(_SAMPLED, clients, int(_SAMPLED_EDITS / edits_of_room)))
    return sorted(random.Random(2).sample(range(clients), min(count, clients)))  # noqa: S311


def delays(
    writing: Sequence[Writing],
    sampled: Mapping[int, Client],
    members: int,
    deadline: int,
    *,
    saved: bool,
) -> Delays:
    """Return the share and the delays of the edits that arrived by `deadline`, a monotonic time in ns.

    `sampled`: the sampled clients by index among all clients. `members`: the number of clients in each room. With
    `saved`, also return the delays until edits were reported as saved.
    """
    by_room: dict[int, list[Writing]] = {}
    for each in writing:
        by_room.setdefault(each.room, []).append(each)
    caches: dict[int, dict[bytes, list[Range]]] = {}
    until_seen: list[float] = []
    until_saved: list[float] = []
    expected = expected_saved = 0
    for index, client in sampled.items():
        room = index // members
        counts = {each.writer.client: len(each.stamps) for each in by_room[room]}
        arrivals = Arrivals(client, counts, caches.setdefault(room, {}))
        for each in by_room[room]:
            if each.client is not client:
                times: Sequence[int] = arrivals.times[each.writer.client]
                until_seen += _intervals(each.stamps, times, deadline)
                expected += len(each.stamps)
            elif saved:
                # The writer's first message created the element. Its first edit is message 2.
                times = arrivals.saved_times(2, len(each.stamps))
                until_saved += _intervals(each.stamps, times, deadline)
                expected_saved += len(each.stamps)
    quantiles = _quantiles("", until_seen, expected)
    if saved:
        quantiles |= _quantiles("saved_", until_saved, expected_saved)
        quantiles["saved_share"] = len(until_saved) / max(1, expected_saved)
    return Delays(len(until_seen) / max(1, expected), quantiles)


def quantile(values: Sequence[float], share: float) -> float:
    """Return the value that this share of the sorted values does not exceed, or infinity without values."""
    return values[min(len(values) - 1, int(share * len(values)))] if values else math.inf


def _intervals(stamps: Sequence[int], times: Sequence[int], deadline: int) -> list[float]:
    pairs = zip(stamps, times, strict=True)
    return [(time - stamp) / 1e6 for stamp, time in pairs if 0 < time <= deadline]


def _quantiles(prefix: str, delays: Sequence[float], expected: int) -> dict[str, float]:
    values = sorted(delays) + [math.inf] * (expected - len(delays))
    shares = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
    return {prefix + name: quantile(values, share) for name, share in shares.items()}
