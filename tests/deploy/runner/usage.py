"""Measure the memory and processor time of pods."""

import psutil

from tests.deploy.runner.environment import quantity
from tests.deploy.runner.pod import Pod
from tests.sampling import MIB, Sampler, memory, tree


class Usage(Sampler):
    """A thread that measures all pods.

    A container of a real cluster uses some MiB more, because it shares no pages with other containers.
    """

    def __init__(self, pods: list[Pod]) -> None:
        super().__init__()
        self._pods = pods
        self._memory: dict[str, int] = {}
        self._seconds: dict[str, float] = {}
        self._seconds_before = {pod.name: _processor_seconds(pod.pid) for pod in pods}

    def peak(self, name: str) -> int:
        """Return the peak memory of a pod, in bytes."""
        return self._memory.get(name, 0)

    def exceeded(self) -> list[str]:
        """Return the pods that used more memory than their limit. A kubelet would have killed them."""
        return [
            f"{pod.name} used {self.peak(pod.name) / MIB:.0f} MiB, and its limit is {pod.limits['memory']}"
            for pod in self._pods
            if self.peak(pod.name) > quantity(pod.limits["memory"])
        ]

    def report(self) -> str:
        """Return a line for each pod: its peak memory, and its processor time since the start of the measurement."""
        return "".join(
            f"\n{pod.name}: at most {self.peak(pod.name) / MIB:.0f} MiB of {pod.limits['memory']}, "
            f"{self._seconds.get(pod.name, 0.0) - self._seconds_before.get(pod.name, 0.0):.1f} s of processor time"
            for pod in self._pods
        )

    def measure(self) -> None:
        """Measure all pods."""
        for pod in list(self._pods):
            self._memory[pod.name] = max(self.peak(pod.name), memory(pod.pid))
            seconds = _processor_seconds(pod.pid)
            self._seconds[pod.name] = max(self._seconds.get(pod.name, 0.0), seconds)


def _processor_seconds(pid: int | None) -> float:
    """Return the processor time of a process, of its children, and of its children that have ended."""
    total = 0.0
    for each in tree(pid):
        try:
            times = psutil.Process(each).cpu_times()
        except psutil.NoSuchProcess:
            continue  # the process has ended
        total += times.user + times.system
        if each == pid:
            total += times.children_user + times.children_system
    return total
