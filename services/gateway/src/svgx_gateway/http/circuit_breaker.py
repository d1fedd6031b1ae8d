"""A circuit breaker for each service: while a service fails, requests to it are refused at once.

Each pool of a service's operations has a circuit breaker of its own, for two reasons. Exports or log-ins that take too
long must not stop quick requests. Failures of another service or of an external system, such as a sign-in provider, do
not mean that the service itself fails.
"""

import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

import structlog
from prometheus_client import Counter, Gauge

from svgx_common.contract import OPERATIONS
from svgx_common.contract.errors import (
    TEMPORARY_ERRORS,
    DeadlineExceeded,
    Internal,
    Overloaded,
    SvgxError,
    TemporaryError,
    Unavailable,
)
from svgx_common.contract.operation import Operation
from svgx_common.contract.policy import Pool
from svgx_common.messaging.bus import BusUnreachable, NoResponders

log = structlog.get_logger(__name__)

OPEN = Gauge(
    "svgx_engine_circuit_open",
    "1 while requests to a failing service, or to a pool of its operations, are refused at once.",
    ["circuit"],
)
REFUSED = Counter(
    "svgx_engine_circuit_refused", "Requests refused because a circuit was open.", ["circuit"]
)

FAILURE_THRESHOLD = 5
"""Failures in a row that open a circuit."""

PAUSE_SECONDS = 2.0
"""Time, in seconds, for which an open circuit refuses all requests. Then one request may test the service."""

_FailureTypes = tuple[type[TemporaryError], ...]
_NeutralTypes = tuple[type[Internal | TemporaryError], ...]

_FAILURES_BY_POOL: dict[Pool, _FailureTypes] = {
    Pool.HEAVY: (DeadlineExceeded, Unavailable),
    Pool.OUTSIDE: (DeadlineExceeded, Overloaded),
    Pool.HEAVY_WAITING: (DeadlineExceeded,),
    Pool.PASSWORD: (DeadlineExceeded, Unavailable),
    Pool.ASKING: (Overloaded,),
}
"""The errors that count as failures, for each pool where they differ from `TEMPORARY_ERRORS`."""
_NEUTRAL_BY_POOL: dict[Pool, _NeutralTypes] = {
    Pool.HEAVY: (Internal, Overloaded),
    Pool.OUTSIDE: (Internal, Unavailable),
    Pool.HEAVY_WAITING: (Internal, Unavailable, Overloaded),
    Pool.PASSWORD: (Internal, Overloaded),
    Pool.ASKING: (Internal, Unavailable, DeadlineExceeded),
}
"""The errors that count neither as failure nor as success, for each pool where they are more than `Internal`.

- `OUTSIDE`, `HEAVY_WAITING`: `Unavailable` concerns an external system or another service, and not the service itself.
- `ASKING`: the operation passes on the `Unavailable` of another service, and fails with `DeadlineExceeded` while the
  other service does not answer.
- `HEAVY`, `HEAVY_WAITING`, `PASSWORD`: a full queue refuses a request at once with `Overloaded`, but may accept the
  next request of another caller.
"""


class CircuitBreaker:
    """One circuit: closed, open, or half open while one request tests the service. `clock` returns seconds."""

    def __init__(
        self, name: str, clock: Callable[[], float] = time.monotonic, *, pool: Pool = Pool.QUICK
    ) -> None:
        self._name = name
        self._clock = clock
        self._failure_types = _FAILURES_BY_POOL.get(pool, TEMPORARY_ERRORS)
        self._neutral_types: _NeutralTypes = _NEUTRAL_BY_POOL.get(pool, (Internal,))
        self._failures = 0
        self._retry_at: float | None = None
        """Earliest time of a request that tests the service; None while the circuit is closed."""
        self._probing = False
        """True while a request tests the service."""
        OPEN.labels(name).set_function(lambda: self.is_refusing)
        REFUSED.labels(name)

    @property
    def is_refusing(self) -> bool:
        """Whether requests are refused now: during a pause, and while another request tests the service."""
        return self._retry_at is not None and (self._probing or self._clock() < self._retry_at)

    def attempt(self) -> "_Attempt":
        """Return a context manager for one request. Entering it raises `Unavailable` while the circuit is open.

        The request's result opens or closes the circuit. Only errors that show an overloaded or broken service count as
        failures. A caller's mistake counts as a success, because the service answered. `Internal` changes nothing.
        `NoResponders` and `BusUnreachable` change nothing either, because they are raised within about a second, and
        only as long as no replica or no NATS server is reachable. In some pools, more errors change nothing
        (`_NEUTRAL_BY_POOL`).
        """
        return _Attempt(self)

    def finish(self, error: BaseException | None, *, probe: bool) -> None:
        """Note the end of a request. `probe` is the result of `enter`."""
        if error is None:
            self._succeeded()
        elif isinstance(error, NoResponders | BusUnreachable):
            pass
        elif isinstance(error, self._failure_types):
            self._failed(probe)
        elif isinstance(error, SvgxError) and not isinstance(error, self._neutral_types):
            self._succeeded()
        if probe:
            self._probing = False

    def enter(self) -> bool:
        """Return whether this request tests the service. Raise `Unavailable` if the request must not be sent."""
        if self._retry_at is None:
            return False
        if self.is_refusing:
            REFUSED.labels(self._name).inc()
            raise Unavailable(
                "this part of the system does not answer in time at the moment; try again",
                retry_after=max(self._retry_at - self._clock(), 1.0),
            )
        self._probing = True
        return True

    def _failed(self, probe: bool) -> None:
        self._failures += 1
        # Requests that were sent before the circuit opened do not keep it open longer.
        if probe or (self._retry_at is None and self._failures >= FAILURE_THRESHOLD):
            if self._retry_at is None:
                log.warning("a circuit opened", circuit=self._name)
            self._retry_at = self._clock() + PAUSE_SECONDS

    def _succeeded(self) -> None:
        self._failures = 0
        if self._retry_at is not None:
            log.info("a circuit closed", circuit=self._name)
            self._retry_at = None


class _Attempt:
    """The context manager of one request. A generator would cost three times as much."""

    __slots__ = ("_breaker", "_probe")

    def __init__(self, breaker: CircuitBreaker) -> None:
        self._breaker = breaker

    def __enter__(self) -> None:
        self._probe = self._breaker.enter()

    def __exit__(
        self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None
    ) -> None:
        self._breaker.finish(error, probe=self._probe)


class CircuitBreakers:
    """All circuit breakers of one gateway."""

    def __init__(self) -> None:
        self._breakers: dict[str, CircuitBreaker] = {}
        for operation in OPERATIONS:
            if operation.http is not None:
                self.of(operation)  # create it now, so that its metrics exist from the start

    def of(self, operation: Operation[Any, Any]) -> CircuitBreaker:
        """Return the circuit breaker of an operation."""
        name, pool = operation.service, operation.pool
        if pool is not Pool.QUICK:
            name = f"{name}.{pool}"
        if name not in self._breakers:
            self._breakers[name] = CircuitBreaker(name, pool=pool)
        return self._breakers[name]
