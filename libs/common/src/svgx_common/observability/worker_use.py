"""Show the use of the worker processes of a service as metrics."""

from collections.abc import Callable

from prometheus_client import Gauge

TURNS = Gauge(
    "svgx_engine_worker_turns",
    "Requests that use a worker process (running), or wait for one (waiting).",
    ["state"],
)
MAX_WORKERS = Gauge("svgx_engine_workers_max", "Worker processes of this replica.")


def show_use(worker_count: int, running: Callable[[], int], waiting: Callable[[], int]) -> None:
    """Show the number of worker processes, and the numbers of requests that use or await one.

    `running` returns the number of requests that use a worker process, and `waiting` the number of requests that wait
    for one. Call this function once in a process.
    """
    MAX_WORKERS.set(worker_count)
    TURNS.labels("running").set_function(running)
    TURNS.labels("waiting").set_function(waiting)
