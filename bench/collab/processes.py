"""Processor time and memory of processes with all their descendants, from Linux's /proc."""

import contextlib
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_PROC = Path("/proc")


def cpu_seconds(roots: Mapping[str, int]) -> dict[str, float]:
    """Return the processor time of each process and its descendants in seconds. Ended descendants count too."""
    processes = _Processes()
    return {
        name: sum(_ticks(fields) for _, fields in processes.tree(root)) / _TICKS
        for name, root in roots.items()
    }


def memory_bytes(roots: Iterable[int]) -> int:
    """Return the memory of the processes and their descendants, in bytes.

    Each process that uses a shared page counts an equal part of the page (PSS).
    """
    processes = _Processes()
    total = 0
    for root in roots:
        for pid, _ in processes.tree(root):
            with contextlib.suppress(OSError):
                text = (_PROC / str(pid) / "smaps_rollup").read_text()
                total += sum(
                    int(line.split()[1]) * 1024
                    for line in text.splitlines()
                    if line.startswith("Pss:")
                )
    return total


class _Processes:
    """All processes of the machine at one moment."""

    def __init__(self) -> None:
        self._fields: dict[int, list[str]] = {}
        self._children: defaultdict[int, list[int]] = defaultdict(list)
        for folder in _PROC.iterdir():
            if folder.name.isdigit():
                with contextlib.suppress(OSError):
                    # The process name (field 2) may contain spaces and parentheses; the fields after it do not.
                    fields = (folder / "stat").read_text().rpartition(")")[2].split()
                    self._fields[int(folder.name)] = fields
                    self._children[int(fields[1])].append(int(folder.name))

    def tree(self, root: int) -> Iterator[tuple[int, list[str]]]:
        """Yield a process and its descendants, each with the fields of its `stat` file from field 3 (`state`) on."""
        waiting = [root]
        while waiting:
            pid = waiting.pop()
            if pid in self._fields:
                yield pid, self._fields[pid]
                waiting += self._children[pid]


def _ticks(fields: list[str]) -> int:
    """Return the user and system time of a process and of its ended children, in clock ticks."""
    return sum(int(field) for field in fields[11:15])
