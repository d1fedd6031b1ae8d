"""Leases in Valkey: the owner of a lease, and the replicas that may change it."""

import pytest

from svgx_collab.leases import Leases
from svgx_common.redis import Redis


async def is_alive(_: str) -> bool:
    """Return that every replica still answers."""
    return True


@pytest.mark.parametrize("action", ["give", "release"])
async def test_lease_of_another_replica_is_neither_given_away_nor_released(
    redis_client: Redis, action: str
) -> None:
    """A former holder that leaves a canvas late does not change the next holder's lease.

    Without this lease, a third replica would open the canvas too. Proves R-FAIL-8 and R-FAIL-13.
    """
    canvas_id = f"lease-{action}"
    former, holder = [Leases(redis_client, each, is_alive) for each in ("former", "holder")]
    assert await holder.take(canvas_id)
    match action:
        case "give":
            await former.give(canvas_id, "third")
        case _:
            await former.release(canvas_id)
    assert await redis_client.get(f"svgx:lease:{canvas_id}") == "holder"
    await holder.give(canvas_id, "third")
    assert await redis_client.get(f"svgx:lease:{canvas_id}") == "third"
    await former.release(canvas_id, "third")
    assert await redis_client.get(f"svgx:lease:{canvas_id}") is None
