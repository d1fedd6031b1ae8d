"""The pauses between the runs of the retention."""

import asyncio
from datetime import datetime
from typing import cast

import pytest

from svgx_common.postgres import Database
from svgx_state.journal.retention import FIRST_RETRY, LAST_RETRY, PERIOD, Retention
from svgx_state.snapshots import Compactor


class PlannedRetention(Retention):
    """A retention with runs that succeed or fail as planned."""

    outcomes: list[bool]

    async def drop_counted(self, now: datetime) -> bool:
        return self.outcomes.pop(0)


async def test_pause_after_a_failure_doubles_until_a_run_succeeds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first retry comes after `FIRST_RETRY`, and no retry later than `LAST_RETRY`."""
    pauses: list[float] = []

    async def note(seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", note)
    retention = PlannedRetention(cast(Database, None), cast(Compactor, None), days=1)
    retention.outcomes = [*[False] * 10, True, False]
    for _ in range(12):
        await retention.drop_later()
    assert pauses[:3] == [FIRST_RETRY, 2 * FIRST_RETRY, 4 * FIRST_RETRY]
    assert pauses[9:] == [LAST_RETRY, PERIOD, FIRST_RETRY]
