"""Processor time and memory of processes with all their descendants, from Linux's /proc."""

import contextlib
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_PROC = Path("/proc")


def cpu_seconds(roots: Iterable[int]) -> float:
    """Return the processor time of the processes and their descendants, also of those that have ended, in seconds."""
    return sum(_ticks(fields) for _, fields in _trees(roots)) / _TICKS


def cpu_by_process(roots: Iterable[int]) -> dict[int, float]:
    """Return the processor time of each root with its descendants, in seconds."""
    return {root: cpu_seconds([root]) for root in roots}


def memory_bytes(roots: Iterable[int]) -> int:
    """Return the memory of the processes and their descendants. Shared pages are divided among their users (PSS)."""
    total = 0
    for pid, _ in _trees(roots):
        with contextlib.suppress(OSError):
            text = (_PROC / str(pid) / "smaps_rollup").read_text()
            total += sum(
                int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("Pss:")
            )
    return total


def _trees(roots: Iterable[int]) -> Iterator[tuple[int, list[str]]]:
    """Yield each process of the trees, with the fields of its `stat` file from the state on."""
    processes: dict[int, list[str]] = {}
    children: defaultdict[int, list[int]] = defaultdict(list)
    for folder in _PROC.iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                # The name may contain spaces and parentheses; the other fields do not.
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
                processes[int(folder.name)] = fields
                children[int(fields[1])].append(int(folder.name))
    waiting = list(roots)
    while waiting:
        pid = waiting.pop()
        if pid in processes:
            yield pid, processes[pid]
            waiting += children[pid]


def _ticks(fields: list[str]) -> int:
    """Return the user and system time of a process and of its ended children."""
    return sum(int(field) for field in fields[11:15])
