"""Return unused memory of a process to the system, at a time at which this delays few clients.

Two kinds of memory stay until a process returns them:

- Garbage. Python frees most objects at once. After a number of new objects, it also collects the young objects that
  refer to each other. Older objects that refer to each other, such as a failed request and its error, stay until a
  collection of all objects. Such a collection stops the process for 1 ms for each 1,000 objects, and a client would
  notice this as a late edit. So Python begins no such collection by itself (see `runtime.GC_THRESHOLDS`).
- Freed buffers. glibc keeps them for the next buffers (see `configuration.process_environment`). Returning them stops
  the process for 5 to 16 ms.

So the process returns both when it has grown and has little to do.
"""

import asyncio
import ctypes
import gc
import os
import time
from collections.abc import Callable
from pathlib import Path

CHECK_INTERVAL = 20.0
"""Seconds between two checks of the memory of the process."""

GROWTH_BYTES = 24 * 1024 * 1024
"""Growth beyond the lowest memory since the last return, in bytes, after which a quiet process returns memory."""

LARGE_GROWTH_BYTES = 4 * GROWTH_BYTES
"""Growth, measured like `GROWTH_BYTES`, after which a busy process returns memory too."""

QUIET_SECONDS = 0.1 * CHECK_INTERVAL
"""Seconds of processor time between two checks, below which a process counts as quiet."""

_STATM = Path("/proc/self/statm")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def resident_bytes() -> int:
    """Return the memory of this process in bytes, or 0 on a system without Linux's /proc."""
    try:
        return int(_STATM.read_text().split()[1]) * _PAGE_BYTES
    except OSError:
        return 0


def return_memory() -> None:
    """Collect all garbage, and return freed buffers to the system. Only glibc keeps buffers that can be returned."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


class MemoryWatch:
    """A watch that returns memory to the system when the process has grown.

    `measure` returns the memory of the process in bytes, and `cpu_seconds` the processor time that the process has
    used.
    """

    def __init__(
        self,
        measure: Callable[[], int] = resident_bytes,
        cpu_seconds: Callable[[], float] = time.process_time,
    ) -> None:
        self._measure = measure
        self._cpu_seconds = cpu_seconds
        self._lowest = measure()
        """The lowest memory since the last return."""
        self._cpu_before = cpu_seconds()
        """The processor time at the last check."""

    async def watch(self) -> None:
        """Wait, then return memory if the process has grown."""
        await asyncio.sleep(CHECK_INTERVAL)
        self.check()

    def check(self) -> bool:
        """Return memory if the process has grown: by `GROWTH_BYTES`, or by `LARGE_GROWTH_BYTES` if it is busy.

        Return True if memory was returned.
        """
        used, cpu_seconds = self._measure(), self._cpu_seconds()
        is_quiet = cpu_seconds - self._cpu_before < QUIET_SECONDS
        self._cpu_before = cpu_seconds
        has_grown = used - self._lowest > (GROWTH_BYTES if is_quiet else LARGE_GROWTH_BYTES)
        if has_grown:
            return_memory()
            self._lowest = self._measure()
        else:
            self._lowest = min(self._lowest, used)
        return has_grown
