"""The largest memory of a process since its start or since `forget_peak`, as Linux counts it."""

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

import psutil


def peak(pid: int) -> int:
    """Return the largest resident memory of a process so far, in bytes, or 0 when it has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except OSError:
        return 0
    found = re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


def forget_peak() -> int:
    """Forget the largest memory of this process so far. Return the present memory, in bytes."""
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    return peak(os.getpid())


def descendants(pid: int, word: str = "") -> Iterator[int]:
    """Yield the ids of all descendants of a process, or of those with this word in their command."""
    with contextlib.suppress(psutil.NoSuchProcess):
        for each in psutil.Process(pid).children(recursive=True):
            if not word or word in each.cmdline():
                yield each.pid
