"""The metrics of every service. Names start with `svgx_engine_`; names that the operations guide lists never change."""

import functools
import platform
from collections.abc import Iterable

from prometheus_client import Counter, Gauge, Histogram, disable_created_metrics

from svgx_common.tracing import current_trace_id, in_recorded_trace

REQUESTS = Counter(
    "svgx_engine_requests",
    "Operations that ended, by outcome: `ok`, the error's code, or `client_gone` if the client left before the end of "
    "the request's body.",
    ["component", "operation", "code"],
)
REQUEST_SECONDS = Histogram(
    "svgx_engine_request_duration_seconds",
    "Time to answer an operation, from receipt to reply.",
    ["component", "operation"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60),
)
ERRORS = Counter(
    "svgx_engine_errors",
    "Operations that failed in a service (status 500 and above).",
    ["component", "code"],
)
BUS_DROPPED = Counter(
    "svgx_engine_bus_dropped_messages",
    "Messages from NATS that were dropped because this process was too slow.",
    ["component"],
)
BUS_RECONNECTS = Counter(
    "svgx_engine_bus_reconnects", "Connections to NATS that were opened again after a loss."
)
BUS_UNSENT_BYTES = Gauge(
    "svgx_engine_bus_unsent_bytes", "Bytes that wait in this process until NATS takes them."
)
BUS_PENDING = Gauge(
    "svgx_engine_bus_pending_messages",
    "Messages from NATS that wait in this process for their handlers.",
)
BUS_ROUND_TRIP = Histogram(
    "svgx_engine_bus_round_trip_seconds",
    "Time of a message through NATS back to this process, measured every second.",
    buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2),
)
POOL_REQUESTS = Gauge(
    "svgx_engine_pool_requests",
    "Requests in a service's pool of operations: running, or waiting for a slot.",
    ["pool", "state"],
)
POOL_SLOTS = Gauge(
    "svgx_engine_pool_slots", "Requests that may run at a time in a pool of operations.", ["pool"]
)
READY = Gauge("svgx_engine_ready", "1 while `/health/ready` answers 200, else 0.", ["component"])
DEPENDENCY_UP = Gauge(
    "svgx_engine_dependency_up",
    "1 while the last check of a dependency succeeded, else 0.",
    ["component", "dependency"],
)
BUILD_INFO = Gauge(
    "svgx_engine_build_info",
    "Always 1. The labels are the versions of the service and of Python, and the revision of the source code.",
    ["component", "version", "revision", "python"],
)

SERVER_ERRORS = frozenset({"error", "internal", "unavailable", "overloaded", "deadline_exceeded"})
"""The codes of operations' errors with a status of 500 and above."""


def start(service: str, version: str, revision: str) -> None:
    """Create the time series that a service has before any event. Call once, at the start of the process."""
    # The times at which series were created would be a third of the metrics page. Rendering the page blocks the event
    # loop.
    disable_created_metrics()  # type: ignore[no-untyped-call]
    BUILD_INFO.labels(service, version, revision, platform.python_version()).set(1)
    BUS_DROPPED.labels(service)
    for code in SERVER_ERRORS:
        ERRORS.labels(service, code)


def expect(service: str, operation: str, codes: Iterable[str]) -> None:
    """Create the time series of an operation with its outcomes.

    Prometheus' `rate` does not count the first value of a time series. Without the value 0 from this function, it
    would miss the first event.
    """
    for code in codes:
        _series(service, operation, code)


def count_refused(service: str, operation: str, code: str) -> None:
    """Count an operation that was refused before it started. Such an operation has no duration."""
    count, _ = _series(service, operation, code)
    count.inc()
    if code in SERVER_ERRORS:
        ERRORS.labels(service, code).inc()


def observe(service: str, operation: str, code: str, seconds: float) -> None:
    """Count one operation that ended. `code` is its outcome (see `REQUESTS`).

    When the current trace is recorded, its id becomes the exemplar of the duration.
    """
    count, duration = _series(service, operation, code)
    count.inc()
    duration.observe(seconds, exemplar())
    if code in SERVER_ERRORS:
        ERRORS.labels(service, code).inc()


def exemplar() -> dict[str, str] | None:
    """Return the exemplar of an observation within the current trace: the trace's id, if the trace is recorded."""
    return {"trace_id": current_trace_id()} if in_recorded_trace() else None


@functools.cache
def _series(service: str, operation: str, code: str) -> tuple[Counter, Histogram]:
    """Return the time series of an operation and a code. They are cached because `labels` is slow."""
    return REQUESTS.labels(service, operation, code), REQUEST_SECONDS.labels(service, operation)
