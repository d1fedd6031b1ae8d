"""The held canvases that take much processor time."""

import time
from collections.abc import Callable, Mapping

from prometheus_client import Gauge

from svgx_collab.bounds import Pace

BUSY_MEASUREMENTS = 2
"""Measurements in a row that must find a canvas busy before it is moved. So a short burst of edits moves no canvas."""

CALM_SECONDS = 300.0
"""Time, in seconds, that a canvas on a reserved replica must be calm before the replica releases it."""

BUSY_PART = 0.5
"""The part of `transaction_share` at which a canvas is busy because of its long transactions (see `BusyCanvases`)."""

CALM_PART = 0.2
"""A canvas is calm when it stays below this part of both limits: for all its work, and for its long transactions.

A canvas that reaches one of the limits is busy.
"""

BUSY_CANVASES = Gauge(
    "svgx_engine_collab_busy_canvases",
    "Held canvases that take so much processor time that they need their own replica.",
)


class BusyCanvases:
    """The held canvases that take much processor time.

    `paces` returns the pace of each held canvas. A canvas is busy when it takes at least `busy_share` of the processor
    time. It is also busy when its long transactions take at least `BUSY_PART` of `transaction_share`, the share that
    they may take on a replica that is not reserved.
    """

    def __init__(
        self,
        paces: Callable[[], Mapping[str, Pace]],
        busy_share: float,
        transaction_share: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._paces = paces
        self._busy_share = busy_share
        self._busy_excess_share = BUSY_PART * transaction_share
        self._clock = clock
        self._measured_at = clock()
        self._last_measured: dict[str, tuple[Pace, float, float]] = {}
        """For each canvas, its pace, and its seconds and excess seconds at the last measurement."""
        self._busy_counts: dict[str, int] = {}
        """For each busy canvas, the number of measurements in a row that found it busy."""
        self._calm_since: dict[str, float] = {}
        """For each calm canvas, the time of the first measurement in a row that found it calm."""
        BUSY_CANVASES.set_function(lambda: len(self.busy))

    def measure(self) -> None:
        """Measure each canvas's share of the processor time since the last call."""
        now, paces = self._clock(), self._paces()
        elapsed = max(now - self._measured_at, 0.001)
        self._measured_at = now
        last_measured, self._last_measured = self._last_measured, {}
        counts, self._busy_counts = self._busy_counts, {}
        calm, self._calm_since = self._calm_since, {}
        for canvas_id, pace in paces.items():
            self._last_measured[canvas_id] = pace, pace.seconds, pace.excess_seconds
            before, seconds, excess = last_measured.get(canvas_id, (pace, 0.0, 0.0))
            if before is not pace:
                continue  # the canvas was opened again
            part = max(
                (pace.seconds - seconds) / elapsed / self._busy_share,
                (pace.excess_seconds - excess) / elapsed / self._busy_excess_share,
            )
            if part >= 1:
                self._busy_counts[canvas_id] = counts.get(canvas_id, 0) + 1
            elif part < CALM_PART:
                self._calm_since[canvas_id] = calm.get(canvas_id, now)

    @property
    def busy(self) -> list[str]:
        """The canvases that were busy at each of the last `BUSY_MEASUREMENTS` measurements."""
        return [each for each, count in self._busy_counts.items() if count >= BUSY_MEASUREMENTS]

    @property
    def calm(self) -> list[str]:
        """The canvases that were calm for `CALM_SECONDS`."""
        now = self._clock()
        return [each for each, since in self._calm_since.items() if now - since >= CALM_SECONDS]
