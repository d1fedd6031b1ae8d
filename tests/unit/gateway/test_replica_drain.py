"""The drain of a replica by an admin's order."""

import asyncio
from typing import cast

import pytest

from svgx_common import redis
from svgx_common.contract.administration.replicas import DrainReplicaRequest
from svgx_common.contract.errors import Conflict
from svgx_common.contract.policy import Role
from svgx_common.messaging.bus import Bus
from svgx_common.messaging.caller import Caller
from svgx_common.messaging.responder import Call
from svgx_gateway.replica_drain import ReplicaDrain
from svgx_gateway.replica_watch import Replica, ReplicaWatch
from tests.unit.gateway.fake_replicas import FakeBus, FakeWatch

NO_REDIS = "redis://127.0.0.1:1/0"
"""An address without Redis. So the handler does not wait for the orders of other gateways, but only for its own."""

CALL = Call(Caller("admin", "admin", Role.ADMIN, "session"), 0.0)


def drain_of(bus: FakeBus, silent: str = "") -> ReplicaDrain:
    """Return the handler of a gateway that sees the replicas of the bus. `silent` answered no ping in time."""
    watch = FakeWatch(
        [Replica("collab", each, 0.0, 0.0, silent=each == silent) for each in bus.statuses]
    )
    return ReplicaDrain(cast(Bus, bus), cast(ReplicaWatch, watch), redis.connect(NO_REDIS))


def order(replica_id: str) -> DrainReplicaRequest:
    return DrainReplicaRequest(service="collab", replica_id=replica_id)


@pytest.mark.parametrize("status", ["draining", "starting", None])
async def test_replica_is_not_drained_while_no_other_one_serves(status: str | None) -> None:
    """A replica that drains, starts or does not answer does not count as serving.

    A draining replica still answers pings, but soon ends. Proves R-FAIL-23.
    """
    bus = FakeBus({"a": "ok", "b": status})
    with pytest.raises(Conflict) as error:
        await drain_of(bus).drain(order("a"), CALL)
    assert error.value.field == "replica_id"
    assert bus.statuses == {"a": "ok", "b": status}


async def test_replica_is_drained_while_another_one_serves() -> None:
    """A replica with a failing dependency counts as serving.

    Otherwise no replica could be drained while a dependency of all replicas fails. Proves R-FAIL-23.
    """
    bus = FakeBus({"a": "ok", "b": "draining", "c": "failing"})
    await drain_of(bus).drain(order("a"), CALL)
    assert bus.statuses == {"a": "draining", "b": "draining", "c": "failing"}


async def test_replica_is_drained_while_the_only_other_one_is_busy() -> None:
    """Proves R-FAIL-23: a replica that answered the last ping late counts, because it reports that it serves."""
    bus = FakeBus({"a": "ok", "b": "ok"})
    drain = drain_of(bus, silent="b")
    await drain.drain(order("a"), CALL)
    assert bus.statuses == {"a": "draining", "b": "ok"}


async def test_reserved_replica_does_not_count_as_serving() -> None:
    """A reserved replica opens no canvas by itself, so the last replica that is not reserved is not drained.

    Proves R-FAIL-23 and R-BOUND-12.
    """
    bus = FakeBus({"a": "ok", "b": "ok"}, reserved="b")
    with pytest.raises(Conflict):
        await drain_of(bus).drain(order("a"), CALL)
    await drain_of(bus).drain(order("b"), CALL)
    assert bus.statuses == {"a": "ok", "b": "draining"}


async def test_simultaneous_orders_leave_one_replica() -> None:
    """Proves R-FAIL-23: orders at the same time, as a script may send them, do not drain all replicas."""
    bus = FakeBus({"a": "ok", "b": "ok", "c": "ok"})
    drain = drain_of(bus)
    orders = (drain.drain(order(each), CALL) for each in bus.statuses)
    outcomes = await asyncio.gather(*orders, return_exceptions=True)
    assert [isinstance(each, Conflict) for each in outcomes] == [False, False, True]
    assert sorted(bus.statuses.values(), key=str) == ["draining", "draining", "ok"]
