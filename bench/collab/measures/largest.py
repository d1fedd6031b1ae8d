"""The largest room in which all clients write and the delay stays short."""

from bench.collab.load import Figures, Load, measure
from bench.collab.servers import Server
from bench.collab.sockets import Refused

EDITORS = (100, 150, 200, 250, 300, 400, 500, 600, 800, 1000, 1250, 1500, 1800, 2100, 2500)
QUICK_EDITORS = (50, 100, 200)
P95_MS = 100.0
SHARE = 0.999
_SECONDS, _QUICK_SECONDS = 4.0, 2.0


def run(server: Server, quick: bool) -> Figures:
    """Measure larger and larger rooms until two sizes in a row are too slow, or until the server refuses the clients.

    A room is fast enough with a p95 of at most `P95_MS` and a share in time of at least `SHARE`. The figure `editors`
    is the size of the largest such room. Figures such as `p95 at 200` are those of each measured room. All other
    figures are those of the largest room that was fast enough.
    """
    best: dict[str, float] = {"editors": 0.0}
    steps: dict[str, float] = {}
    misses = 0
    for editors in QUICK_EDITORS if quick else EDITORS:
        load = Load(1, editors, saved=True, seconds=_QUICK_SECONDS if quick else _SECONDS)
        try:
            found = measure(server, load, verify=False)
        except Refused:
            break
        steps[f"p95 at {editors}"] = found["p95"]
        steps[f"share at {editors}"] = found["share"]
        if found["p95"] <= P95_MS and found["share"] >= SHARE:
            best = {**found, "editors": float(editors)}
            misses = 0
        elif (misses := misses + 1) == 2:
            break
    return {**best, **steps}
