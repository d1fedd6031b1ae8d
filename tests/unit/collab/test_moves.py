"""The conditions under which busy canvases move to other replicas, tested without servers."""

import asyncio
from dataclasses import dataclass, field
from typing import cast

import pytest

from svgx_collab.balance import moves as module
from svgx_collab.balance.busy_canvases import BusyCanvases
from svgx_collab.balance.loads import Loads
from svgx_collab.balance.moves import MovesIn, MovesOut
from svgx_collab.rooms import Rooms
from svgx_common.contract.errors import DeadlineExceeded, SvgxError, Unavailable
from svgx_common.messaging.bus import Bus, BusUnreachable, NoResponders
from svgx_common.messaging.headers import Headers
from tests.polling import pause


@dataclass
class Replica:
    """A replica with `count` canvases. `MovesOut` finds one busy canvas, and `MovesIn` finds one calm canvas.

    The object is also the bus, the rooms, the loads and the busy canvases of the replica.
    """

    failure: SvgxError | None = None
    """The error of the request to take the canvas."""
    probe_failure: SvgxError | None = None
    """The error of the request that asks whether the reserved replica is free."""
    can_move: bool = True
    count: int = 2
    replica_id: str = "own"
    steps: list[str] = field(default_factory=list)
    """The names of the calls, in their order."""
    edits_saved: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the canvas has no unsaved edits. `leave_to` waits for this event."""

    @property
    def busy(self) -> list[str]:
        return ["busy"]

    @property
    def calm(self) -> list[str]:
        return ["calm"]

    @property
    def connection(self) -> "Replica":
        return self

    def measure(self) -> None:
        """Do nothing, because `busy` and `calm` are fixed."""

    def free_reserved_replica(self) -> str:
        return "free"

    async def leave_to(self, replica_id: str, canvas_id: str) -> bool:
        self.steps.append(f"leave {canvas_id} to {replica_id}")
        await self.edits_saved.wait()
        return True

    async def release_given_lease(self, canvas_id: str, replica_id: str) -> None:
        self.steps.append(f"release the lease of {canvas_id} given to {replica_id}")

    async def request(
        self, subject: str, _: bytes, headers: Headers | None = None, *, timeout: float
    ) -> None:
        """Answer a probe, which asks whether a reserved replica is free, or the request to take a canvas."""
        self.steps.append(f"probe {subject}" if headers else subject)
        failure = self.probe_failure if headers else self.failure
        if failure is not None:
            raise failure

    async def leave(self, canvas_id: str | list[object], reason: str = "") -> None:
        """Leave a canvas, as `Rooms.leave` does. Fail for a list of subscriptions, as `Bus.leave` does without NATS."""
        if isinstance(canvas_id, list):
            raise Unavailable
        self.steps.append(f"leave {canvas_id} because it is {reason}")

    async def subscribe(self, subject: str, *, cb: object) -> object:
        return object()

    def moves_out(self) -> MovesOut:
        """Return the moves from this replica."""
        return MovesOut(
            cast(Bus, self), cast(Rooms, self), cast(Loads, self), cast(BusyCanvases, self)
        )

    def moves_in(self) -> MovesIn:
        """Return the moves to this replica, for tests in which it is reserved."""
        return MovesIn(cast(Bus, self), cast(Rooms, self), cast(BusyCanvases, self))


MOVE = ["probe svgx.collab.take.free", "leave busy to free", "svgx.collab.take.free"]
"""The steps of a move that succeeds."""


@pytest.fixture(autouse=True)
def interval(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MEASUREMENT_SECONDS", 0.0)


@pytest.mark.parametrize(
    ("replica", "moves"),
    [(Replica(), True), (Replica(count=1), False), (Replica(can_move=False), False)],
)
async def test_canvas_moves_only_if_another_replica_can_open_it(
    replica: Replica, *, moves: bool
) -> None:
    """A canvas stays if it is the only one, or if the state service or Redis does not answer. Proves R-BOUND-12."""
    replica.edits_saved.set()
    await replica.moves_out()._move_busy_canvas()
    assert replica.steps == MOVE * moves


@pytest.mark.parametrize("can_move", [True, False])
async def test_calm_canvas_is_left_only_if_another_replica_can_open_it(*, can_move: bool) -> None:
    """A calm canvas stays if no other replica can open it, because its clients would get no broadcasts.

    Proves R-BOUND-12.
    """
    replica = Replica(can_move=can_move)
    await replica.moves_in()._release_calm_canvases()
    assert replica.steps == ["leave calm because it is calm"] * can_move


@pytest.mark.parametrize(
    ("failure", "releases_lease"),
    [
        (NoResponders(), True),
        (BusUnreachable(), True),
        (Unavailable("this replica holds another canvas"), False),
        (DeadlineExceeded(), False),
    ],
)
async def test_failed_move_is_followed_by_a_pause(
    failure: SvgxError, monkeypatch: pytest.MonkeyPatch, *, releases_lease: bool
) -> None:
    """A lasting failure does not interrupt the canvas again and again. Proves R-BOUND-12.

    The given lease is released if the reserved replica has not received the request.
    """
    replica = Replica(failure)
    replica.edits_saved.set()
    moves = replica.moves_out()
    for _ in range(3):
        await moves._move_busy_canvas()
    expected = [*MOVE, *(["release the lease of busy given to free"] * releases_lease)]
    assert replica.steps == expected
    monkeypatch.setattr(module, "FAILURE_PAUSE_SECONDS", 0.0)
    moves._paused_until = 0.0
    for _ in range(2):
        await moves._move_busy_canvas()
    assert replica.steps == expected * 3


async def test_canvas_is_not_left_for_a_replica_that_does_not_confirm_that_it_is_free() -> None:
    """The canvas is not interrupted, and the next attempt follows after the pause. Proves R-BOUND-12."""
    replica = Replica(probe_failure=Unavailable("this replica holds a canvas"))
    moves = replica.moves_out()
    for _ in range(3):
        await moves._move_busy_canvas()
    assert replica.steps == MOVE[:1]


async def test_move_in_progress_ends_before_the_replica_stops() -> None:
    """`stop` waits for the move. Otherwise, the reserved replica would have the lease but no request.

    Proves R-BOUND-12 and R-FAIL-10.
    """
    replica = Replica()
    moves = replica.moves_out()
    await moves.start()
    async with asyncio.timeout(10):
        while len(replica.steps) < 2:
            await pause()
        stopping = asyncio.create_task(moves.stop())
        await pause()
        assert not stopping.done()
        replica.edits_saved.set()
        await stopping
    assert replica.steps == MOVE


async def test_failure_of_nats_does_not_prevent_the_hand_over_of_canvases() -> None:
    """`stop` returns although NATS does not answer, so the replica then hands its canvases over. Proves R-FAIL-10."""
    moves = Replica().moves_in()
    await moves.start()
    await moves.stop()
