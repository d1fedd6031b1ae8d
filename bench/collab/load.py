"""One load: clients write into rooms for some seconds. The result is the cost and the delay of the delivered edits."""

import contextlib
import gc
import math
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from bench.collab import documents, frames
from bench.collab.delays import Writing, delays, sample
from bench.collab.edits import Writer
from bench.collab.servers import Server
from bench.collab.sockets import Client, Clients, Send
from svgx_yjs import protocol

Figures = Mapping[str, float]
"""The figures of one measurement by name."""

LATE_SECONDS = 2.0
"""Seconds after the last sent edit until which an arrival counts as in time."""

_PREPARE_SECONDS = 20.0
"""The most seconds to wait until the server has handled the creation of the elements."""

_QUIET_SECONDS = 0.2
"""Seconds without received bytes after which everything has been delivered, unless a load has another number."""

_IDLE_CHECK_SECONDS = 1.0
"""Seconds between two checks of a server's processor time."""

_IDLE_CORES = 0.1
"""The largest processor time of an idle server, in seconds for each second."""

_IDLE_CHECKS = 3
"""Consecutive checks that must find a server idle, because PostgreSQL, for example, begins its maintenance seconds
after a load."""


@dataclass(frozen=True, slots=True)
class Load:
    """Clients that write into rooms.

    `rate`: edits of each writer in a second. `text_bytes`: bytes of an edit's value; 0 for a number. `cursors`: the
    writers send awareness states instead of edits. `together`: all writers write at the same moment. `saved`: the
    writers ask the server to report saved edits. `quiet`: seconds without received bytes after which everything has
    been delivered.
    """

    rooms: int = 1
    writers: int = 1
    readers: int = 0
    rate: float = 5.0
    seconds: float = 10.0
    text_bytes: int = 0
    cursors: bool = False
    together: bool = False
    saved: bool = False
    quiet: float = _QUIET_SECONDS

    @property
    def members(self) -> int:
        """Clients of each room."""
        return self.writers + self.readers

    @property
    def edits_of_writer(self) -> int:
        """Messages of each writer."""
        return max(1, round(self.rate * self.seconds))

    @property
    def deliveries(self) -> int:
        """Messages that other clients of the writers' rooms should receive."""
        return self.rooms * self.writers * self.edits_of_writer * (self.members - 1)

    def lasting(self, seconds: float) -> "Load":
        """Return the same load for another number of seconds."""
        return replace(self, seconds=seconds)


def measure(
    server: Server, load: Load, rooms: Sequence[str] = (), *, verify: bool = True
) -> Figures:
    """Apply a load, check that a fresh client and PostgreSQL have each writer's last value, and return the figures.

    `rooms` are existing rooms; without them the server creates new ones. Raises `sockets.Refused` when the server does
    not accept the clients. The figure `missing` counts the writers with a missing last value.
    """
    rooms = rooms or server.rooms(load.rooms, load.members)
    with Clients() as clients:
        opened = connect(clients, server, load, rooms)
        figures, writing = apply(clients, server, load, opened)
        missing = 0
        if verify and not load.cursors:
            missing = documents.count_missing(server, rooms, load.members, written(rooms, writing))
    return {**figures, "missing": missing}


def connect(clients: Clients, server: Server, load: Load, rooms: Sequence[str]) -> Sequence[Client]:
    """Connect all clients of a load, room by room. In each room, the writers connect first."""
    return clients.open(
        server.target(room, member, saved=load.saved and member < load.writers)
        for room in rooms
        for member in range(load.members)
    )


