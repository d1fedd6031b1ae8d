"""The scenarios and their goals. Each goal has a bar, and some goals have an aim beyond the bar."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum

from bench.collab.load import Figures, Load, measure
from bench.collab.measures import attacks, contrasts, idle, killed, largest, opening
from bench.collab.servers import Server
from bench.collab.servers.stack import SETTINGS

OURS, HOCUSPOCUS, TWO_NODES = "ours", "Hocuspocus", "Hocuspocus, 2 nodes + Redis"

QUICK_SECONDS = 2.0

Results = Mapping[str, Figures]
"""The figures of one scenario by server."""


class Kind(Enum):
    """The value that a goal compares with its bar."""

    FIGURE = "our figure"
    RATIO = "our figure divided by the peer's"
    EXCESS = "our figure minus the peer's"


@dataclass(frozen=True, slots=True)
class Goal:
    """A bar that a figure must keep, and an aim beyond it. With `at_least`, larger is better."""

    figure: str
    title: str
    bar: float
    aim: float | None = None
    kind: Kind = Kind.FIGURE
    peer: str = HOCUSPOCUS
    at_least: bool = False

    def value(self, results: Results) -> float | None:
        """Return the value, or None if a server was not measured or has no such figure."""
        ours = results.get(OURS, {}).get(self.figure)
        if self.kind is Kind.FIGURE or ours is None:
            return ours
        peer = results.get(self.peer, {}).get(self.figure)
        # There is no ratio to an infinite delay, or to the size 0 of a room.
        if not peer or math.isinf(peer):
            return None
        return ours - peer if self.kind is Kind.EXCESS else ours / peer

    def keeps(self, value: float, limit: float) -> bool:
        """Return whether a value is within a bar or an aim."""
        return value >= limit if self.at_least else value <= limit


def _cpu(bar: float, aim: float | None = None, peer: str = HOCUSPOCUS) -> Goal:
    return Goal("cpu_us", f"CPU of an edit / {peer}", bar, aim, Kind.RATIO, peer)


_ALL_DELIVERED = Goal("share", "share delivered in time", 1.0, at_least=True)
_ALL_SAVED = Goal("saved_share", "share saved in time", 1.0, at_least=True)


@dataclass(frozen=True, slots=True)
class Scenario:
    """One measurement at each of `servers`.

    `run` measures a server; its second argument is True for a short and small measurement. With `alone`, each server is
    started for this scenario only, because the scenario overloads or stops the server, or because earlier scenarios
    would change the result. `settings` are the settings of our stack, if it is started for this scenario only.
    `edits_many_canvases`: our stack makes automatic versions of many canvases a minute after the scenario.
    """

    name: str
    title: str
    run: Callable[[Server, bool], Figures]
    goals: tuple[Goal, ...]
    servers: tuple[str, ...] = (OURS, HOCUSPOCUS)
    alone: bool = False
    settings: Mapping[str, str] = field(default_factory=lambda: SETTINGS)
    edits_many_canvases: bool = False


def _load(load: Load) -> Callable[[Server, bool], Figures]:
    def run(server: Server, quick: bool) -> Figures:
        return measure(server, load.lasting(QUICK_SECONDS) if quick else load)

    return run


_EVERYWHERE = (OURS, HOCUSPOCUS, TWO_NODES)
_SMALL_ROOMS = (
    _cpu(1.0, 0.7),
    _cpu(0.5, peer=TWO_NODES),
    Goal("p95", "p95 beyond Hocuspocus' (ms)", 20.0, kind=Kind.EXCESS),
)

SCENARIOS = (
    Scenario(
        "rooms-100",
        "100 rooms × 5, 5/s",
        _load(Load(100, 5)),
        _SMALL_ROOMS,
        _EVERYWHERE,
        edits_many_canvases=True,
    ),
    Scenario(
        "rooms-300",
        "300 rooms × 5, 5/s",
        _load(Load(300, 5)),
        _SMALL_ROOMS,
        _EVERYWHERE,
        edits_many_canvases=True,
    ),
    Scenario("room-50", "one room of 50, 5/s", _load(Load(1, 50)), (_cpu(1.0, 0.7),), _EVERYWHERE),
    Scenario(
        "room-200", "one room of 200, 5/s", _load(Load(1, 200)), (_cpu(0.7, 0.5),), _EVERYWHERE
    ),
    Scenario(
        "large-edits",
        "30 clients, 20 write 20 kB each 5/s",
        _load(Load(1, 20, 10, text_bytes=20_000)),
        (_cpu(1.5, 1.0),),
    ),
    Scenario(
        "cursors",
        "50 cursors at 15/s",
        _load(Load(1, 50, rate=15.0, cursors=True)),
        (Goal("offered_cpu_us", "CPU of a cursor / Hocuspocus", 0.7, 0.4, Kind.RATIO),),
    ),
    Scenario(
        "readers-499",
        "1 writer, 499 readers",
        _load(Load(1, 1, 499)),
        (_cpu(1.0, 0.7),),
        _EVERYWHERE,
    ),
    Scenario(
        "readers-800",
        "5 writers, 800 readers",
        _load(Load(1, 5, 800)),
        (_cpu(1.0, 0.7),),
        _EVERYWHERE,
    ),
    Scenario(
        "largest-room",
        "the largest room, all write 5/s",
        largest.run,
        (
            Goal(
                "editors",
                "largest room with p95 ≤ 100 ms / Hocuspocus'",
                3.0,
                5.0,
                Kind.RATIO,
                at_least=True,
            ),
        ),
        alone=True,
    ),
    Scenario(
        "room-1000",
        "one room of 1,000, all write 5/s",
        _load(Load(1, 1000, saved=True, seconds=6.0)),
        (Goal("p95", "p95 (ms)", 150.0), _ALL_DELIVERED, _ALL_SAVED),
        (OURS,),
        alone=True,
    ),
    Scenario(
        "room-1500",
        "one room of 1,500, all write 5/s",
        _load(Load(1, 1500, saved=True, seconds=6.0)),
        (Goal("p95", "p95 (ms)", 200.0), _ALL_DELIVERED, _ALL_SAVED),
        (OURS,),
        alone=True,
    ),
    Scenario(
        "saved",
        "edit → saved, 100 editors, 5/s",
        _load(Load(1, 100, saved=True)),
        (Goal("saved_p95", "p95 until saved (ms)", 60.0, 40.0),),
        (OURS,),
    ),
    Scenario(
        "isolated",
        "one isolated edit, idle stack",
        _load(Load(1, 1, 1, saved=True)),
        (
            Goal("p50", "p50 to another client (ms)", 3.0, 2.0),
            Goal("saved_p50", "p50 until saved (ms)", 8.0, 5.0),
        ),
    ),
    Scenario(
        "killed",
        "SIGKILL of everything in mid-edit",
        killed.run,
        (
            Goal("lost_saved", "saved edits lost", 0.0),
            Goal("lost_ms", "age of the oldest lost edit (ms)", 50.0),
        ),
        (OURS,),
        alone=True,
    ),
    Scenario(
        "join",
        "1,000 clients join a 1 MB canvas at once",
        opening.join,
        (Goal("all_synced", "all synced (s)", 5.0, 2.0),),
    ),
    Scenario(
        "idle-memory",
        "memory of an idle connection",
        idle.run,
        (Goal("kb_of_connection", "kB of a connection (PSS)", 40.0, 25.0),),
        alone=True,
    ),
    Scenario(
        "replicas",
        "two gateways, two collabs",
        contrasts.replicas,
        (Goal("per_cpu_second_ratio", "edits per CPU second / one of each", 0.9, at_least=True),),
        (OURS,),
        alone=True,
    ),
    Scenario(
        "past-clients",
        "a canvas with 50,000 past client ids",
        contrasts.past_clients,
        (Goal("cpu_ratio", "CPU of an edit / on a new canvas", 2.0),),
        (OURS,),
        alone=True,
        # One account uploads all past clients. By default, collab would refuse the account after 20,000 clients, and
        # even earlier because of its processor time. The measured edits are far from these bounds. The export that
        # checks the saved document also takes long. With a transaction share of 1, each batch of 50 edits is a
        # transaction of its own.
        settings={
            **SETTINGS,
            "ACCOUNT_MAX_CLIENTS_PER_HOUR": "1000000",
            "EDIT_SECONDS": "10",
            "ACCOUNT_EDIT_SECONDS": "600",
            "WORKER_TIMEOUT_SECONDS": "60",
            "CANVAS_TRANSACTION_SHARE": "1",
        },
    ),
    Scenario(
        "cold-open",
        "a canvas of 100,000 elements, cold open",
        opening.cold_open,
        (Goal("cold_open", "first sync (s)", 3.0, 1.5),),
        (OURS,),
        alone=True,
        # With a transaction share of 1, the upload takes seconds. With the default share, it would take minutes.
        settings={**SETTINGS, "CANVAS_TRANSACTION_SHARE": "1"},
    ),
    *(
        Scenario(
            f"attack-{name}",
            f"one account attacks: {attack.title}",
            attacks.under(name),
            (
                Goal("edit_ratio", "another account's edit, p95 / undisturbed", 3.0),
                Goal("get_ratio", "another account's GET, p95 / undisturbed", 3.0),
            ),
            (OURS,),
            alone=True,
            settings={"LOG_LEVEL": "WARNING"},
        )
        for name, attack in attacks.ATTACKS.items()
    ),
)
"""All scenarios, in the order of the table."""
