"""A circuit for each service: while it fails, requests are refused at once instead of waiting for their time limits.

Heavy operations have a circuit of their own: exports that take too long must not stop what is quick. So have those that
wait for somebody outside, such as a sign-in provider: a service is not to blame for him.
"""

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import structlog
from prometheus_client import Counter, Gauge

from svgx_common.contract.errors import (
    DeadlineExceeded,
    Internal,
    Overloaded,
    SvgxError,
    Unavailable,
)
from svgx_common.contract.operation import Operation
from svgx_common.contract.policy import RateClass
from svgx_common.messaging.bus import NoResponders

log = structlog.get_logger(__name__)

OPEN = Gauge("svgx_engine_circuit_open", "1 while requests to a service are refused.", ["circuit"])
REFUSED = Counter(
    "svgx_engine_circuit_refused", "Requests refused because a circuit was open.", ["circuit"]
)

THRESHOLD = 5
"""Failures in a row that open a circuit."""

PAUSE = 2.0
"""Seconds until one request may try again."""

_FAILURES = (DeadlineExceeded, Unavailable, Overloaded)
_OUTSIDE_FAILURES = (DeadlineExceeded, Overloaded)
"""`Unavailable` is what the service says of somebody outside, and of one of several: another one may be well."""


class Circuit:
    """Closed, open, or half open: then one request is under way that decides. `clock` gives seconds."""

    def __init__(
        self, name: str, clock: Callable[[], float] = time.monotonic, *, outside: bool = False
    ) -> None:
        self._name = name
        self._clock = clock
        self._counted = _OUTSIDE_FAILURES if outside else _FAILURES
        self._failures = 0
        self._retry_at: float | None = None
        self._probing = False
        OPEN.labels(name).set(0)

    @contextlib.contextmanager
    def passage(self) -> Iterator[None]:
        """Let one request pass, and learn from how it ends. Raises `Unavailable` while the circuit is open.

        Only what says that the service does not cope counts: a caller's mistake is an answer, and that nobody is there
        (`NoResponders`) is known at once without a circuit, and over at once too.
        """
        probe = self._enter()
        try:
            yield
        except NoResponders:
            raise
        except self._counted:
            self._failed(probe)
            raise
        except SvgxError as error:
            if not isinstance(error, Internal):
                self._succeeded()
            raise
        else:
            self._succeeded()
        finally:
            if probe:
                self._probing = False

    def _enter(self) -> bool:
        """Whether this request is the one that decides."""
        if self._retry_at is None:
            return False
        wait = self._retry_at - self._clock()
        if wait > 0 or self._probing:
            REFUSED.labels(self._name).inc()
            raise Unavailable(
                "this part of the system does not answer in time at the moment; try again",
                retry_after=max(wait, 1.0),
            )
        self._probing = True
        return True

    def _failed(self, probe: bool) -> None:
        self._failures += 1
        # What was under way when it opened does not keep it open longer.
        if probe or (self._retry_at is None and self._failures >= THRESHOLD):
            if self._retry_at is None:
                log.warning("a circuit opened", circuit=self._name)
                OPEN.labels(self._name).set(1)
            self._retry_at = self._clock() + PAUSE

    def _succeeded(self) -> None:
        self._failures = 0
        if self._retry_at is not None:
            log.info("a circuit closed", circuit=self._name)
            OPEN.labels(self._name).set(0)
            self._retry_at = None


class Circuits:
    """All circuits of one gateway."""

    def __init__(self) -> None:
        self._circuits: dict[str, Circuit] = {}

    def of(self, operation: Operation[Any, Any]) -> Circuit:
        """The circuit an operation belongs to."""
        name = operation.service
        if operation.outside:
            name = f"{name}.outside"
        elif operation.rate is RateClass.HEAVY:
            name = f"{name}.heavy"
        if name not in self._circuits:
            self._circuits[name] = Circuit(name, outside=operation.outside)
        return self._circuits[name]
