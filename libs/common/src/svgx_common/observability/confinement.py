"""A metric and a warning that show whether worker processes are confined (see `svgx_workers.confinement`)."""

import functools
import sys
from collections.abc import Callable, Mapping

import structlog
from prometheus_client import Gauge

log = structlog.get_logger(__name__)

WORKERS_CONFINED = Gauge(
    "svgx_engine_workers_confined",
    "1 while all worker processes have this part of the confinement, else 0.",
    ["part"],
)


def show_confinement(confinement: Callable[[], Mapping[str, bool]]) -> None:
    """Show in the metric whether all workers have each part of the confinement. Call once, after their start.

    On Linux, log one warning if a part is missing. On other systems, log nothing, because they have no part.
    """
    parts = confinement()
    for part in parts:
        WORKERS_CONFINED.labels(part).set_function(functools.partial(_value, confinement, part))
    missing = [part for part, present in parts.items() if not present]
    if missing and sys.platform == "linux":
        log.warning("the workers lack parts of their confinement", missing=missing)


def _value(confinement: Callable[[], Mapping[str, bool]], part: str) -> float:
    return float(confinement()[part])
