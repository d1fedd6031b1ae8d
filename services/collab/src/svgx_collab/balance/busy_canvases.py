"""The held canvases that take much of the processor's time."""

import time
from collections.abc import Callable, Mapping

from prometheus_client import Gauge

from svgx_collab.bounds import Pace

BUSY_LOOKS = 2
"""Looks in a row that find a canvas busy before it is moved. A short burst of edits moves no canvas."""

CALM_SECONDS = 300.0
"""Seconds for which a canvas on a reserved replica must be calm before the replica leaves it."""

BUSY_PART = 0.5
"""A canvas is also busy when its long transactions take this part of `transaction_share` (see `BusyCanvases`)."""

CALM_PART = 0.2
"""A canvas is calm when it is below this part of each of the two limits from which a canvas is busy.

The limits are for all its work, and for its long transactions.
"""

BUSY_CANVASES = Gauge(
    "svgx_engine_collab_busy_canvases",
    "Held canvases that take so much of the processor's time that they need a replica of their own.",
)


class BusyCanvases:
    """The held canvases that take much of the processor's time.

    `paces` returns the pace of each held canvas. A canvas is busy when it takes at least
    `busy_share` of the processor's time. It is also busy when its long transactions take at least `BUSY_PART` of
    `transaction_share`. `transaction_share` is the share that the long transactions of a canvas may take on a replica
    that is not reserved.
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
        self._looked_at = clock()
        self._taken: dict[str, tuple[Pace, float, float]] = {}
        """For each canvas, its pace, and its seconds and excess seconds at the last look."""
        self._busy_looks: dict[str, int] = {}
        """For each busy canvas, the number of looks in a row that found it busy."""
        self._calm_since: dict[str, float] = {}
        """For each calm canvas, the time of the first look that found it calm."""
        BUSY_CANVASES.set_function(lambda: len(self.busy))

    def look(self) -> None:
        """Measure the share of the processor's time of each canvas since the last look."""
        now, paces = self._clock(), self._paces()
        elapsed = max(now - self._looked_at, 0.001)
        self._looked_at = now
        taken, self._taken = self._taken, {}
        looks, self._busy_looks = self._busy_looks, {}
        calm, self._calm_since = self._calm_since, {}
        for canvas_id, pace in paces.items():
            self._taken[canvas_id] = pace, pace.seconds, pace.excess_seconds
            before, seconds, excess = taken.get(canvas_id, (pace, 0.0, 0.0))
            if before is not pace:
                continue  # the canvas was opened again
            part = max(
                (pace.seconds - seconds) / elapsed / self._busy_share,
                (pace.excess_seconds - excess) / elapsed / self._busy_excess_share,
            )
            if part >= 1:
                self._busy_looks[canvas_id] = looks.get(canvas_id, 0) + 1
            elif part < CALM_PART:
                self._calm_since[canvas_id] = calm.get(canvas_id, now)

    @property
    def busy(self) -> list[str]:
        """The canvases that were busy at each of the last `BUSY_LOOKS` looks."""
        return [each for each, looks in self._busy_looks.items() if looks >= BUSY_LOOKS]

    @property
    def calm(self) -> list[str]:
        """The canvases that were calm for `CALM_SECONDS`."""
        now = self._clock()
        return [each for each, since in self._calm_since.items() if now - since >= CALM_SECONDS]
