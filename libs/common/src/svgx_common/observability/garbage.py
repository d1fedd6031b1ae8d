"""The collection of all garbage, at a time at which it delays few clients.

Python frees most objects at once, and collects young objects that refer to each other after a number of new objects.
Older objects that refer to each other, such as a failed request and its error, stay until a collection of all objects.
Such a collection stops the process for 1 ms for each 1,000 objects, which a client would notice as a late edit. So
Python does not begin it (see `GC_THRESHOLDS`), and the process begins it when it has grown and has little to do.
"""

import asyncio
import gc
import os
import time
from collections.abc import Callable
from pathlib import Path

CHECK_INTERVAL = 20.0
"""Seconds between two looks at the memory of the process."""

GROWTH_BYTES = 24 * 1024 * 1024
"""Growth of the memory beyond its lowest size since the last collection, after which a quiet process collects."""

LARGE_GROWTH_BYTES = 4 * GROWTH_BYTES
"""The same growth, after which a busy process collects too."""

QUIET_SECONDS = 0.1 * CHECK_INTERVAL
"""Processor time of a quiet process between two looks, in seconds."""

_STATM = Path("/proc/self/statm")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def resident_bytes() -> int:
    """Return the memory of this process in bytes, or 0 on a system without Linux's /proc."""
    try:
        return int(_STATM.read_text().split()[1]) * _PAGE_BYTES
    except OSError:
        return 0


class GarbageWatch:
    """Collects garbage when the memory of the process has grown.

    `measure` returns this memory in bytes, and `cpu_seconds` the processor time that the process has used.
    """

    def __init__(
        self,
        measure: Callable[[], int] = resident_bytes,
        cpu_seconds: Callable[[], float] = time.process_time,
    ) -> None:
        self._measure = measure
        self._cpu_seconds = cpu_seconds
        self._lowest = measure()
        """The lowest memory since the last collection."""
        self._cpu_before = cpu_seconds()
        """The processor time at the last look."""

    async def watch(self) -> None:
        """Wait, then collect garbage if the memory has grown."""
        await asyncio.sleep(CHECK_INTERVAL)
        self.look()

    def look(self) -> bool:
        """Collect garbage if the memory has grown: by `GROWTH_BYTES`, or by `LARGE_GROWTH_BYTES` in a busy process.

        Return whether garbage was collected.
        """
        used, cpu_seconds = self._measure(), self._cpu_seconds()
        is_quiet = cpu_seconds - self._cpu_before < QUIET_SECONDS
        self._cpu_before = cpu_seconds
        collects = used - self._lowest > (GROWTH_BYTES if is_quiet else LARGE_GROWTH_BYTES)
        if collects:
            gc.collect()
            self._lowest = self._measure()
        else:
            self._lowest = min(self._lowest, used)
        return collects
