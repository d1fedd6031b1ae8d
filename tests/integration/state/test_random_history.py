"""Random edits, versions, restores, compactions, drops of old journal days and restarts against a plain replay."""

import random

import pytest

from svgx_workers.pool import Workers
from tests.integration.state.fresh_tables import FreshTables
from tests.integration.state.random_canvases import run
from tests.integration.state.random_history import HISTORY_STEPS, RandomHistory

SEEDS = [1, random.SystemRandom().randrange(2**32)]
"""A seed that is always run, and a new one each time."""


@pytest.mark.parametrize("seed", SEEDS, ids=["seed 1", "new seed"])
async def test_random_versions_and_restores_have_the_content_of_a_plain_replay(
    fresh: FreshTables, workers: Workers, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After any order of steps, a version with a name still has the content that the canvas had at its revision.

    The restore of a version gives the canvas the elements of the version.

    Proves R-HIST-8.
    """
    print(f"seed: {seed}")
    monkeypatch.setattr("svgx_state.snapshots.SLICE_ENTRIES", 25)
    world = RandomHistory(fresh, workers, seed)
    await run(world, steps=150, canvases=2, kinds=HISTORY_STEPS)
    for canvas in world.canvases:
        await world.check_versions(canvas)
