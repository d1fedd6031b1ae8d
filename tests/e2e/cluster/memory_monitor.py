"""The peak memory of all processes of a stack."""

from svgx_devstack import DevStack
from tests.sampling import MIB, Sampler, memory


class MemoryMonitor(Sampler):
    """A thread that measures the memory of all processes, and keeps the highest sum in `peak`, in bytes."""

    def __init__(self, stack: DevStack) -> None:
        super().__init__()
        self.peak = 0
        self._stack = stack
        self._at_peak: dict[str, int] = {}

    def report(self) -> str:
        """Return the peak and the memory of each process at that time, in MiB, as text."""
        parts = sorted(self._at_peak.items(), key=lambda part: -part[1])
        listed = ", ".join(f"{name} {size / MIB:.0f}" for name, size in parts)
        return f"{self.peak / MIB:.0f} MiB ({listed})"

    def measure(self) -> None:
        """Measure all processes."""
        now = {process.name: memory(process.pid) for process in self._stack.processes}
        if sum(now.values()) > self.peak:
            self.peak = sum(now.values())
            self._at_peak = now
