"""Kill state and PostgreSQL with SIGKILL at random points of compactions and of drops of old journal partitions.

`make chaos` runs 20 rounds of some seconds each. `make test` skips this test.
"""

import os
import random

import pytest

from svgx_devstack import DevStack
from tests.chaos.killable_state import killable_state

ROUNDS = int(os.environ.get("SVGX_CHAOS_ROUNDS", "0"))
SEED = int(os.environ.get("SVGX_CHAOS_SEED", random.SystemRandom().randrange(2**32)))


@pytest.mark.skipif(not ROUNDS, reason="`make chaos` sets SVGX_CHAOS_ROUNDS")
async def test_killed_compactions_and_partition_drops_are_completed_by_the_next_run(
    backing: DevStack,
) -> None:
    """After each kill, every snapshot and every readable revision is right. The next run completes the work.

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
