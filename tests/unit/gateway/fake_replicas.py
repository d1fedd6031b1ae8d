"""Fakes of the replicas that a gateway sees, for tests without servers."""

import asyncio
from dataclasses import dataclass, field

from svgx_common.contract.errors import DeadlineExceeded
from svgx_common.health import HealthReport
from svgx_common.messaging.bus import Answer
from svgx_gateway.replica_watch import Replica


@dataclass
class FakeWatch:
    """Stands in for `ReplicaWatch`, and has seen these replicas."""

    replicas: list[Replica] = field(default_factory=list)

    async def ping_all(self) -> None:
        await asyncio.sleep(0)


@dataclass
class FakeBus:
    """A bus with replicas. `statuses` has the status that each reports, or None for a replica that does not answer."""

    statuses: dict[str, str | None]
    reserved: str = ""
    """The id of the reserved replica."""
    reachable = True

    async def request(self, subject: str, _: bytes, *, timeout: float) -> Answer:
        """Return the health report of the replica in `subject`. A drain request sets its status to draining."""
        assert timeout > 0
        await asyncio.sleep(0)
        replica = subject.split(".")[3]
        if subject.endswith(".drain"):
            self.statuses[replica] = "draining"
            return Answer(b"{}", {})
        status = self.statuses[replica]
        if status is None:
            raise DeadlineExceeded
        report = HealthReport(
            status=status,
            service=subject.split(".")[2],
            replica=replica,
            version="0",
            uptime_seconds=1.0,
            details={"balance": {"load": 0.0, "reserved": replica == self.reserved}},
        )
        return Answer(report.model_dump_json().encode(), {})
