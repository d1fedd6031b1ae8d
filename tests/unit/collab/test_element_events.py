"""The element events of a room, and the time for which a held canvas makes them."""

import json
import time

import pytest
from pycrdt import Doc, Map

from svgx_collab import bounds
from svgx_collab.held_canvas import HeldCanvas
from svgx_collab.room import Room
from svgx_common.contract.collab import Edit
from svgx_common.contract.live.element_events import LISTENING_SECONDS, ElementEvents
from svgx_common.contract.state import Content


def set_x(x: str) -> bytes:
    """Return an update that sets an element with this `x`. Of several values, the document takes the largest."""
    doc: Doc[Map[object]] = Doc(client_id=int(x) + 1)
    doc.get("elements", type=Map)["a"] = {"tag": "rect", "attrs": {"x": x}}
    return doc.get_update()


def x_of(events: ElementEvents | None) -> tuple[int, str | None]:
    """Return the number of an event, and the `x` of the element in it; None if everything has changed."""
    assert events is not None
    assert events.epoch == "epoch"
    if not events.operations:
        return events.sequence, None
    (operation,) = json.loads(events.operations)
    return events.sequence, operation["attrs"]["x"]


@pytest.fixture
def room() -> Room:
    """A room with an element from the journal. The elements are observed."""
    room = Room("canvas", "epoch", Content(1, (set_x("0"),)))
    room.observe_elements()
    return room


def test_loaded_content_is_no_event(room: Room) -> None:
    """Proves R-JSON-7."""
    assert room.observes_elements
    assert not room.has_changed_elements
    assert room.take_element_events() is None


def test_events_are_counted(room: Room) -> None:
    """The first number is skipped, because earlier changes were not observed. Proves R-JSON-7."""
    for number in (2, 3):
        room.receive([Edit("ann", set_x(str(number)))])
        assert x_of(room.take_element_events()) == (number, str(number))
        assert room.take_element_events() is None


def test_commit_of_another_writer_is_an_event(room: Room) -> None:
    """Proves R-JSON-6."""
    room.load_content(Content(2, (set_x("1"),)))
    assert x_of(room.take_element_events()) == (2, "1")


def test_number_is_skipped_when_the_observation_begins_again(room: Room) -> None:
    """A request to observe changes nothing while the elements are observed. Proves R-JSON-7."""
    room.observe_elements()
    room.receive([Edit("ann", set_x("1"))])
    assert x_of(room.take_element_events()) == (2, "1")
    room.stop_observing_elements()
    room.receive([Edit("ann", set_x("2"))])
    assert room.take_element_events() is None
    room.observe_elements()
    assert room.take_element_events() is None
    room.receive([Edit("ann", set_x("3"))])
    assert x_of(room.take_element_events()) == (4, "3")


def test_lost_event_is_followed_by_a_change_of_everything(room: Room) -> None:
    """The number of the lost event and one more are missing. Proves R-JSON-7."""
    room.receive([Edit("ann", set_x("1"))])
    assert x_of(room.take_element_events()) == (2, "1")
    room.lose_element_events()
    assert room.has_changed_elements
    assert x_of(room.take_element_events()) == (4, None)
    assert not room.has_changed_elements


def test_edit_that_waits_is_no_event(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    """During a pause, edits are not integrated. Proves R-JSON-7."""
    room.receive([Edit("ann", set_x("1"))])
    assert x_of(room.take_element_events()) == (2, "1")
    with monkeypatch.context() as patch:
        patch.setattr(bounds, "SHORT_TRANSACTION_SECONDS", 0.0)
        room.pace.note_transaction(1.0, 0, now=time.monotonic() + 3600)
    room.receive([Edit("ann", set_x("2"))])
    assert room.seconds_until_due
    assert room.take_element_events() is None
    room.pace.end_pauses()
    list(room.take_broadcasts())
    assert x_of(room.take_element_events()) == (3, "2")


def test_elements_are_observed_for_a_limited_time(room: Room) -> None:
    """Each request of a gateway with JSON clients renews the time. Proves R-JSON-7."""
    held = HeldCanvas(room, lambda _: None)
    held.observe_elements(100.0)
    held.observe_elements(110.0)
    held.expire_elements(100.0 + LISTENING_SECONDS)
    assert room.observes_elements
    held.expire_elements(110.0 + LISTENING_SECONDS)
    is_observing = room.observes_elements
    assert not is_observing
