"""Edits with structs of a Yjs client that belongs to another present user."""

import time
from typing import Any

import pytest
from pycrdt import Doc, Map

from svgx_collab import room as room_module
from svgx_collab.participants import OUTDATED_SECONDS, Participants
from svgx_collab.room import Room
from svgx_common.contract.close_codes import Close
from svgx_common.contract.collab import Edit
from svgx_common.contract.live.rejections import Reason, Rejection
from svgx_common.contract.state import Content
from svgx_yjs.awareness import State

ANNS_CLIENT, EVES_CLIENT = 11, 12


class Canvas:
    """A room in which Ann is present with her own client."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, new_seconds: float = -1.0) -> None:
        monkeypatch.setattr(room_module, "NEW_SECONDS", new_seconds)
        self.participants = Participants()
        self.now = time.monotonic()
        self.participants.receive("ann", State(ANNS_CLIENT, 1, "{}"), self.now)
        self.room = Room("canvas", "epoch", Content(0, ()))
        self.room.owner_of = self.participants.owner

    def receive(self, author: str, update: bytes) -> list[Rejection]:
        """Apply an edit, and return the rejections."""
        receipt = self.room.receive([Edit(author, update)])
        return [Rejection.unpack(number) for number in receipt.rejected]

    def keys(self) -> set[str]:
        """Return the keys of the elements."""
        doc: Doc[Any] = Doc()
        list(self.room.take_broadcasts())
        doc.apply_update(self.room.sync(b"\0", b"").update)
        return set(doc.get("elements", type=Map).keys())


def drawing(client: int, *keys: str, on: bytes = b"") -> bytes:
    """Return the document of a client that has set these keys, after the content `on`."""
    doc: Doc[Any] = Doc(client_id=client)
    if on:
        doc.apply_update(on)
    for key in keys:
        doc.get("elements", type=Map)[key] = 1
    return doc.get_update()


def test_edit_under_the_client_of_another_present_user_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Eve's forged edit is refused with the reason, and Ann's own edit at the same clock is accepted.

    Proves R-BOUND-9.
    """
    canvas = Canvas(monkeypatch)
    (rejection,) = canvas.receive("eve", drawing(ANNS_CLIENT, "forged"))
    assert (rejection.reason, rejection.code) == (Reason.OTHERS_CLIENT, Close.OVERLOADED)
    assert canvas.keys() == set()
    assert canvas.receive("ann", drawing(ANNS_CLIENT, "real")) == []
    assert canvas.keys() == {"real"}


def test_only_the_authors_own_structs_of_an_edit_are_applied(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No edit is lost when a client passes on another user's edit, because the other user's client sends it too.

    Proves R-BOUND-9.
    """
    canvas = Canvas(monkeypatch)
    anns = drawing(ANNS_CLIENT, "a")
    assert canvas.receive("eve", drawing(EVES_CLIENT, "e", on=anns)) == []
    assert canvas.keys() == {"e"}
    assert canvas.receive("ann", anns) == []
    assert canvas.receive("eve", drawing(EVES_CLIENT, "e", on=anns)) == []
    assert canvas.keys() == {"a", "e"}


def test_new_room_rejects_no_edit_that_a_client_passes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After a failure, clients send the new holder all edits that it lacks, also those of others. Proves R-BOUND-9."""
    canvas = Canvas(monkeypatch, new_seconds=30.0)
    assert canvas.receive("bob", drawing(ANNS_CLIENT, "a")) == []
    assert canvas.keys() == set()


@pytest.mark.parametrize("case", ["same account", "gone", "expired", "known"])
def test_edit_that_forges_nothing_is_accepted(monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    """A user may use the same client after a reload. Others may pass on known edits, and edits of an absent client.

    Proves R-BOUND-9.
    """
    canvas, author = Canvas(monkeypatch), "bob"
    match case:
        case "same account":
            author = "ann"
        case "gone":
            canvas.participants.receive("ann", State(ANNS_CLIENT, 2, "null"), canvas.now)
        case "expired":
            canvas.participants.expire(canvas.now + OUTDATED_SECONDS)
        case "known":
            canvas.receive("ann", drawing(ANNS_CLIENT, "a"))
    assert canvas.receive(author, drawing(ANNS_CLIENT, "a")) == []
    assert canvas.keys() == {"a"}


def test_claimed_client_of_an_absent_user_accepts_the_edits_of_this_user(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The connection of Ann breaks before her last edits, and Eve claims the client of Ann. Proves R-BOUND-9."""
    canvas = Canvas(monkeypatch)
    assert canvas.receive("ann", drawing(ANNS_CLIENT, "a")) == []
    canvas.participants.receive("ann", State(ANNS_CLIENT, 2, "null"), canvas.now)
    canvas.participants.expire(canvas.now + OUTDATED_SECONDS)
    canvas.participants.receive("eve", State(ANNS_CLIENT, 3, "{}"), canvas.now)
    assert canvas.participants.owner(ANNS_CLIENT) == "eve"
    assert canvas.receive("ann", drawing(ANNS_CLIENT, "a", "offline")) == []
    assert canvas.keys() == {"a", "offline"}


@pytest.mark.parametrize("new_seconds", [-1.0, 30.0])
def test_structs_that_are_left_out_give_no_right_to_the_client(
    monkeypatch: pytest.MonkeyPatch, new_seconds: float
) -> None:
    """Eve sends a forged struct with one of her own, and then the forged struct alone. Proves R-BOUND-9."""
    canvas = Canvas(monkeypatch, new_seconds=new_seconds)
    forged = drawing(ANNS_CLIENT, "forged")
    assert canvas.receive("eve", drawing(EVES_CLIENT, "e", on=forged)) == []
    assert len(canvas.receive("eve", forged)) == (new_seconds < 0)
    assert canvas.keys() == {"e"}


def test_client_that_was_passed_on_is_refused_to_third_users(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Bob passes on the edits of Ann, an absent user. Then Ann returns. Proves R-BOUND-9."""
    canvas = Canvas(monkeypatch)
    canvas.participants.receive("ann", State(ANNS_CLIENT, 2, "null"), canvas.now)
    assert canvas.receive("bob", drawing(ANNS_CLIENT, "a")) == []
    canvas.participants.receive("ann", State(ANNS_CLIENT, 3, "{}"), canvas.now)
    assert len(canvas.receive("eve", drawing(ANNS_CLIENT, "a", "forged"))) == 1
    assert canvas.receive("ann", drawing(ANNS_CLIENT, "a", "real")) == []
    assert canvas.keys() == {"a", "real"}


def test_awareness_state_of_a_viewer_blocks_no_editor(monkeypatch: pytest.MonkeyPatch) -> None:
    """A viewer publishes a state for the client of an editor that has published none. Proves R-BOUND-9."""
    canvas = Canvas(monkeypatch)
    viewed = State(EVES_CLIENT, 1, "{}")
    canvas.participants.receive("vic", viewed, canvas.now, may_edit=False)
    assert canvas.receive("eve", drawing(EVES_CLIENT, "by-eve")) == []
    assert canvas.keys() == {"by-eve"}
