"""Random edits, compactions, drops of old days and restarts: every readable revision equals a plain replay."""

import random

import pytest

from svgx_workers.pool import Workers
from tests.integration.state.fresh_tables import FreshTables
from tests.integration.state.random_canvases import RandomCanvases, run
from tests.thorough import selected

SEEDS = {f"seed {seed}": seed for seed in selected([1, 2, 3])} | {
    "new seed": random.SystemRandom().randrange(2**32)
}
"""Seed 1, in `make fuzz` also the seeds 2 and 3, and a new seed each time."""


@pytest.mark.parametrize("seed", SEEDS.values(), ids=SEEDS)
async def test_random_work_leaves_every_revision_equal_to_a_plain_replay(
    fresh: FreshTables, workers: Workers, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After any order of edits, compactions, drops and restarts, each kept revision equals a plain replay.

    Proves R-STATE-3, R-STATE-6, R-STATE-7, R-STATE-22, R-STATE-25.
    """
    print(f"seed: {seed}")
    monkeypatch.setattr("svgx_state.snapshots.SLICE_ENTRIES", 25)
    world = RandomCanvases(fresh, workers, seed)
    await run(world, steps=500, canvases=3)
