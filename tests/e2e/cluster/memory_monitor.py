"""The peak memory of all processes of a stack."""

import threading
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from svgx_devstack import DevStack

_SAMPLE_INTERVAL = 0.2
"""Seconds between two measurements."""
_MIB = 1024 * 1024


class MemoryMonitor:
    """A thread that measures the memory of all processes, and keeps the highest sum in `peak`, in bytes.

    It measures the proportional set size (PSS, Linux only), because RSS counts shared pages once for each process. It
    measures at an interval, because no event announces a peak.
    """

    def __init__(self, stack: DevStack) -> None:
        self.peak = 0
        self._stack = stack
        self._at_peak: dict[str, int] = {}
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="memory monitor")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stopped.set()
        self._thread.join()

    def report(self) -> str:
        """Return the peak and the memory of each process at that time, in MiB, as text."""
        parts = sorted(self._at_peak.items(), key=lambda part: -part[1])
        listed = ", ".join(f"{name} {size / _MIB:.0f}" for name, size in parts)
        return f"{self.peak / _MIB:.0f} MiB ({listed})"

    def _run(self) -> None:
        while True:
            now = {process.name: _pss(process.pid) for process in self._stack.processes}
            if sum(now.values()) > self.peak:
                self.peak = sum(now.values())
                self._at_peak = now
            if self._stopped.wait(_SAMPLE_INTERVAL):
                return


def _pss(pid: int | None) -> int:
    """Return the bytes of a process and its descendants."""
    if pid is None:
        return 0
    try:
        total = int(psutil.Process(pid).memory_full_info().pss)
    except psutil.NoSuchProcess:
        return 0  # the process has ended since
    return total + sum(_pss(child) for child in _children(pid))


def _children(pid: int) -> list[int]:
    """Return the ids of a process's children. psutil reads all processes of the machine for this."""
    children: list[int] = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children += map(int, path.read_text().split())
        except FileNotFoundError:
            continue  # the thread has ended since
    return children
