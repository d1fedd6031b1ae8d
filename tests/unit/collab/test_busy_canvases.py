"""The busy and the calm canvases of a replica."""

import time

import pytest

from svgx_collab.balance.busy_canvases import BUSY_MEASUREMENTS, CALM_SECONDS, BusyCanvases
from svgx_collab.bounds import SHORT_TRANSACTION_SECONDS, Limits, Pace
from svgx_collab.room import Room
from svgx_common.contract.collab import Edit
from svgx_common.contract.state import Content
from tests.unit.yjs.updates import ANY, NULL, in_root, update


@pytest.fixture
def no_pauses() -> None:
    """Override the fixture that removes all pauses, because only transactions that cause a pause have excess time."""


class Replica:
    """A replica with some canvases and a clock. A canvas that takes a quarter of the processor time is busy."""

    def __init__(self, *canvases: str) -> None:
        self.now = 0.0
        self.paces = {each: Pace(Limits()) for each in canvases}
        self.busy_canvases = BusyCanvases(
            lambda: self.paces, 0.25, Limits().canvas_share, clock=lambda: self.now
        )

    def measure(self, seconds: float = 3.0) -> None:
        """Advance the clock by some seconds, and measure the canvases."""
        self.now += seconds
        self.busy_canvases.measure()


@pytest.mark.parametrize(
    ("edits", "transactions", "parts", "is_busy"),
    [
        (0.74, 0.0, 0, False),
        (0.76, 0.0, 0, True),
        (0.36, 0.4, 20_000, True),
        (0.0, 0.07, 0, False),
        (0.0, 0.08, 0, True),
        (0.0, 0.08, 4_000, False),
    ],
)
def test_canvas_that_takes_much_time_is_busy(
    edits: float, transactions: float, parts: int, is_busy: bool
) -> None:
    """A canvas is busy if its edits and transactions take much time, or if its transactions have much excess time.

    The excess is the time by which a transaction exceeds the permitted time of its parts. Proves R-BOUND-12.
    """
    replica = Replica("a", "b")
    for _ in range(BUSY_MEASUREMENTS):
        replica.paces["a"].note_edits(edits, replica.now)
        replica.paces["a"].note_flush(transactions)
        replica.paces["a"].note_transaction(transactions, parts, replica.now)
        replica.measure()
    assert replica.busy_canvases.busy == ["a"] * is_busy


def test_canvas_is_busy_only_after_some_measurements_in_a_row() -> None:
    """A short burst of edits makes no canvas busy. A canvas that is opened again is not busy. Proves R-BOUND-12."""
    replica = Replica("a")
    for number in range(2 * BUSY_MEASUREMENTS):
        if number != BUSY_MEASUREMENTS - 1:
            replica.paces["a"].note_edits(1.0, replica.now)
        replica.measure()
        assert bool(replica.busy_canvases.busy) == (number == 2 * BUSY_MEASUREMENTS - 1)
    replica.paces["a"] = Pace(Limits())
    replica.paces["a"].note_edits(1.0, replica.now)
    replica.measure()
    assert replica.busy_canvases.busy == []


def test_canvas_is_calm_after_minutes_with_little_use() -> None:
    """A canvas above a fifth of the limit for busy canvases is not calm. Proves R-BOUND-12."""
    replica = Replica("calm", "used", "left")
    for _ in range(2):
        replica.measure()
        assert replica.busy_canvases.calm == []
        replica.paces["calm"].note_edits(0.049 * CALM_SECONDS, replica.now)
        replica.paces["used"].note_edits(0.051 * CALM_SECONDS, replica.now)
        replica.paces.pop("left", None)
        replica.measure(CALM_SECONDS)
        assert replica.busy_canvases.calm == ["calm"]
        replica.paces["calm"].note_edits(1.0, replica.now)
        replica.measure()


def test_pace_counts_the_seconds_of_a_canvas() -> None:
    """Only a transaction that is too long for its parts has excess seconds. Proves R-BOUND-12."""
    pace = Pace(Limits())
    pace.note_edits(0.1, 0.0)
    pace.note_flush(0.2)
    pace.note_transaction(0.2, 10_000, 0.0)
    pace.note_transaction(SHORT_TRANSACTION_SECONDS, 0, 0.0)
    assert pace.excess_seconds == 0.0
    pace.note_transaction(0.3, 5_000, 0.0)
    assert pace.excess_seconds == pytest.approx(0.2)
    assert pace.seconds == pytest.approx(0.3)


def test_time_of_a_large_edit_of_a_room_counts_once() -> None:
    """The seconds of a large edit count when it arrives, and do not count again at the next flush.

    A large edit is integrated when it arrives, and the next flush only ends the transaction. Proves R-BOUND-12.
    """
    values = [in_root(ANY, NULL, key=f"k{number}") for number in range(5_000)]
    edit = Edit("ann", update((7, 0, values)))
    room = Room("canvas", "epoch", Content(revision=0, updates=()))
    started = time.thread_time()
    assert not room.receive([edit]).rejected
    room._document.flush()
    taken = room._document._pycrdt.transaction_seconds
    assert list(room.take_broadcasts()) == []
    assert taken <= room.pace.seconds <= time.thread_time() - started
