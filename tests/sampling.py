"""Repeated measurements of processes, which find peaks that no event announces."""

import threading
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

_INTERVAL_SECONDS = 0.2
"""Seconds between two measurements."""

MIB = 2**20


class Sampler:
    """A thread that calls `measure` every `_INTERVAL_SECONDS` while the block of a `with` statement runs."""

    def __init__(self) -> None:
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name=type(self).__name__)

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

    def measure(self) -> None:
        """Measure once."""
        raise NotImplementedError

    def _run(self) -> None:
        while True:
            self.measure()
            if self._stopped.wait(_INTERVAL_SECONDS):
                return


def memory(pid: int | None) -> int:
    """Return the memory of a process and its descendants, in bytes.

    The memory is the proportional set size (PSS, Linux only), because RSS counts shared pages once for each process.
    """
    total = 0
    for each in tree(pid):
        try:
            total += int(psutil.Process(each).memory_full_info().pss)
        except psutil.NoSuchProcess:
            continue  # the process has ended
    return total


def tree(pid: int | None) -> list[int]:
    """Return the ids of a process and its descendants. psutil would be slower, because it reads all processes."""
    if pid is None:
        return []
    pids = [pid]
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = path.read_text().split()
        except FileNotFoundError:
            continue  # the thread has ended
        for child in children:
            pids += tree(int(child))
    return pids
