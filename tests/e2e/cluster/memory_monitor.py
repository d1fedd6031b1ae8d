"""What all processes of a stack need in memory, together and at most."""

import threading
from types import TracebackType
from typing import Self

import psutil

from svgx_devstack import DevStack

_EVERY = 0.2
_MIB = 1024 * 1024


class MemoryWatch:
    """Looks again and again, in a thread, and keeps the highest sum.

    The figure is PSS (Linux only): pages that processes share count once in the sum, where RSS counts them for each
    process. A peak is nothing that announces itself, so this one does look at intervals.
    """

    def __init__(self, stack: DevStack) -> None:
        self.peak = 0
        self._stack = stack
        self._at_peak: dict[str, int] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="memory watch")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()

    def report(self) -> str:
        """The peak, and what each program had then, in MiB."""
        parts = sorted(self._at_peak.items(), key=lambda part: -part[1])
        listed = ", ".join(f"{name} {size / _MIB:.0f}" for name, size in parts)
        return f"{self.peak / _MIB:.0f} MiB ({listed})"

    def _run(self) -> None:
        while True:
            now = {process.name: _pss(process.pid) for process in self._stack.processes}
            if sum(now.values()) > self.peak:
                self.peak = sum(now.values())
                self._at_peak = now
            if self._over.wait(_EVERY):
                return


def _pss(pid: int | None) -> int:
    """Bytes of a process and everything it started."""
    if pid is None:
        return 0
    try:
        process = psutil.Process(pid)
        tree = [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0
    total = 0
    for each in tree:
        try:
            total += int(each.memory_full_info().pss)
        except psutil.NoSuchProcess:
            continue  # ended since
    return total
