"""Moves of busy canvases from one replica to a reserved one, with real servers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from prometheus_client import REGISTRY

from svgx_collab.balance import busy_canvases, moves
from svgx_collab.balance.busy_canvases import BusyCanvases
from svgx_collab.balance.loads import Loads
from svgx_collab.balance.moves import MovesIn, MovesOut
from svgx_collab.leases import LEASE_SECONDS, Leases
from svgx_common.contract.collab import TAKE_CANVAS, ReplicaLoad
from svgx_common.contract.errors import BadRequest, Unavailable
from svgx_common.contract.state import CanvasRequest
from svgx_common.messaging.bus import Bus
from svgx_common.messaging.wire import encode_payload
from svgx_devstack import DevStack
from tests.integration.collab.replica import Editor, Replica, replica
from tests.integration.state.service import Client, user
from tests.polling import pause

LEAST_SHARE = 1e-9
"""A share of the processor's time so small that each canvas with edits takes more."""


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let replicas wait long for the answer to a probe, because the machine may be busy."""
    monkeypatch.setattr(moves, "PROBE_TIMEOUT", 20.0)


def sample(name: str, **labels: str) -> float:
    """Return the value of a metric of collab."""
    return REGISTRY.get_sample_value(f"svgx_engine_collab_{name}", labels) or 0.0


def canvases_of(each: Replica, busy_share: float = 1.0) -> BusyCanvases:
    """Return the busy canvases of a replica."""
    return BusyCanvases(each.rooms.paces, busy_share, 1.0)


def loads_of(each: Replica) -> Loads:
    """Return the loads that a replica knows."""
    return Loads(each.bus, lambda: each.rooms.count, lambda: each.rooms.edits_taken)


def moves_from(each: Replica, busy_share: float = 1.0) -> MovesOut:
    """Return the moves from a replica."""
    return MovesOut(each.bus, each.rooms, loads_of(each), canvases_of(each, busy_share))


@asynccontextmanager
async def reserved(backing: DevStack, busy_share: float = 1.0) -> AsyncIterator[Replica]:
    """Run a reserved replica."""
    async with replica(backing, answers_open=False) as running:
        moves_in = MovesIn(running.bus, running.rooms, canvases_of(running, busy_share))
        await moves_in.start()
        await running.bus.settle()
        try:
            yield running
        finally:
            await moves_in.stop()


async def lease(each: Replica, canvas_id: str) -> str | None:
    """Return the owner of a canvas's lease."""
    owner = await each.redis.get(f"svgx:lease:{canvas_id}")
    return None if owner is None else str(owner)


async def test_moved_canvas_is_held_by_the_reserved_replica(
    backing: DevStack, editor: Editor
) -> None:
    """The reserved replica has the canvas and its lease, and no edit is lost. Proves R-BOUND-12."""
    async with replica(backing) as one, reserved(backing) as two:
        await editor.set("a", "1")
        before = sample("released_canvases_total", reason="busy")
        await moves_from(one).move(editor.canvas_id, two.bus.replica_id)
        assert (one.rooms.count, two.rooms.count) == (0, 1)
        assert await lease(one, editor.canvas_id) == two.bus.replica_id
        assert sample("released_canvases_total", reason="busy") == before + 1
        await editor.set("b", "2")
        assert (one.rooms.count, two.rooms.count) == (0, 1)
        assert await editor.held() == {"a": "1", "b": "2"}


async def test_edits_during_a_move_are_saved_once(backing: DevStack, editor: Editor) -> None:
    """Edits of a canvas that is being moved wait for its new holder. Proves R-BOUND-12."""
    async with replica(backing) as one, reserved(backing) as two:
        await editor.set("first", "1")
        edits = [asyncio.create_task(editor.set(f"{number}", "1")) for number in range(50)]
        await moves_from(one).move(editor.canvas_id, two.bus.replica_id)
        await asyncio.gather(*edits)
        assert two.rooms.count == 1
        expected = {f"{number}": "1" for number in range(50)} | {"first": "1"}
        assert await editor.held() == expected


async def test_canvas_that_is_not_held_is_not_moved(backing: DevStack, editor: Editor) -> None:
    """The reserved replica is not asked to take a canvas that its holder has left meanwhile. Proves R-BOUND-12."""
    async with replica(backing) as one, reserved(backing) as two:
        await moves_from(one).move(editor.canvas_id, two.bus.replica_id)
        assert two.rooms.count == 0


