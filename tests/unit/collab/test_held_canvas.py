"""The states of a held canvas, and the waiting for its commits."""

import asyncio
import time
from collections.abc import Callable

import pytest
from opentelemetry.trace import SpanContext
from pycrdt import Doc, Map

from svgx_collab.held_canvas import ALL_GATEWAYS, IDLE_SECONDS, HeldCanvas
from svgx_collab.room import Receipt, Room
from svgx_common.contract.collab import Edit
from svgx_common.contract.live.element_events import LISTENING_SECONDS
from svgx_common.contract.state import Content
from svgx_yjs.awareness import State
from tests.unit.yjs.updates import STRING, deletions, in_root, update
from tests.unit.yjs.updates import text as text_content


@pytest.fixture
def changed() -> list[HeldCanvas]:
    """The canvases that were marked as changed."""
    return []


@pytest.fixture
def held(changed: list[HeldCanvas]) -> HeldCanvas:
    """An empty canvas that is held."""
    return HeldCanvas(Room("canvas", "epoch", Content(0, ())), changed.append)


async def test_leaving_begins_once(held: HeldCanvas) -> None:
    """A replica begins to give up a canvas (`begin_leaving`) once, and only while it serves the canvas."""
    assert held.is_holding
    assert held.begin_leaving()
    assert (held.is_holding, held.is_released) == (False, False)
    assert not held.begin_leaving()


def test_leaving_ends_an_unfinished_edit(held: HeldCanvas) -> None:
    """A replica that leaves a canvas continues no edit that may take minutes. Proves R-BOUND-5.

    The gateway sends the edit again, to the next holder.
    """
    text = update((5, 0, [in_root(STRING, text_content("x" * 10_000))]))
    deleting = update(deleted=deletions((5, [(2 * number, 1) for number in range(1_000)])))
    held.room.receive([Edit("ann", text)])
    held.room.receive([Edit("ann", deleting)], seconds=0.0)
    assert (held.room.is_unfinished, held.must_stop_edits) == (True, False)
    held.begin_leaving()
    assert held.must_stop_edits
    held.room.receive([])
    assert (held.room.is_unfinished, held.must_stop_edits) == (False, False)
    held.release()
    assert held.must_stop_edits


def test_released_canvas_stays_released(held: HeldCanvas, changed: list[HeldCanvas]) -> None:
    """A release is final, may be repeated, and ends broadcasting."""
    held.mark_changed()
    held.release()
    held.release()
    held.mark_changed()
    assert not held.begin_leaving()
    assert (held.is_holding, held.is_released) == (False, True)
    assert changed == [held]


def test_broadcasts_go_to_the_gateways_that_have_asked_for_a_sync(held: HeldCanvas) -> None:
    """A gateway receives broadcasts for `LISTENING_SECONDS` after a sync.

    `gateways` returns None, which means all gateways, when no gateway is noted or when the sender of a sync is unknown.
    """
    assert held.gateways() is None
    held.add_gateway("one", now=0.0)
    held.add_gateway("two", now=10.0)
    assert held.gateways() == ["one", "two"]
    held.add_gateway(ALL_GATEWAYS, now=0.0)
    assert held.gateways() is None
    held.expire_gateways(LISTENING_SECONDS)
    assert held.gateways() == ["two"]
    held.expire_gateways(LISTENING_SECONDS + 10.0)
    assert held.gateways() is None


@pytest.mark.parametrize("wake", [HeldCanvas.mark_committed, HeldCanvas.release])
async def test_commit_or_release_wakes_the_leaving_canvas(
    held: HeldCanvas, wake: Callable[[HeldCanvas], None]
) -> None:
    """A canvas that is being left waits for the next commit, or for its release."""
    held.begin_leaving()
    held.mark_committed()
    waiting = asyncio.create_task(held.wait_committed())
    await asyncio.sleep(0)
    assert not waiting.done(), "an earlier commit does not count"
    wake(held)
    await waiting


async def test_only_a_leaving_canvas_waits_for_commits(held: HeldCanvas) -> None:
    """Waiting for a commit returns at once while the canvas is served, and after its release."""
    await held.wait_committed()
    held.release()
    await held.wait_committed()


async def test_waiting_requests_are_taken_once(held: HeldCanvas) -> None:
    """`take_saved` takes the requests with committed edits; `take_waiting` takes all requests that are left."""
    held.add_waiting(Receipt(0, (), 0), "saved")
    held.add_waiting(Receipt(1, (), 0), "unsaved")
    assert [request.reply for request in held.take_saved()] == ["saved"]
    assert held.take_saved() == []
    assert [request.reply for request in held.take_waiting()] == ["unsaved"]
    assert held.take_waiting() == []


async def test_canvas_without_participants_and_requests_is_idle(held: HeldCanvas) -> None:
    """A canvas is idle after ten minutes without a request, unless a participant is present."""
    later = time.monotonic() + IDLE_SECONDS
    assert not held.is_idle(later - 1)
    assert held.is_idle(later + 1)
    held.participants.receive("ann", State(1, 1, "{}"), now=later)
    assert not held.is_idle(later + 1)


def test_taken_spans_do_not_change_when_a_later_batch_arrives(held: HeldCanvas) -> None:
    """The spans of a broadcast are those of its own batches. Proves R-OBS-4."""
    taken = held.take_unsent_origins()
    origin = SpanContext(1, 1, False)
    held.add_origin(Receipt(1, (), 0), origin)
    assert taken == []
    assert held.take_unsent_origins() == [origin]


def test_commit_takes_the_traces_of_the_batches_that_it_completes(held: HeldCanvas) -> None:
    """A batch that arrives during a commit belongs to the next commit. Proves R-OBS-4.

    `take_origins_in_flight` returns the spans for the commit. `take_unsent_origins` returns those for the next
    broadcast.
    """
    doc: Doc[Map[str]] = Doc()
    updates: list[bytes] = []
    subscription = doc.observe(lambda event: updates.append(event.update))
    elements = doc.get("elements", type=Map)
    first, second, third = (SpanContext(1, number, False) for number in (1, 2, 3))

    def receive(*origins: SpanContext) -> None:
        for number, origin in enumerate(origins):
            elements[f"{origin.span_id}-{number}"] = "x"
            held.add_origin(held.room.receive([Edit("ann", updates[-1])]), origin)

    assert (held.take_unsent_origins(), held.take_origins_in_flight()) == ([], [])
    receive(first, second)
    assert held.room.take_entry() is not None
    receive(third)
    assert held.take_origins_in_flight() == [first, second]
    assert held.take_origins_in_flight() == []
    assert held.take_unsent_origins() == [first, second, third]
    assert held.take_unsent_origins() == []
    held.room.mark_committed(1)
    assert held.take_origins_in_flight() == []
    assert held.room.take_entry() is not None
    assert held.take_origins_in_flight() == [third]
    held.room.mark_committed(2)
    repeated = held.room.receive([Edit("ann", updates[0])])
    held.add_origin(repeated, first)
    assert held.take_origins_in_flight() == [], "the repeated edits are saved already"
    doc.unobserve(subscription)
