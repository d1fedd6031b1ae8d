"""An admin drains one replica of a service."""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from nats.aio.msg import Msg

from svgx_common import redis
from svgx_common.contract.administration.replicas import DrainReplicaRequest
from svgx_common.contract.errors import Conflict, Forbidden, NotFound, Unavailable
from svgx_common.contract.operation import Empty
from svgx_common.contract.policy import Role
from svgx_common.contract.transport import DRAIN_ORDER, replica_subject
from svgx_common.health import Health, HealthReport
from svgx_common.messaging.bus import Bus
from svgx_common.messaging.caller import Caller
from svgx_common.messaging.responder import Call, Responder
from svgx_devstack import DevStack
from svgx_gateway import replica_drain, replica_watch
from svgx_gateway.replica_drain import ReplicaDrain
from svgx_gateway.replica_watch import ReplicaWatch

ADMIN = Caller("admin", "admin", Role.ADMIN, "session")


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait longer for the answers to pings, because the machine may be busy."""
    monkeypatch.setattr(replica_watch, "ANSWER_SECONDS", 2.0)


class Replica:
    """A replica of collab that answers pings, and records the order to drain."""

    def __init__(self, bus: Bus) -> None:
        self.id = bus.replica_id
        self.bus = bus
        self.ordered = asyncio.Event()
        self.status = "ok"
        self.on_report: Callable[[], Awaitable[object]] | None = None
        """Called before each report."""
        self.answers_pings = True

    async def start(self) -> None:
        """Start to answer the pings of gateways, and the order to drain."""
        if self.answers_pings:
            await Responder(self.bus, "0").announce()
        subject = DRAIN_ORDER.subject_of(service="collab", replica_id=self.id)
        await self.bus.connection.subscribe(subject, cb=self._note)
        await self.bus.connection.subscribe(replica_subject("collab", self.id), cb=self._report)
        await self.bus.settle()

    async def _note(self, message: Msg) -> None:
        self.ordered.set()
        await self.bus.respond(message.reply, b"{}")

    async def _report(self, message: Msg) -> None:
        if self.on_report is not None:
            await self.on_report()
        status = "draining" if self.ordered.is_set() else self.status
        report = HealthReport(
            status=status, service="collab", replica=self.id, version="0", uptime_seconds=1.0
        )
        await self.bus.respond(message.reply, report.model_dump_json().encode())


@pytest.fixture
async def replicas(backing: DevStack) -> AsyncIterator[list[Replica]]:
    """Yield two replicas of collab."""
    found = []
    for _ in range(2):
        bus = await Bus.connect(backing.nats_url("collab"), "collab", secrets.token_hex(6))
        found.append(Replica(bus))
        await found[-1].start()
    yield found
    for each in found:
        await each.bus.close()


@contextlib.asynccontextmanager
async def gateway(backing: DevStack, redis_url: str) -> AsyncIterator[ReplicaDrain]:
    """Yield the handler of a gateway."""
    bus = await Bus.connect(backing.nats_url("gateway"), "gateway", secrets.token_hex(6))
    watch = ReplicaWatch(bus)
    await watch.start()
    await bus.settle()
    client = redis.connect(redis_url)
    yield ReplicaDrain(bus, watch, client)
    await client.aclose()
    await watch.stop()
    await bus.close()


@pytest.fixture
async def drain(backing: DevStack) -> AsyncIterator[ReplicaDrain]:
    """Yield the handler of a gateway."""
    async with gateway(backing, backing.redis_url) as handler:
        yield handler


def order(replica_id: str) -> DrainReplicaRequest:
    return DrainReplicaRequest(service="collab", replica_id=replica_id)


async def test_only_the_named_replica_gets_the_order(
    drain: ReplicaDrain, replicas: list[Replica]
) -> None:
    """Proves R-FAIL-23: the other replica continues. It is now the only one that serves, so its drain is refused."""
    named, other = replicas
    await drain.drain(order(named.id), Call(ADMIN, 0.0))
    assert (named.ordered.is_set(), other.ordered.is_set()) == (True, False)
    # The drained replica answers until it ends, but no longer counts as serving.
    with pytest.raises(Conflict) as error:
        await drain.drain(order(other.id), Call(ADMIN, 0.0))
    assert error.value.field == "replica_id"
    assert not other.ordered.is_set()


async def test_simultaneous_orders_of_two_gateways_leave_one_replica(
    backing: DevStack, drain: ReplicaDrain, replicas: list[Replica]
) -> None:
    """Proves R-FAIL-23: the second gateway sees that the replica of the first one drains."""
    async with gateway(backing, backing.redis_url) as other:
        outcomes = await asyncio.gather(
            drain.drain(order(replicas[0].id), Call(ADMIN, 0.0)),
            other.drain(order(replicas[1].id), Call(ADMIN, 0.0)),
            return_exceptions=True,
        )
    assert [type(each) for each in outcomes if isinstance(each, Exception)] == [Conflict]
    assert sorted(each.ordered.is_set() for each in replicas) == [False, True]


async def test_order_while_another_gateway_has_the_lock_is_refused(
    backing: DevStack,
    drain: ReplicaDrain,
    replicas: list[Replica],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Proves R-FAIL-23. The lock of a gateway that has ended expires."""
    monkeypatch.setattr(replica_drain, "LOCK_WAIT_SECONDS", 0.0)
    client = redis.connect(backing.redis_url)
    lock = client.lock("svgx:drain", timeout=60)
    await lock.acquire()
    with pytest.raises(Unavailable):
        await drain.drain(order(replicas[0].id), Call(ADMIN, 0.0))
    assert not replicas[0].ordered.is_set()
    await client.pexpire("svgx:drain", 200)
    monkeypatch.setattr(replica_drain, "LOCK_WAIT_SECONDS", 10.0)
    await drain.drain(order(replicas[0].id), Call(ADMIN, 0.0))
    assert await client.get("svgx:drain") is None
    await client.aclose()


