"""The lag of the event loop: the time by which a timer is late because other work keeps the loop busy."""

import asyncio
from collections.abc import Callable

from prometheus_client import Histogram

LAG = Histogram(
    "svgx_engine_loop_lag_seconds",
    "Lag of the event loop, checked four times a second.",
    buckets=(0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
)

CHECK_INTERVAL_SECONDS = 0.25
"""Seconds between two checks. Each check wakes an idle process, which takes 0.2 ms of processor time."""

Record = Callable[[float], None]
"""A function that is called after each check with the lag in seconds."""


class LagChecks:
    """The checks of the running event loop. A process has one object of this class, so that it wakes once a check."""

    def __init__(self) -> None:
        self._records: list[Record] = [LAG.observe]
        self._timer: asyncio.TimerHandle | None = None

    def on_check(self, record: Record) -> None:
        """Call `record` after each check."""
        self._records.append(record)

    def start(self) -> None:
        """Check every `CHECK_INTERVAL_SECONDS` until `stop`."""
        loop = asyncio.get_running_loop()
        due = loop.time() + CHECK_INTERVAL_SECONDS
        self._timer = loop.call_later(CHECK_INTERVAL_SECONDS, self._check, loop, due)

    def stop(self) -> None:
        """Stop checking."""
        if self._timer is not None:
            self._timer.cancel()

    def _check(self, loop: asyncio.AbstractEventLoop, due: float) -> None:
        lag = loop.time() - due
        for record in self._records:
            record(lag)
        self.start()
