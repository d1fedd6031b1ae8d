"""The health of a process and of the servers that it depends on."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import Any

from pydantic import Field

from svgx_common import metrics
from svgx_common.configuration import build
from svgx_common.contract.operation import ReplyModel

Check = Callable[[], Awaitable[None]]
"""A check of one dependency. The check raises an error if the dependency does not answer."""


class NotUsable(Exception):
    """The failure of a check, with a text for the health report. The text must contain no address and no secret."""


Figures = Callable[[], dict[str, Any]]
"""A function that returns figures for operators, such as the use of a pool. They are the `details` of a report."""

CHECK_SECONDS = 2.0
"""Time limit for a dependency's answer, in seconds. A slower dependency counts as unreachable."""

CACHE_SECONDS = 0.5
"""Lifetime of a report, in seconds. Reports are reused, because frequent probes would load the dependencies."""


class Phase(StrEnum):
    """The phases of a replica's life, in order."""

    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"


class Dependency(ReplyModel):
    """The result of one check. `latency_ms` is the duration of the check in milliseconds.

    `error` is the type of the failure. `detail` is the check's text about the failure, if there is one. If a dependency
    that is not `required` fails, the service works with restrictions.
    """

    ok: bool
    latency_ms: float
    error: str | None = None
    detail: str | None = None
    required: bool = True


class HealthReport(ReplyModel):
    """The health of one replica. `status` is `ok`, `starting`, `draining` or `failing`.

    `reason` says why the replica is not ready, or names failed dependencies that are not required. It is None for a
    ready replica without a failed dependency.
    """

    status: str
    service: str
    replica: str
    version: str
    revision: str = build.UNKNOWN
    uptime_seconds: float
    reason: str | None = None
    dependencies: dict[str, Dependency] = Field(default_factory=dict)
    details: dict[str, Any] = Field(default_factory=dict)

    @property
    def is_reserved(self) -> bool:
        """Whether this is a reserved replica of collab.

        Requests that any replica could answer, such as `svgx.collab.open`, go to other replicas only.
        """
        return bool(self.details.get("balance", {}).get("reserved", False))


class Health:
    """The phase, the checks and the figures of this replica, and the reports made from them."""

    def __init__(
        self, service: str, replica_id: str, version: str, revision: str = build.UNKNOWN
    ) -> None:
        self._service = service
        self._replica_id = replica_id
        self._version = version
        self._revision = revision
        self._started = time.monotonic()
        self._phase = Phase.STARTING
        self._checks: dict[str, Check] = {}
        self._optional: set[str] = set()
        self._figures: dict[str, Figures] = {}
        self._cached: tuple[float, HealthReport] | None = None
        self._lock = asyncio.Lock()
        metrics.READY.labels(service).set(0)

    @property
    def phase(self) -> Phase:
        """The current phase. Each change of the phase, and each report, sets the metric `svgx_engine_ready`."""
        return self._phase

    @phase.setter
    def phase(self, phase: Phase) -> None:
        self._phase = phase
        self._cached = None
        metrics.READY.labels(self._service).set(phase is Phase.READY)

    def require(self, name: str, check: Check) -> None:
        """Add a check that must pass for the service to be ready."""
        self._add(name, check)

    def watch(self, name: str, check: Check) -> None:
        """Add a check that the report shows. If it fails, the service is still ready, but works with restrictions."""
        self._add(name, check)
        self._optional.add(name)

    def describe(self, name: str, figures: Figures) -> None:
        """Add figures to the details of the report, under `name`."""
        self._figures[name] = figures

    def _add(self, name: str, check: Check) -> None:
        self._checks[name] = check
        metrics.DEPENDENCY_UP.labels(self._service, name).set(0)

    async def report(self) -> HealthReport:
        """Return the last report if it is younger than `CACHE_SECONDS`.

        Otherwise, run all checks and return a new report.
        """
        async with self._lock:
            if self._cached is None or time.monotonic() - self._cached[0] > CACHE_SECONDS:
                report = await self._new_report()
                self._cached = (time.monotonic(), report)
            return self._cached[1]

    async def _new_report(self) -> HealthReport:
        """Run all checks and return a new report. If the phase changes meanwhile, run all checks again.

        A starting service adds checks, and the report of a ready service must have all of them.
        """
        while True:
            phase = self._phase
            report = await self._report()
            if self._phase is phase:
                return report

    async def _report(self) -> HealthReport:
        # Copy the checks, because a starting service adds checks while these run.
        checks = dict(self._checks)
        results = await asyncio.gather(
            *(_run(check, name not in self._optional) for name, check in checks.items())
        )
        dependencies = dict(zip(checks, results, strict=True))
        for name, result in dependencies.items():
            metrics.DEPENDENCY_UP.labels(self._service, name).set(result.ok)
        failing = {name: result for name, result in dependencies.items() if not result.ok}
        required = [name for name, result in failing.items() if result.required]
        status, reason = "ok", None
        if failing:
            status = "failing" if required else "ok"
            reason = "not usable: " + ", ".join(
                name if result.detail is None else f"{name} ({result.detail})"
                for name, result in failing.items()
            )
        if self._phase is Phase.DRAINING:
            status = reason = self._phase.value
        elif self._phase is Phase.STARTING:
            # The start may be waiting for a server that is not usable, so the reason names this server.
            status = self._phase.value
            reason = f"{status}; {reason}" if required else status
        metrics.READY.labels(self._service).set(status == "ok")
        return HealthReport(
            status=status,
            service=self._service,
            replica=self._replica_id,
            version=self._version,
            revision=self._revision,
            uptime_seconds=round(time.monotonic() - self._started, 3),
            reason=reason,
            dependencies=dependencies,
            details={name: figures() for name, figures in self._figures.items()},
        )


async def _run(check: Check, required: bool) -> Dependency:
    """Run one check for at most `CHECK_SECONDS`, and return its result."""
    started = time.perf_counter()
    checking = asyncio.ensure_future(check())
    error = detail = None
    try:
        # `asyncio.timeout` would wait until the cancelled check has ended, which takes long when a server hangs.
        await asyncio.wait({checking}, timeout=CHECK_SECONDS)
    finally:
        if not checking.done():
            checking.cancel()
            checking.add_done_callback(_forget)
    if not checking.done():
        error, detail = TimeoutError.__name__, "does not answer"
    elif (caught := checking.exception()) is not None:
        # Report only the type, because a driver's message may hold an address or a password.
        error = type(caught).__name__
        detail = str(caught) if isinstance(caught, NotUsable) else None
    return Dependency(
        ok=error is None,
        latency_ms=round((time.perf_counter() - started) * 1000, 3),
        error=error,
        detail=detail,
        required=required,
    )


def _forget(checking: asyncio.Future[None]) -> None:
    """Read the exception of a check that was given up, so that asyncio does not log it."""
    if not checking.cancelled():
        checking.exception()
