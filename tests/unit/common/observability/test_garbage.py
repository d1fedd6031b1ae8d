"""Garbage that refers to itself is collected when the memory of a quiet process has grown."""

import gc
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest

from svgx_common.observability import garbage
from svgx_common.observability.garbage import GROWTH_BYTES, GarbageWatch, resident_bytes


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
@pytest.mark.parametrize("growth", [0, GROWTH_BYTES, GROWTH_BYTES + 1])
def test_garbage_is_collected_only_after_growth(growth: int) -> None:
    """Without growth, the process has nothing to gain from a collection. Proves R-FAIL-27."""
    memory = iter([100, 50, 50 + growth, 60])
    watch = GarbageWatch(lambda: next(memory))
    cycle = weakref.ref(Cycle())
    assert not watch.look()
    assert watch.look() is (growth > GROWTH_BYTES)
    assert (cycle() is None) is (growth > GROWTH_BYTES)


def test_growth_counts_from_the_last_collection() -> None:
    """Memory that is in use does not cause a collection again and again. Proves R-FAIL-27."""
    used = 0
    watch = GarbageWatch(lambda: used)
    used = 2 * GROWTH_BYTES
    assert watch.look()
    assert not watch.look()
    used = 4 * GROWTH_BYTES
    assert watch.look()


def test_memory_of_the_process_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """The memory of a test run is more than 10 MiB. A system without /proc has none."""
    assert resident_bytes() > 10 * 1024 * 1024
    monkeypatch.setattr(garbage, "_STATM", Path("/nonexistent"))
    assert resident_bytes() == 0
