"""Measurements that compare two states of our stack."""

from bench.collab import edits
from bench.collab.documents import upload
from bench.collab.load import Figures, Load, measure, wait_until_idle
from bench.collab.servers import Server
from bench.collab.servers.stack import StackServer
from bench.collab.sockets import Clients

PAST_CLIENTS, QUICK_PAST_CLIENTS = 50_000, 5_000
CLIENTS_OF_UPDATE = 10_000
"""Past clients of one update: as many as collab permits by default. More and smaller updates take longer in total."""

_LONGEST_TRANSACTION = 1.0
"""Seconds for which collab may send nothing because it integrates a batch into a canvas with many past clients."""

_COMPACTION_SECONDS = 120.0
"""The most seconds to wait until the state service has compacted the canvas."""

_QUICK_SECONDS = 2.0


def replicas(server: Server, quick: bool) -> Figures:
    """Compare one gateway and one collab with two of each, under the load of 100 rooms of five editors."""
    assert isinstance(server, StackServer)
    load = Load(100, 5, seconds=_QUICK_SECONDS if quick else 10.0)
    one = measure(server, load)
    for service in ("gateway", "collab"):
        server.wait(server.stack.add_replica(service))
    two = measure(server, load)
    per_second = "delivered_per_cpu_second"
    return {
        **two,
        "per_cpu_second_ratio": two[per_second] / max(one[per_second], 1.0),
        "one_per_cpu_second": one[per_second],
        "one_p95": one["p95"],
    }


def past_clients(server: Server, quick: bool) -> Figures:
    """Compare edits on a canvas with many past Yjs clients to edits on a new canvas.

    The canvases are measured one after the other. The 50 editors of a canvas all write at the same moment.
    """
    seconds = _QUICK_SECONDS if quick else 10.0
    load = Load(1, 50, together=True, seconds=seconds, quiet=_LONGEST_TRANSACTION)
    new = measure(server, load)
    rooms = server.rooms(1, load.members)
    count = QUICK_PAST_CLIENTS if quick else PAST_CLIENTS
    updates = edits.past_clients(2**31, count, CLIENTS_OF_UPDATE)
    with Clients() as clients:
        upload(clients, server, rooms[0], updates, one_by_one=True)
        # The upload makes the state service compact the canvas, which takes as much time as thousands of edits.
        wait_until_idle(clients, server, _COMPACTION_SECONDS)
        old = measure(server, load, rooms)
    return {**old, "cpu_ratio": old["cpu_us"] / new["cpu_us"], "new_p95": new["p95"]}
