"""The balance of canvases between replicas."""

from typing import cast

import pytest

from svgx_collab.balance.loads import FORGET_SECONDS, FRESH_SECONDS, MAX_DECLINES, Loads
from svgx_common.contract.collab import ReplicaLoad
from svgx_common.messaging.bus import Bus


class Replica:
    """A replica with a number of held canvases, a number of edits, and a clock."""

    replica_id = "own"
    canvases = 0
    edits = 0
    now = 0.0

    def loads(self) -> Loads:
        """Return the loads that this replica knows."""
        return Loads(
            cast(Bus, self), lambda: self.canvases, lambda: self.edits, clock=lambda: self.now
        )


@pytest.mark.parametrize(
    ("own", "others", "declines"),
    [
        (0, [], False),
        (1000, [], False),
        (100, [100, 100], False),
        (120, [100, 100], False),
        (200, [100, 100], True),
        (100, [0], True),
        (15, [0, 0], False),
        (10, [1000], False),
    ],
)
def test_replica_with_more_than_its_share_declines(
    own: int, others: list[int], declines: bool
) -> None:
    """A replica with a larger load than the others declines to open a canvas, unless the difference is small.

    A replica that is alone opens every canvas. Proves R-FAIL-25.
    """
    replica = Replica()
    replica.canvases = own
    loads = replica.loads()
    loads.note(ReplicaLoad(replica="own", load=0.0))
    for number, load in enumerate(others):
        loads.note(ReplicaLoad(replica=f"{number}", load=load))
    assert loads.declines("canvas") == declines


def test_announcement_of_a_stopped_replica_does_not_count() -> None:
    """Without fresh announcements of others, a replica opens every canvas. Proves R-FAIL-25."""
    replica = Replica()
    replica.canvases = 1000
    loads = replica.loads()
    loads.note(ReplicaLoad(replica="other", load=0.0))
    assert loads.declines("canvas")
    replica.now = FRESH_SECONDS
    assert not loads.declines("canvas")


def test_canvas_that_no_other_replica_opens_is_opened_after_some_refusals() -> None:
    """After `MAX_DECLINES` refusals the replica opens the canvas, because a replica with less load may have stopped.

    Proves R-FAIL-8 and R-FAIL-25.
    """
    replica = Replica()
    replica.canvases = 1000
    loads = replica.loads()
    loads.note(ReplicaLoad(replica="other", load=0.0))
    declined = [loads.declines("canvas") for _ in range(MAX_DECLINES + 2)]
    assert declined == [True] * MAX_DECLINES + [False] * 2
    assert loads.declines("another")
    replica.now = FORGET_SECONDS
    loads.note(ReplicaLoad(replica="other", load=0.0))
    loads.measure()
    assert loads.declines("canvas")


def test_edits_count_towards_the_load() -> None:
    """The load includes the smoothed number of edits each second, which falls after the last edit. Proves R-FAIL-25."""
    replica = Replica()
    loads = replica.loads()
    for _ in range(20):
        replica.now += 1.0
        replica.edits += 100
        loads.measure()
    assert loads.own == pytest.approx(100, abs=1)
    for _ in range(20):
        replica.now += 1.0
        loads.measure()
    assert loads.own < 1


def test_load_of_a_reserved_replica_does_not_count() -> None:
    """A reserved replica opens no canvas by itself, so it makes no replica decline. Proves R-FAIL-25 and R-BOUND-12."""
    replica = Replica()
    replica.canvases = 1000
    loads = replica.loads()
    loads.note(ReplicaLoad(replica="other", load=0.0, is_reserved=True, is_free=True))
    assert not loads.declines("canvas")


def test_reserved_replica_is_free_while_it_runs_and_holds_no_canvas() -> None:
    """Only a fresh announcement of a free reserved replica counts. Proves R-BOUND-12."""
    replica = Replica()
    loads = replica.loads()
    loads.note(ReplicaLoad(replica="used", load=1.0, is_reserved=True))
    loads.note(ReplicaLoad(replica="other", load=0.0))
    assert loads.free_reserved_replica() is None
    loads.note(ReplicaLoad(replica="free", load=0.0, is_reserved=True, is_free=True))
    assert loads.free_reserved_replica() == "free"
    loads.note(ReplicaLoad(replica="second", load=0.0, is_reserved=True, is_free=True))
    assert {loads.free_reserved_replica() for _ in range(100)} == {"free", "second"}
    replica.now = FRESH_SECONDS
    assert loads.free_reserved_replica() is None
