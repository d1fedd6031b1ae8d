"""The health summary of all replicas."""

from typing import cast

import pytest

from svgx_common.contract.operation import SERVICES
from svgx_common.health import Health
from svgx_common.messaging.bus import Bus
from svgx_gateway.http.guard import Guard
from svgx_gateway.http.health_summary import HealthSummary
from svgx_gateway.replica_watch import Replica, ReplicaWatch
from tests.unit.gateway.fake_replicas import FakeBus, FakeWatch


@pytest.mark.parametrize(
    ("collab", "missing"),
    [
        (["ordinary"], []),
        (["ordinary", "reserved"], []),
        (["reserved"], ["collab"]),
        ([], ["collab"]),
    ],
)
async def test_service_without_a_replica_that_answers_requests_is_missing(
    collab: list[str], missing: list[str]
) -> None:
    """A reserved replica of collab opens no canvas, so it does not count. Proves R-OBS-3 and R-BOUND-12."""
    others = [service for service in SERVICES if service != "collab"]
    bus = FakeBus(dict.fromkeys([*others, *collab], "ok"), reserved="reserved")
    replicas = [Replica(each, each, 0.0, 0.0) for each in others]
    replicas += [Replica("collab", each, 0.0, 0.0) for each in collab]
    summary = HealthSummary(
        cast(Bus, bus),
        cast(Guard, None),
        Health("gateway", "gateway", "0"),
        cast(ReplicaWatch, FakeWatch(replicas)),
    )
    found = await summary.collect()
    assert found["missing"] == missing
    assert found["status"] == ("degraded" if missing else "ok")
    assert len(found["services"]["collab"]) == len(collab)
