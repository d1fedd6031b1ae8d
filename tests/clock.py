"""The clock of the event loop, under the control of a test."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import pytest


@contextmanager
def stopped_clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[float]:
    """Stop the clock of the running event loop, and yield its time.

    No later timer is due before the end of the block, however long the process stalls.
    """
    loop = asyncio.get_running_loop()
    now = loop.time()
    with monkeypatch.context() as patch:
        patch.setattr(loop, "time", lambda: now)
        yield now