async def test_canvas_is_not_moved_to_a_reserved_replica_that_holds_another(
    backing: DevStack, bus: Bus, editor: Editor
) -> None:
    """The holder keeps its canvas. The reserved replica announced that it is free, and then opened another canvas.

    Proves R-BOUND-12.
    """
    other = Editor(bus, await Client(bus, user()).create())
    async with replica(backing) as one, reserved(backing) as two:
        await two.rooms.open(other.canvas_id)
        epoch = (await editor.set("a", "1")).epoch
        before = sample("failed_moves_total")
        await moves_from(one).move(editor.canvas_id, two.bus.replica_id)
        assert sample("failed_moves_total") == before + 1
        assert (await editor.set("b", "2")).epoch == epoch
        assert (one.rooms.count, two.rooms.count) == (1, 1)


async def test_reserved_replica_with_a_canvas_declines_another(
    backing: DevStack, bus: Bus, editor: Editor
) -> None:
    """The declined canvas has no lease any more, so any replica opens it at once. Proves R-BOUND-12."""
    other = Editor(bus, await Client(bus, user()).create())
    async with replica(backing) as one, reserved(backing) as two:
        await two.rooms.open(other.canvas_id)
        await editor.set("a", "1")
        await one.rooms.leave_to(two.bus.replica_id, editor.canvas_id)
        subject = TAKE_CANVAS.subject_of(replica_id=two.bus.replica_id)
        request = encode_payload(CanvasRequest(canvas_id=editor.canvas_id))
        with pytest.raises(Unavailable):
            await one.bus.request(subject, request, timeout=5.0)
        assert await lease(one, editor.canvas_id) is None
        await editor.set("b", "2")
        assert (one.rooms.count, two.rooms.count) == (1, 1)
        assert await editor.held() == {"a": "1", "b": "2"}


async def test_canvas_for_a_stopped_reserved_replica_is_opened_again(
    backing: DevStack, editor: Editor
) -> None:
    """The lease of a replica that does not answer is taken over before it ends. Proves R-BOUND-12 and R-FAIL-8."""
    async with replica(backing) as one:
        await editor.set("a", "1")
        await one.rooms.leave_to("stopped", editor.canvas_id)
        assert await lease(one, editor.canvas_id) == "stopped"
        async with asyncio.timeout(LEASE_SECONDS / 2):
            await editor.set("b", "2")
        assert one.rooms.count == 1
        assert await lease(one, editor.canvas_id) == one.bus.replica_id
        assert await editor.held() == {"a": "1", "b": "2"}


async def test_canvas_is_opened_at_once_after_its_given_lease_is_released(
    backing: DevStack, editor: Editor
) -> None:
    """A draining reserved replica takes no canvas. After `release_given_lease`, its lease delays no other replica.

    The draining replica is alive, so no other replica would take over its lease. Proves R-BOUND-12.
    """
    async with replica(backing) as one, replica(backing, answers_open=False) as two:
        await editor.set("a", "1")
        await one.rooms.leave_to(two.bus.replica_id, editor.canvas_id)
        await one.rooms.release_given_lease(editor.canvas_id, two.bus.replica_id)
        assert await lease(one, editor.canvas_id) is None
        await editor.set("b", "2")
        assert (one.rooms.count, two.rooms.count) == (1, 0)
        assert await editor.held() == {"a": "1", "b": "2"}