async def test_simultaneous_orders_of_a_gateway_without_redis_leave_one_replica(
    backing: DevStack, replicas: list[Replica]
) -> None:
    """Proves R-FAIL-23: a gateway without Redis drains a replica, and executes its own orders one after the other."""
    async with gateway(backing, "redis://127.0.0.1:1/0") as handler:
        outcomes = await asyncio.gather(
            *(handler.drain(order(each.id), Call(ADMIN, 0.0)) for each in replicas),
            return_exceptions=True,
        )
    assert [type(each) for each in outcomes] == [Empty, Conflict]
    assert [each.ordered.is_set() for each in replicas] == [True, False]


async def test_order_that_loses_its_lock_is_executed(
    backing: DevStack, drain: ReplicaDrain, replicas: list[Replica]
) -> None:
    """Proves R-FAIL-23: a lock that is gone at its release, as after a failure of Redis, does not fail the order."""
    client = redis.connect(backing.redis_url)
    replicas[1].on_report = lambda: client.delete("svgx:drain")
    await drain.drain(order(replicas[0].id), Call(ADMIN, 0.0))
    assert replicas[0].ordered.is_set()
    await client.aclose()


async def test_replica_that_answers_no_ping_in_time_is_drained(
    backing: DevStack, drain: ReplicaDrain, replicas: list[Replica]
) -> None:
    """Proves R-FAIL-23: a busy replica answers a ping late, but reports its health and takes the order."""
    bus = await Bus.connect(backing.nats_url("collab"), "collab", secrets.token_hex(6))
    busy = Replica(bus)
    busy.answers_pings = False
    await busy.start()
    await drain.drain(order(busy.id), Call(ADMIN, 0.0))
    assert busy.ordered.is_set()
    await bus.close()


async def test_replicas_with_a_hanging_dependency_are_drained(
    drain: ReplicaDrain, replicas: list[Replica]
) -> None:
    """Proves R-FAIL-23: a report waits for the check of a frozen Redis, and the drain waits for the report."""

    async def hang() -> None:
        await asyncio.Event().wait()

    for each in replicas:
        health = Health("collab", each.id, "0")
        health.watch("redis", hang)
        each.on_report = health.report
    await drain.drain(order(replicas[0].id), Call(ADMIN, 0.0))
    assert replicas[0].ordered.is_set()


@pytest.mark.parametrize("status", ["starting", "draining"])
async def test_last_serving_replica_is_not_drained(
    drain: ReplicaDrain, replicas: list[Replica], status: str
) -> None:
    """Proves R-FAIL-23: a replica that starts or drains cannot serve in place of the named replica."""
    named, other = replicas
    other.status = status
    with pytest.raises(Conflict) as error:
        await drain.drain(order(named.id), Call(ADMIN, 0.0))
    assert (error.value.field, named.ordered.is_set()) == ("replica_id", False)


async def test_unknown_replica_is_not_found(drain: ReplicaDrain, replicas: list[Replica]) -> None:
    """Proves R-FAIL-23: an invented id and the id of another service's replica are not found."""
    for request in (
        order("unknown"),
        DrainReplicaRequest(service="state", replica_id=replicas[0].id),
    ):
        with pytest.raises(NotFound):
            await drain.drain(request, Call(ADMIN, 0.0))


async def test_api_key_drains_no_replica(drain: ReplicaDrain, replicas: list[Replica]) -> None:
    """Proves R-FAIL-23: a stolen API key must not stop replicas one after the other."""
    by_key = Caller("admin", "admin", Role.ADMIN, "key", by_key=True)
    with pytest.raises(Forbidden):
        await drain.drain(order(replicas[0].id), Call(by_key, 0.0))
    assert not replicas[0].ordered.is_set()
