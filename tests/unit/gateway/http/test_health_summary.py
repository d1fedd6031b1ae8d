"""The health summary of all replicas."""

from collections.abc import Mapping
from typing import cast

import pytest

from svgx_common.contract.operation import SERVICES
from svgx_common.health import Health
from svgx_common.messaging.bus import Bus
from svgx_gateway.http.guard import Guard
from svgx_gateway.http.health_summary import HealthSummary
from svgx_gateway.replica_watch import Replica, ReplicaWatch
from tests.unit.gateway.fake_replicas import FakeBus, FakeWatch


def summary_of(collab: Mapping[str, str | None]) -> HealthSummary:
    """Return the summary with these replicas of collab and one replica of each other service.

    `collab` has the status of each replica by its id, or None for a silent replica.
    """
    others = [service for service in SERVICES if service != "collab"]
    bus = FakeBus({**dict.fromkeys(others, "ok"), **collab}, reserved="reserved")
    replicas = [Replica(each, each, 0.0, 0.0) for each in others]
    replicas += [Replica("collab", each, 0.0, 0.0) for each in collab]
    return HealthSummary(
        cast(Bus, bus),
        cast(Guard, None),
        Health("gateway", "gateway", "0"),
        cast(ReplicaWatch, FakeWatch(replicas)),
    )


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
    """A reserved replica of collab opens no canvas by itself, so it does not count. Proves R-OBS-3 and R-BOUND-12."""
    found = await summary_of(dict.fromkeys(collab, "ok")).collect()
    assert found["missing"] == missing
    assert found["status"] == ("degraded" if missing else "ok")
    assert len(found["services"]["collab"]) == len(collab)


@pytest.mark.parametrize(
    ("collab", "missing"),
    [
        ({"silent": None}, ["collab"]),
        ({"silent": None, "reserved": "ok"}, ["collab"]),
        ({"reserved": None}, ["collab"]),
        ({"silent": None, "ordinary": "ok"}, []),
    ],
)
async def test_service_with_a_silent_replica_only_is_missing(
    collab: dict[str, str | None], missing: list[str]
) -> None:
    """A replica that does not answer is listed with a reason, and does not count as present. Proves R-OBS-3."""
    found = await summary_of(collab).collect()
    assert found["missing"] == missing
    assert found["status"] == "degraded"
    reasons = {each["replica"]: each["reason"] for each in found["services"]["collab"]}
    assert reasons.keys() == collab.keys()
    for replica, status in collab.items():
        assert bool(reasons[replica]) is (status is None)
