"""A process that has grown collects its garbage, and returns freed buffers to the system."""

import ctypes
import gc
import json
import os
import subprocess
import sys
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest

from svgx_common.configuration.process_environment import PROCESS_ENVIRONMENT
from svgx_common.observability import memory_watch
from svgx_common.observability.memory_watch import (
    GROWTH_BYTES,
    LARGE_GROWTH_BYTES,
    QUIET_SECONDS,
    MemoryWatch,
    resident_bytes,
)


class Cycle:
    """An object that refers to itself."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture
def no_collections() -> Iterator[None]:
    """Switch Python's own collections off, as in a process that makes few objects."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_collections")
@pytest.mark.parametrize(
    ("cpu_seconds", "growth", "collects"),
    [
        (0.0, 0, False),
        (0.0, GROWTH_BYTES, False),
        (0.0, GROWTH_BYTES + 1, True),
        (QUIET_SECONDS, GROWTH_BYTES + 1, False),
        (QUIET_SECONDS, LARGE_GROWTH_BYTES, False),
        (QUIET_SECONDS, LARGE_GROWTH_BYTES + 1, True),
    ],
)
def test_garbage_is_collected_after_growth_and_a_busy_process_needs_more_growth(
    cpu_seconds: float, growth: int, collects: bool
) -> None:
    """A collection pauses the process, so a busy process collects only after a larger growth. Proves R-FAIL-27."""
    memory = iter([100, 50, 50 + growth, 60])
    cpu = iter([1.0, 1.0, 1.0 + cpu_seconds])
    watch = MemoryWatch(lambda: next(memory), lambda: next(cpu))
    cycle = weakref.ref(Cycle())
    assert not watch.check()
    assert watch.check() is collects
    assert (cycle() is None) is collects


def test_python_begins_no_collection_of_all_objects() -> None:
    """Python itself collects only the two younger generations. `MemoryWatch` decides when to collect all objects.

    Proves R-FAIL-27.
    """
    script = (
        "import gc\n"
        "from svgx_common.runtime import freeze_startup_objects\n"
        "freeze_startup_objects()\n"
        "before = [each['collections'] for each in gc.get_stats()]\n"
        "kept = [[] for _ in range(1_000_000)]\n"
        "print([each['collections'] - old for each, old in zip(gc.get_stats(), before)])\n"
    )
    output = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)
    young, middle, full = json.loads(output.stdout)
    assert young > middle > 10
    assert full == 0


def test_growth_counts_from_the_last_collection() -> None:
    """Memory that stays in use causes only one collection. Proves R-FAIL-27."""
    used = 0
    watch = MemoryWatch(lambda: used, lambda: 0.0)
    used = 2 * GROWTH_BYTES
    assert watch.check()
    assert not watch.check()
    used = 4 * GROWTH_BYTES
    assert watch.check()


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="needs glibc")
def test_freed_buffers_below_a_small_object_are_returned() -> None:
    """glibc keeps freed memory for later buffers. `return_memory` returns it to the system. Proves R-FAIL-27.

    The freed memory lies at lower addresses than an object that is still in use.
    """
    script = (
        "from svgx_common.observability.memory_watch import resident_bytes, return_memory\n"
        "before = resident_bytes()\n"
        "buffers = [b'x' * 1_000_000 for _ in range(50)]\n"
        "last = b'x' * 2000\n"
        "del buffers\n"
        "freed = resident_bytes()\n"
        "return_memory()\n"
        "print([freed - before, resident_bytes() - before])\n"
    )
    environment = {**os.environ, **PROCESS_ENVIRONMENT}
    output = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, env=environment
    )
    kept, after = json.loads(output.stdout)
    assert kept > 45_000_000
    assert after < 5_000_000


def test_memory_of_the_process_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """The memory of a test run is more than 10 MiB. On a system without /proc, the result is 0."""
    assert resident_bytes() > 10 * 1024 * 1024
    monkeypatch.setattr(memory_watch, "_STATM_FILE", Path("/nonexistent"))
    assert resident_bytes() == 0
