"""Clocks under the control of a test."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, tzinfo
from typing import Self

import pytest


class Clock:
    """A clock in seconds. It stands still until a test changes `now`."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


def datetime_with_offset(offset: timedelta) -> type[datetime]:
    """Return a class in place of `datetime`, for a machine with a clock that is ahead by `offset`."""

    class OffsetDatetime(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Self:
            return super().now(tz) + offset

    return OffsetDatetime


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
