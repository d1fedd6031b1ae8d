"""The replicas that a gateway remembers."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest
from nats.aio.msg import Msg

from svgx_common.contract.errors import DeadlineExceeded
from svgx_common.contract.transport import ReplicaLeft
from svgx_common.messaging.bus import Bus, NoResponders
from svgx_gateway import replica_watch
from svgx_gateway.replica_watch import ReplicaWatch


class FakeMessage:
    """An answer to a ping."""

    def __init__(self, replica: str, name: str = "svgx-state") -> None:
        self.data = json.dumps({"name": name, "id": replica}).encode()


class FakeBus:
    """A bus with replicas of state: `answering` answer pings, and `connected` have a connection.

    While `is_late` is true, the gateway has not read the answers before it waits for NATS (`settle`).
    """

    def __init__(self) -> None:
        self.connection = self
        self.reachable = True
        self.settles = True
        self.is_late = False
        self.answering: set[str] = set()
        self.connected: set[str] = set()
        self.requested: list[str] = []
        self._on_answer: Callable[[Msg], Awaitable[None]] | None = None
        self._on_left: Callable[[str, bytes], Awaitable[None]] | None = None

    def new_inbox(self) -> str:
        return "inbox"

    async def subscribe(self, _: str, cb: Callable[[Msg], Awaitable[None]]) -> None:
        self._on_answer = cb

    async def listen(self, _: str, listener: Callable[[str, bytes], Awaitable[None]]) -> None:
        self._on_left = listener

    async def publish(self, *_: object, **__: object) -> None:
        if not self.is_late:
            await self._answer()

    async def settle(self) -> None:
        if not self.settles:
            raise DeadlineExceeded
        if self.is_late:
            await self._answer()

    async def _answer(self) -> None:
        assert self._on_answer is not None
        for replica in self.answering:
            await self._on_answer(cast(Msg, FakeMessage(replica)))

    async def request(self, subject: str, *_: object, **__: Any) -> None:
        self.requested.append(subject)
        if subject.rpartition(".")[2] not in self.connected:
            raise NoResponders
        raise DeadlineExceeded

    async def leave(self, replica: str) -> None:
        """End a replica that announces its end."""
        self.stop(replica)
        assert self._on_left is not None
        left = ReplicaLeft(service="state", replica=replica)
        await self._on_left("svgx.replicas.left", left.model_dump_json().encode())

    def start(self, replica: str) -> None:
        """Start a replica."""
        self.answering.add(replica)
        self.connected.add(replica)

    def stop(self, replica: str) -> None:
        """End a replica without an announcement."""
        self.answering.discard(replica)
        self.connected.discard(replica)


@pytest.fixture
def bus(monkeypatch: pytest.MonkeyPatch) -> FakeBus:
    monkeypatch.setattr(replica_watch, "ANSWER_SECONDS", 0.0)
    monkeypatch.setattr(replica_watch, "PERIOD_SECONDS", 3600.0)
    return FakeBus()


async def watch_of(bus: FakeBus) -> ReplicaWatch:
    """Return a watch that has seen the replicas `a` and `b`."""
    bus.start("a")
    bus.start("b")
    watch = ReplicaWatch(cast(Bus, bus))
    await watch.start()
    await watch.ping_all()
    assert states(watch) == {"a": False, "b": False}
    return watch


def states(watch: ReplicaWatch) -> dict[str, bool]:
    """Return for each remembered replica whether it is silent."""
    return {replica.id: replica.silent for replica in watch.replicas}


async def test_frozen_replica_is_silent_until_it_answers(bus: FakeBus) -> None:
    """A new replica does not take the place of a frozen one, which still gets requests. Proves R-OBS-3."""
    watch = await watch_of(bus)
    bus.answering.discard("a")
    bus.start("c")
    await watch.ping_all()
    await watch.ping_all()
    assert states(watch) == {"a": True, "b": False, "c": False}
    bus.answering.add("a")
    await watch.ping_all()
    assert states(watch) == {"a": False, "b": False, "c": False}
    await watch.stop()


async def test_killed_replica_is_silent_until_a_new_one_replaces_it(bus: FakeBus) -> None:
    """Each new replica takes the place of one killed replica. Proves R-OBS-3."""
    watch = await watch_of(bus)
    bus.stop("a")
    bus.stop("b")
    await watch.ping_all()
    assert states(watch) == {"a": True, "b": True}
    bus.start("c")
    await watch.ping_all()
    await watch.ping_all()
    assert sorted(states(watch).values()) == [False, True]
    bus.start("d")
    await watch.ping_all()
    assert states(watch) == {"c": False, "d": False}
    await watch.stop()


async def test_stopped_replica_is_forgotten_at_once(bus: FakeBus) -> None:
    """A replica announces its end after its drain. It may answer a ping until its process ends. Proves R-OBS-3."""
    watch = await watch_of(bus)
    await bus.leave("a")
    await watch.ping_all()
    assert states(watch) == {"b": False}
    bus.start("a")
    await watch.ping_all()
    bus.stop("a")
    await watch.ping_all()
    assert states(watch) == {"b": False}
    await watch.stop()


async def test_busy_gateway_takes_no_replica_for_silent(bus: FakeBus) -> None:
    """A gateway that notices the end of the time limit late first reads the answers that wait. Proves R-OBS-3."""
    watch = await watch_of(bus)
    bus.is_late = True
    await watch.ping_all()
    assert states(watch) == {"a": False, "b": False}
    bus.answering.discard("a")
    await watch.ping_all()
    assert states(watch) == {"a": True, "b": False}
    await watch.stop()


@pytest.mark.parametrize("is_noticed", [True, False])
async def test_silence_of_nats_makes_no_replica_silent(bus: FakeBus, *, is_noticed: bool) -> None:
    """While NATS is not reachable, no replica can answer, so none counts as silent. Proves R-OBS-3."""
    watch = await watch_of(bus)
    bus.answering.clear()
    bus.reachable = not is_noticed
    bus.settles = False
    await watch.ping_all()
    assert states(watch) == {"a": False, "b": False}
    await watch.stop()


async def test_silent_replica_is_forgotten_after_its_time_limit(
    bus: FakeBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A deployment that was scaled down does not stay degraded for ever. Proves R-OBS-3."""
    watch = await watch_of(bus)
    bus.stop("a")
    monkeypatch.setattr(replica_watch, "FORGET_SECONDS", 0.05)
    async with asyncio.timeout(5):
        while "a" in states(watch):
            await watch.ping_all()
    await watch.stop()


