"""Clients that open a large canvas: many at once, and one after a restart."""

import math
import time

from bench.collab import edits
from bench.collab.documents import upload
from bench.collab.load import Figures, wait_until_idle
from bench.collab.servers import Server
from bench.collab.servers.stack import StackServer
from bench.collab.sockets import Clients, Refused

CLIENTS, QUICK_CLIENTS = 1000, 100
_JOIN_ELEMENTS = 5_200
"""Elements of the canvas that many clients join: about 1 MB."""

ELEMENTS, QUICK_ELEMENTS = 100_000, 10_000

_COMPACTION_SECONDS = 300.0
"""The longest wait for the compaction of the canvas, in seconds."""


def join(server: Server, quick: bool) -> Figures:
    """Connect many clients at once to a canvas of 1 MB, and return the seconds until all have the document.

    The time is infinite when some clients have no document after 30 s.
    """
    count = QUICK_CLIENTS if quick else CLIENTS
    [room] = server.rooms(1, count)
    content = list(edits.elements(7, _JOIN_ELEMENTS))
    with Clients() as clients:
        upload(clients, server, room, content)
        targets = [server.target(room, member) for member in range(count)]
        cpu_before = sum(server.cpu_seconds().values())
        start = time.monotonic_ns()
        try:
            opened = clients.open(targets, at_once=count)
        except Refused:  # some clients got no document within 30 s
            return {"all_synced": math.inf}
        synced = sorted((client.synced_ns - start) / 1e9 for client in opened)
        cpu = sum(server.cpu_seconds().values()) - cpu_before
    return {
        "all_synced": synced[-1],
        "half_synced": synced[len(synced) // 2],
        "cpu_ms_of_join": cpu / count * 1000,
        "mb": sum(map(len, content)) / 1e6,
    }


def cold_open(server: Server, quick: bool) -> Figures:
    """Open a canvas with very many elements after a restart of collab, and return the seconds until the first sync.

    The canvas is compacted before the restart, like every canvas that has not been edited for some time.
    """
    assert isinstance(server, StackServer)
    [room] = server.rooms(1, 2)
    content = list(edits.elements(7, QUICK_ELEMENTS if quick else ELEMENTS, per_update=500))
    start = time.monotonic()
    with Clients() as clients:
        upload(clients, server, room, content)
        uploaded = time.monotonic() - start
        warm = _seconds_to_open(clients, server, room)
        start = time.monotonic()
        wait_until_idle(clients, server, _COMPACTION_SECONDS)
        compacted = time.monotonic() - start
    server.restart("collab")
    with Clients() as clients:
        cold = _seconds_to_open(clients, server, room)
    return {
        "cold_open": cold,
        "warm_open": warm,
        "upload": uploaded,
        "compaction": compacted,
        "mb": sum(map(len, content)) / 1e6,
    }


def _seconds_to_open(clients: Clients, server: Server, room: str) -> float:
    target = server.target(room, 1)
    start = time.monotonic_ns()
    [client] = clients.open([target])
    return (client.synced_ns - start) / 1e9
