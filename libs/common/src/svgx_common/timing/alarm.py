"""An alarm that wakes a background task at the earliest requested time."""

import asyncio
import math
import time

EARLY_SECONDS = 0.001
"""Maximum time by which an alarm rings too early, in seconds, because timers are rounded to milliseconds.

Work that is due within this time has to be done immediately. Otherwise the task would wake twice for it.
"""


class Alarm:
    """An alarm with at most one timer. All times are seconds of the monotonic clock.

    A process that wakes from an idle wait needs 0.1 ms of processor time, even when it finds no work. A task that
    sleeps for its minimum pause might wake without work. So after its work, the task calls `wait`. The code that adds
    work calls `ring_at` with the end of the pause.
    """

    def __init__(self) -> None:
        self._rings = asyncio.Event()
        self._rings_at = math.inf
        """The time of the timer; infinite without a timer."""
        self._timer: asyncio.TimerHandle | None = None

    def ring(self) -> None:
        """Wake the task now."""
        self._stop_timer()
        self._rings.set()

    def ring_at(self, at: float, *, slack: float = EARLY_SECONDS) -> None:
        """Wake the task at a time, or at an earlier requested time. Wake it now if at most `slack` seconds remain."""
        if self._rings.is_set():
            return
        seconds = at - time.monotonic()
        if seconds <= slack:
            self.ring()
            return
        if at >= self._rings_at:
            return
        self._stop_timer()
        self._rings_at = at
        self._timer = asyncio.get_running_loop().call_later(seconds, self.ring)

    def clear(self) -> None:
        """Forget all requests."""
        self._stop_timer()
        self._rings.clear()

    async def wait(self) -> None:
        """Wait until the alarm rings, and forget all requests."""
        await self._rings.wait()
        self.clear()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._rings_at = math.inf
