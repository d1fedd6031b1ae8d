"""Show the use of the worker processes of a service as metrics."""

from collections.abc import Callable

from prometheus_client import Gauge

TURNS = Gauge(
    "svgx_engine_worker_turns",
    "Requests that use a worker process (running), or wait for one (waiting).",
    ["state"],
)
MAX_WORKERS = Gauge("svgx_engine_workers_max", "Worker processes of this replica.")


def show_use(size: int, running: Callable[[], int], waiting: Callable[[], int]) -> None:
    """Show the number of worker processes, and of the requests that use or await one. Call this once in a process.

    `size` is the number of processes. `running` and `waiting` return the numbers of requests.
    """
    MAX_WORKERS.set(size)
    TURNS.labels("running").set_function(running)
    TURNS.labels("waiting").set_function(waiting)