def apply(
    clients: Clients, server: Server, load: Load, opened: Sequence[Client]
) -> tuple[Figures, Sequence[Writing]]:
    """Apply a load with connected clients. Return the figures, and the writers with the times of their edits.

    The figures of saved edits need new connections, because a server counts all messages of a connection.
    """
    writing = prepare(clients, load, opened)
    sampled = {
        index: opened[index] for index in sample(len(opened), load.writers * load.edits_of_writer)
    }
    for client in sampled.values():
        client.start_record()
    received = sum(client.received for client in opened)
    prebuilt = sends(load, writing)
    clients.longest_delay_ns = 0
    cpu_before, own_cpu = server.cpu_seconds(), time.process_time()
    start = time.monotonic_ns()
    with _without_collections():
        clients.run(0.0, prebuilt)
        deadline = time.monotonic_ns() + int(LATE_SECONDS * 1e9)
        settle(clients, LATE_SECONDS, load.quiet)
    elapsed = (time.monotonic_ns() - start) / 1e9
    cpu_after, own_cpu = server.cpu_seconds(), time.process_time() - own_cpu
    found = delays(writing, sampled, load.members, deadline, saved=load.saved and server.saves)
    used = {name: seconds - cpu_before.get(name, 0.0) for name, seconds in cpu_after.items()}
    cpu = sum(used.values())
    delivered = load.deliveries * found.share
    figures = {
        "cpu_us": _microseconds(cpu, delivered),
        "offered_cpu_us": _microseconds(cpu, load.deliveries),
        "delivered_per_cpu_second": delivered / max(cpu, 0.01),
        "share": found.share,
        **found.quantiles,
        "server_cores": cpu / elapsed,
        "generator_cores": own_cpu / elapsed,
        "generator_delay": clients.longest_delay_ns / 1e6,
        "frames": sum(client.received for client in opened) - received,
        "closed": sum(client.closed is not None for client in opened),
        **{f"{name} µs": _microseconds(seconds, delivered) for name, seconds in used.items()},
    }
    return figures, writing


def _microseconds(cpu_seconds: float, edits: float) -> float:
    """Return the processor time for each edit in µs, or infinity without edits."""
    return cpu_seconds / edits * 1e6 if edits else math.inf


def prepare(clients: Clients, load: Load, opened: Sequence[Client]) -> list[Writing]:
    """Create each writer's element, wait until the server is quiet, and return the writers.

    Writers of cursors have no element.
    """
    first = random.randrange(2**30) * 2  # noqa: S311
    writing: list[Writing] = []
    for index, client in enumerate(opened):
        room, member = divmod(index, load.members)
        if member < load.writers:
            writing.append(Writing(Writer(first + index, load.text_bytes), client, room))
    for each in writing:
        if not load.cursors:
            message = protocol.encode_update(each.writer.creation())
            clients.send(each.client, each.client.target.frame(message))
            clients.run(0.001)
    settle(clients, _PREPARE_SECONDS, load.quiet)
    return writing


@contextlib.contextmanager
def _without_collections() -> Iterator[None]:
    """Disable Python's garbage collector in the block, because a collection visits all stored frames and takes long."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def sends(load: Load, writing: Sequence[Writing]) -> list[Send]:
    """Return all frames of the load in the order of their times."""
    chance = random.Random(1)  # noqa: S311
    found: list[Send] = []
    for each in writing:
        phase = 0.0 if load.together else chance.random()
        for number in range(1, load.edits_of_writer + 1):
            due = int((phase + number - 1) / load.rate * 1e9)
            if load.cursors:
                message = frames.cursor(each.writer.client, number)
            else:
                message = protocol.encode_update(each.writer.edit(number))
            found.append(Send(due, each.client, each.client.target.frame(message), each.stamps))
    return sorted(found, key=lambda send: send.due)


def settle(clients: Clients, seconds: float, quiet: float = _QUIET_SECONDS) -> None:
    """Receive until nothing has arrived for `quiet` seconds, but at most for `seconds`."""
    until = time.monotonic() + seconds
    before = -1
    while clients.received_bytes != before and time.monotonic() < until:
        before = clients.received_bytes
        clients.run(quiet)


def wait_until_idle(clients: Clients, server: Server, seconds: float) -> None:
    """Receive until the server has used little processor time for three seconds, but at most for `seconds`."""
    until = time.monotonic() + seconds
    before = sum(server.cpu_seconds().values())
    idle_checks = 0
    while idle_checks < _IDLE_CHECKS and time.monotonic() < until:
        clients.run(_IDLE_CHECK_SECONDS)
        after = sum(server.cpu_seconds().values())
        is_idle = after - before <= _IDLE_CORES * _IDLE_CHECK_SECONDS
        before, idle_checks = after, idle_checks + 1 if is_idle else 0


def written(rooms: Sequence[str], writing: Sequence[Writing]) -> list[dict[str, int]]:
    """Return, for each room, the number of each writer's edits, by the name of the writer's element."""
    found: list[dict[str, int]] = [{} for _ in rooms]
    for each in writing:
        found[each.room][each.writer.name] = len(each.stamps)
    return found
