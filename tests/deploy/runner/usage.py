"""The memory and processor time of pods."""

import threading
from types import TracebackType
from typing import Self

import psutil

from tests.deploy.runner.environment import quantity
from tests.deploy.runner.pod import Pod

_INTERVAL = 0.25
"""Seconds between two measurements."""
_MIB = 2**20


class Usage:
    """A thread that measures all pods at an interval, because no event announces a peak.

    The memory is the proportional set size of a pod's processes (Linux only), because RSS counts shared pages once for
    each process. A container of a real cluster shares no pages with others, and so has some MiB more.
    """

    def __init__(self, pods: list[Pod]) -> None:
        self._pods = pods
        self._memory: dict[str, int] = {}
        self._seconds: dict[str, float] = {}
        self._before = {pod.name: _processor_seconds(pod.pid) for pod in pods}
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="usage")

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

    def peak(self, name: str) -> int:
        """Return the largest memory of a pod, in bytes."""
        return self._memory.get(name, 0)

    def exceeded(self) -> list[str]:
        """Return the pods that used more memory than their limit. A kubelet would have killed them."""
        return [
            f"{pod.name} used {self.peak(pod.name) / _MIB:.0f} MiB, and its limit is {pod.limits['memory']}"
            for pod in self._pods
            if self.peak(pod.name) > quantity(pod.limits["memory"])
        ]

    def report(self) -> str:
        """Return a line for each pod: its largest memory, and the seconds of processor time since the start."""
        return "".join(
            f"\n{pod.name}: at most {self.peak(pod.name) / _MIB:.0f} MiB of {pod.limits['memory']}, "
            f"{self._seconds.get(pod.name, 0.0) - self._before.get(pod.name, 0.0):.1f} s of processor time"
            for pod in self._pods
        )

    def _run(self) -> None:
        while True:
            for pod in list(self._pods):
                memory = _memory(pod.pid)
                self._memory[pod.name] = max(self.peak(pod.name), memory)
                seconds = _processor_seconds(pod.pid)
                self._seconds[pod.name] = max(self._seconds.get(pod.name, 0.0), seconds)
            if self._stopped.wait(_INTERVAL):
                return


def _tree(pid: int | None) -> list[psutil.Process]:
    try:
        process = psutil.Process(pid) if pid is not None else None
        return [process, *process.children(recursive=True)] if process is not None else []
    except psutil.NoSuchProcess:
        return []


def _memory(pid: int | None) -> int:
    total = 0
    for each in _tree(pid):
        try:
            total += int(each.memory_full_info().pss)
        except psutil.NoSuchProcess:
            continue  # the process has ended since
    return total


def _processor_seconds(pid: int | None) -> float:
    """Return the processor time of a process, of its children, and of its children that have ended."""
    total = 0.0
    for each in _tree(pid):
        try:
            times = each.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system
        if each.pid == pid:
            total += times.children_user + times.children_system
    return total