@pytest.mark.parametrize(
    ("name", "replica"),
    [
        ("svgx-state", "b.drain"),
        ("svgx-state", "*"),
        ("svgx-state", ""),
        ("svgx-other", "c"),
        ("svgx-collab.b", "drain"),
    ],
)
async def test_answer_with_an_unsafe_name_is_ignored(bus: FakeBus, name: str, replica: str) -> None:
    """A compromised service cannot choose the subject to which the gateway publishes, such as that of a drain order.

    Proves R-BUS-11.
    """
    watch = await watch_of(bus)
    await watch._note_answer(cast(Msg, FakeMessage(replica, name)))
    await watch.ping_all()
    await watch.ping_all()
    assert states(watch) == {"a": False, "b": False}
    assert bus.requested == []
    await watch.stop()


@pytest.mark.parametrize("content", [b"", b"no JSON", b"[]", b'{"name": "svgx-state"}'])
async def test_answer_that_cannot_be_read_is_ignored(bus: FakeBus, content: bytes) -> None:
    """A malformed answer adds no replica. Proves R-OBS-3."""
    watch = await watch_of(bus)
    message = FakeMessage("c")
    message.data = content
    await watch._note_answer(cast(Msg, message))
    assert states(watch) == {"a": False, "b": False}
    await watch.stop()
