"""The plan of one live drill: each event, its time and its victim. A seed always gives the same plan."""

import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """The kinds of events, each with its name in the printed plan."""

    KILL = "SIGKILL"
    STOP = "SIGTERM"
    FREEZE = "SIGSTOP"
    FLUSH = "flush"
    CUT = "cut link"
    MUTE = "silent link"
    STALL = "stop reading"
    VANISH = "vanish"
    ABANDON = "all vanish"
    POWER_CUT = "power cut"


OUTAGE_SECONDS = 3.0
"""Seconds for which a process is frozen, or its connection to NATS is cut or silent."""

STALL_SECONDS = 5.0
"""Seconds for which a client does not read."""

EVERYTHING = "everything"
"""The victim of a power cut: all processes, and all clients of the canvases `Victims.without_yjs_clients`."""

_REST_SECONDS = 4.0
"""Seconds from the end of an event to the next event with the same victim. Meanwhile the victim recovers."""

_START_SECONDS = 8.0
"""Seconds after a power cut without any event, because all processes start at the same time."""

_WAIT_SECONDS = 0.1
"""Seconds until another kind is drawn, when every victim of the drawn kind is still recovering."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event, `at` seconds after the start.

    `victim` is the name of a process, or `EVERYTHING`. For an event that affects clients, `victim` is the number of
    their canvas, and `count` is the number of affected clients, or 0 if all clients of the canvas vanish.
    """

    at: float
    kind: Kind
    victim: str
    seconds: float = 0.0
    count: int = 0

    def __str__(self) -> str:
        clients = f"{self.count} clients of canvas " if self.count else ""
        lasting = f" for {self.seconds:g} s" if self.seconds else ""
        return f"{self.at:5.1f} s  {self.kind.value} {clients}{self.victim}{lasting}"


@dataclass(frozen=True, slots=True)
class Victims:
    """The processes and clients that events may affect.

    `services` are the replicas of the gateway, of collab and of state. `links` are the replicas that reach NATS
    through a proxy. `canvases` are the numbers of all canvases. The canvases `without_yjs_clients` can lose all
    clients at once. A drill without `power_cuts` kills no two processes at the same moment.
    """

    services: Sequence[str]
    links: Sequence[str]
    canvases: Sequence[str]
    without_yjs_clients: Sequence[str]
    power_cuts: bool = True


_SERVERS = ("nats", "postgres", "valkey")


def draw(seed: int, seconds: float, gaps: tuple[float, float], victims: Victims) -> list[Event]:
    """Return the events of a drill of this length. `gaps` are the shortest and the longest time between two events."""
    generator = random.Random(seed)
    kinds: list[Callable[[], tuple[Kind, Sequence[str]]]] = [
        lambda: (Kind.KILL, victims.services),
        lambda: (Kind.STOP, victims.services),
        lambda: (Kind.FREEZE, (*victims.services, *_SERVERS)),
        lambda: (generator.choice((Kind.KILL, Kind.STOP)), ("nats",)),
        lambda: (generator.choice((Kind.KILL, Kind.STOP)), ("postgres",)),
        lambda: (generator.choice((Kind.KILL, Kind.FLUSH)), ("valkey",)),
        lambda: (generator.choice((Kind.CUT, Kind.MUTE)), victims.links),
        # Not the first canvas: it has 40 % of all editors, and each would receive the 3 MB that the event writes.
        lambda: (Kind.STALL, victims.canvases[1:]),
        lambda: (Kind.VANISH, victims.canvases),
        lambda: (Kind.ABANDON, victims.without_yjs_clients),
        lambda: (Kind.POWER_CUT, (EVERYTHING,) if victims.power_cuts else ()),
    ]
    events: list[Event] = []
    free_at: defaultdict[str, float] = defaultdict(float)
    undrawn: list[Callable[[], tuple[Kind, Sequence[str]]]] = []
    at = generator.uniform(*gaps)
    while at < seconds:
        # Each entry is drawn once before any entry is drawn again, so that even short drills have many kinds of events.
        undrawn = undrawn or generator.sample(kinds, len(kinds))
        kind, candidates = undrawn.pop()()
        candidates = [each for each in candidates if max(free_at[each], free_at[EVERYTHING]) <= at]
        if not candidates:
            at += _WAIT_SECONDS
            continue
        event = _event(at, kind, generator.choice(candidates), generator)
        rest = _START_SECONDS if kind is Kind.POWER_CUT else _REST_SECONDS
        free_at[event.victim] = at + event.seconds + rest
        events.append(event)
        at += generator.uniform(*gaps)
    return events


def _event(at: float, kind: Kind, victim: str, generator: random.Random) -> Event:
    if kind in (Kind.FREEZE, Kind.CUT, Kind.MUTE):
        return Event(at, kind, victim, seconds=OUTAGE_SECONDS)
    if kind is Kind.STALL:
        return Event(at, kind, victim, seconds=STALL_SECONDS, count=1)
    if kind is Kind.VANISH:
        return Event(at, kind, victim, count=generator.randint(1, 5))
    return Event(at, kind, victim)
