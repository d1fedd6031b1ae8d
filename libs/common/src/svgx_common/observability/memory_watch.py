"""Return unused memory of a process to the system, when this delays few clients.

Two kinds of memory stay until a process returns them:

- Garbage. Python frees most objects immediately. After a number of new objects, it also collects the young objects that
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

CHECK_INTERVAL_SECONDS = 20.0
"""Seconds between two checks of the memory of the process."""

GROWTH_BYTES = 24 * 1024 * 1024
"""Minimum growth in bytes after which a quiet process returns memory.

The growth is measured from the lowest memory after the last return.
"""

LARGE_GROWTH_BYTES = 4 * GROWTH_BYTES
"""Minimum growth in bytes, measured like `GROWTH_BYTES`, after which a busy process returns memory too."""

QUIET_SECONDS = 0.1 * CHECK_INTERVAL_SECONDS
"""A process counts as quiet if it used less than this processor time, in seconds, between two checks."""

_STATM_FILE = Path("/proc/self/statm")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def resident_bytes() -> int:
    """Return the memory of this process in bytes, or 0 on a system without Linux's /proc."""
    try:
        return int(_STATM_FILE.read_text().split()[1]) * _PAGE_BYTES
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
        self._lowest_bytes = measure()
        """The lowest memory after the last return, in bytes."""
        self._cpu_before = cpu_seconds()
        """The processor time at the last check."""

    async def watch(self) -> None:
        """Wait, then return memory if the process has grown."""
        await asyncio.sleep(CHECK_INTERVAL_SECONDS)
        self.check()

    def check(self) -> bool:
        """Give memory back if the process has grown: by `GROWTH_BYTES`, or by `LARGE_GROWTH_BYTES` if it is busy.

        Return True if memory was given back.
        """
        used, cpu_seconds = self._measure(), self._cpu_seconds()
        is_quiet = cpu_seconds - self._cpu_before < QUIET_SECONDS
        self._cpu_before = cpu_seconds
        has_grown = used - self._lowest_bytes > (GROWTH_BYTES if is_quiet else LARGE_GROWTH_BYTES)
        if has_grown:
            return_memory()
            self._lowest_bytes = self._measure()
        else:
            self._lowest_bytes = min(self._lowest_bytes, used)
        return has_grown