async def test_canvas_is_left_without_a_lease_if_its_move_is_cancelled(
    backing: DevStack, editor: Editor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A replica that stops during a move does not ask the new replica, so that any replica opens the canvas.

    Proves R-FAIL-10.
    """
    giving, may_give = asyncio.Event(), asyncio.Event()
    give = Leases.give

    async def give_late(leases: Leases, canvas_id: str, replica_id: str) -> None:
        giving.set()
        await may_give.wait()
        await give(leases, canvas_id, replica_id)

    monkeypatch.setattr(Leases, "give", give_late)
    async with replica(backing) as one:
        await editor.set("a", "1")
        move = asyncio.create_task(one.rooms.leave_to("heir", editor.canvas_id))
        await giving.wait()
        move.cancel()
        await asyncio.gather(move, return_exceptions=True)
        handing_over = asyncio.create_task(one.rooms.hand_over())
        await pause()
        assert not handing_over.done()
        may_give.set()
        await handing_over
        assert one.rooms.count == 0
        assert await lease(one, editor.canvas_id) is None


async def test_canvas_is_left_without_a_lease_if_its_move_is_cancelled_before_the_commit(
    backing: DevStack, editor: Editor
) -> None:
    """The lease is released, and not given to a replica that is not asked. Proves R-FAIL-10."""
    postgres = backing.process("postgres")
    async with replica(backing) as one, replica(backing, answers_open=False) as two:
        await editor.set("a", "1")
        postgres.pause()
        try:
            saving = asyncio.create_task(editor.set("b", "2"))
            while "b" not in await editor.held():
                await pause()
            move = asyncio.create_task(one.rooms.leave_to(two.bus.replica_id, editor.canvas_id))
            while one.rooms.paces():
                await pause()
            move.cancel()
            await asyncio.gather(move, return_exceptions=True)
        finally:
            postgres.resume()
        await one.rooms.hand_over()
        assert await lease(one, editor.canvas_id) is None
        await saving


async def test_canvas_can_move_only_while_redis_answers_and_commits_succeed(
    backing: DevStack, editor: Editor
) -> None:
    """No canvas moves while Redis does not answer, because two replicas could open it.

    No canvas moves while commits fail, because no replica could open it. Proves R-BOUND-12 and R-FAIL-7.
    """
    valkey = backing.process("valkey")
    async with replica(backing) as one:
        await editor.set("a", "1")
        can_move = [one.rooms.can_move]
        valkey.pause()
        try:
            await one.rooms.renew_leases()
            can_move.append(one.rooms.can_move)
        finally:
            valkey.resume()
        await one.rooms.renew_leases()
        can_move.append(one.rooms.can_move)
        one.rooms._committer.is_failing = True
        can_move.append(one.rooms.can_move)
    assert can_move == [True, False, True, False]


async def test_malformed_request_to_take_a_canvas_is_refused(backing: DevStack) -> None:
    """The reserved replica answers with an error, and takes nothing. Proves R-BOUND-12."""
    async with reserved(backing) as two, replica(backing, answers_open=False) as sender:
        subject = TAKE_CANVAS.subject_of(replica_id=two.bus.replica_id)
        with pytest.raises(BadRequest):
            await sender.bus.request(subject, b"{}", timeout=5.0)
        assert two.rooms.count == 0


async def test_busy_canvas_moves_if_its_replica_holds_another_canvas(
    backing: DevStack, bus: Bus, editor: Editor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A replica with several canvases moves the busy one to a free reserved replica. Proves R-BOUND-12.

    A replica keeps its only canvas, even if that canvas is busy.
    """
    monkeypatch.setattr(moves, "MEASUREMENT_SECONDS", 0.05)
    other = Editor(bus, await Client(bus, user()).create())
    async with replica(backing) as one, reserved(backing) as two:
        loads = loads_of(one)
        free = ReplicaLoad(replica=two.bus.replica_id, load=0.0, is_reserved=True, is_free=True)
        canvases = canvases_of(one, LEAST_SHARE)
        moving = MovesOut(one.bus, one.rooms, loads, canvases)
        await moving.start()
        try:
            while not canvases.busy:
                await editor.set("a", "1")
                loads.note(free)
            await editor.set("b", "1")
            assert (one.rooms.count, two.rooms.count) == (1, 0)
            await one.rooms.open(other.canvas_id)
            while not two.rooms.knows(editor.canvas_id):
                await editor.set("b", "1")
                loads.note(free)
        finally:
            await moving.stop()
        assert one.rooms.knows(other.canvas_id)
        await editor.set("c", "1")
        assert await editor.held() == dict.fromkeys("abc", "1")


async def test_reserved_replica_leaves_a_calm_canvas(
    backing: DevStack, editor: Editor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A canvas that is no longer busy is released, and any replica may open it. Proves R-BOUND-12."""
    monkeypatch.setattr(moves, "MEASUREMENT_SECONDS", 0.05)
    monkeypatch.setattr(busy_canvases, "CALM_SECONDS", 0.1)
    async with replica(backing) as one, reserved(backing) as two:
        await editor.set("a", "1")
        before = sample("released_canvases_total", reason="calm")
        await moves_from(one).move(editor.canvas_id, two.bus.replica_id)
        while two.rooms.count:
            await pause()
        assert sample("released_canvases_total", reason="calm") == before + 1
        await editor.set("b", "2")
        assert (one.rooms.count, two.rooms.count) == (1, 0)
        assert await editor.held() == {"a": "1", "b": "2"}
