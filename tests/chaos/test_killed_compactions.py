"""SIGKILL of state and of PostgreSQL at random points of compactions and of drops of the journal's old days.

`make chaos` does 20 rounds, of some seconds each. `make test` skips them.
"""

import os
import random

import pytest

from svgx_devstack import DevStack
from tests.chaos.killable_state import killable_state

ROUNDS = int(os.environ.get("SVGX_CHAOS_ROUNDS", "0"))
SEED = int(os.environ.get("SVGX_CHAOS_SEED", random.SystemRandom().randrange(2**32)))


@pytest.mark.skipif(not ROUNDS, reason="takes minutes: make chaos")
async def test_killed_compactions_and_drops_are_completed_by_the_next_run(
    backing: DevStack,
) -> None:
    """After each kill every snapshot and every readable revision is right, and the next run completes the work.

    Proves R-STATE-6, R-STATE-7 and R-STATE-22.
    """
    print(f"SVGX_CHAOS_SEED={SEED}, {ROUNDS} rounds")
    victims = []
    async with killable_state(backing, SEED) as service:
        for _ in range(ROUNDS):
            await service.prepare()
            victims.append(await service.run_and_kill())
            await service.check()
            await service.run_to_the_end()
            await service.check()
    print(", ".join(victims))
