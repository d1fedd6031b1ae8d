"""The edits that are lost when all processes are killed at once."""

import time
from collections.abc import Sequence

from bench.collab.documents import last_numbers, read, saved_count
from bench.collab.load import Figures, Load, prepare, sends
from bench.collab.servers import Server
from bench.collab.servers.stack import StackServer
from bench.collab.sockets import Clients

EDITORS = 50
_SECONDS_BEFORE, _QUICK_SECONDS_BEFORE = 6.0, 2.0
_SECONDS_AFTER = 1.0


def run(server: Server, quick: bool) -> Figures:
    """Kill all processes while editors write, close all clients, start the stack again, and count lost edits."""
    assert isinstance(server, StackServer)
    before = _QUICK_SECONDS_BEFORE if quick else _SECONDS_BEFORE
    load = Load(1, EDITORS, saved=True, seconds=before + _SECONDS_AFTER)
    [room] = server.rooms(1, EDITORS)
    with Clients() as clients:
        opened = clients.open(
            [server.target(room, member, saved=True) for member in range(EDITORS)], record=True
        )
        writing = prepare(clients, load, opened)
        prebuilt = sends(load, writing)
        until = time.monotonic() + before
        clients.run(0.0, prebuilt, done=lambda: time.monotonic() > until)
        killed_at = time.monotonic_ns()
        server.stack.kill()
        clients.run(0.2)  # receive the receipts that were sent before the kill
        # The first message of each client created its element, and is not an edit.
        saved = [max(0, saved_count(client) - 1) for client in opened]
    server.wait(server.stack.down())
    server.wait(server.stack.up())
    with Clients() as clients:
        kept = last_numbers(
            read(clients, server, [room], 0)[room], [each.writer.name for each in writing]
        )
    stamps = [each.stamps for each in writing]
    return losses(stamps, saved, [kept[each.writer.name] for each in writing], killed_at)


def losses(
    stamps: Sequence[Sequence[int]], saved: Sequence[int], last: Sequence[int], killed_at: int
) -> Figures:
    """Return the figures of lost edits. Each sequence has an item for each writer.

    `stamps`: the times of the edits in ns. `saved`: the number of edits that were reported as saved. `last`: the number
    of the last edit in the document, or -1 if it lacks the element. `killed_at`: the time of the kill in ns.
    """
    lost_saved, lost, oldest = 0, 0, 0.0
    for times, count, number in zip(stamps, saved, last, strict=True):
        found = max(0, number)  # -1: the element is lost, and with it all its edits
        lost_saved += max(0, count - found)
        lost += len(times) - found
        if found < len(times):
            oldest = max(oldest, (killed_at - times[found]) / 1e6)
    return {
        "lost_saved": lost_saved,
        "lost": lost,
        "lost_ms": oldest,
        "written": sum(map(len, stamps)),
        "saved": sum(saved),
    }
