"""The encoded contents of canvases: a client that joins gets the kept content only while it is the newest."""

from typing import Any

import pytest
from pycrdt import Doc

from svgx_canvas.document.shared_document import SharedDocument
from svgx_collab.content import whole_updates
from svgx_collab.content.whole_updates import KEEP_SECONDS, WholeUpdates
from svgx_collab.room import Room
from svgx_common.contract.collab import Edit
from svgx_common.contract.state import Content
from svgx_yjs.structure import EMPTY_STATE_VECTOR
from tests.unit.canvas.histories import content
from tests.unit.yjs.updates import ANY, NULL, in_root, update


@pytest.fixture(autouse=True)
def small_contents(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let contents of a few bytes count as large, and keep 100 bytes in all."""
    monkeypatch.setattr(whole_updates, "LARGE_BYTES", 1)
    monkeypatch.setattr(whole_updates, "MAX_BYTES", 100)


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Return the state vectors for which a document encodes its content during the test."""
    vectors: list[bytes] = []
    missing = SharedDocument.missing

    def noted(document: SharedDocument, vector: bytes, *, with_queue: bool = True) -> bytes:
        vectors.append(vector)
        return missing(document, vector, with_queue=with_queue)

    monkeypatch.setattr(SharedDocument, "missing", noted)
    return vectors


def edit(client: int) -> Edit:
    """Return an edit that sets a key of the client."""
    return Edit("ann", update((client, 0, [in_root(ANY, NULL, key=str(client))])))


def test_content_is_encoded_once_until_the_next_edit(encoded: list[bytes]) -> None:
    """Each reply has all integrated edits, also when the content is kept. Proves R-SYNC-3."""
    room = Room("canvas", "epoch", Content(revision=0, updates=()), whole_updates=WholeUpdates())
    for number in (1, 2):
        room.receive([edit(number)])
        replies = [room.sync(EMPTY_STATE_VECTOR, b"").update for _ in range(3)]
        assert len(encoded) == number
        assert {len(dict(content(reply))) for reply in replies} == {number}  # type: ignore[call-overload]


def test_other_state_vector_gets_only_the_missing_content(encoded: list[bytes]) -> None:
    """The kept content is sent only to clients without content. Proves R-SYNC-3."""
    room = Room("canvas", "epoch", Content(revision=0, updates=()))
    room.receive([edit(1)])
    whole = room.sync(EMPTY_STATE_VECTOR, b"")
    doc: Doc[Any] = Doc()
    doc.apply_update(whole.update)
    assert room.sync(doc.get_state(), b"").update == b"\x00\x00"
    assert len(encoded) == 2


def test_paused_room_encodes_its_integrated_content(encoded: list[bytes]) -> None:
    """The content is not kept while edits wait for the next transaction, because it lacks them. Proves R-BOUND-4."""
    room = Room("canvas", "epoch", Content(revision=0, updates=()))
    room.receive([edit(1)])
    room.pace._due_at = float("inf")
    for _ in range(2):
        room.sync(EMPTY_STATE_VECTOR, b"")
    room.pace.end_pauses()
    assert len(dict(content(room.sync(EMPTY_STATE_VECTOR, b"").update))) == 1  # type: ignore[call-overload]
    assert len(encoded) == 3


def test_kept_contents_are_bounded_by_bytes_and_time() -> None:
    """Beyond the bound, the least recently used contents are forgotten."""
    now = 0.0
    kept = WholeUpdates(lambda: now)
    for epoch in "abc":
        kept.keep(epoch, 1, epoch.encode() * 40)
    assert kept.find("a", 1) is None
    assert kept.find("b", 1) == b"b" * 40
    kept.keep("d", 1, b"d" * 40)
    assert kept.find("c", 1) is None
    assert kept.find("b", 2) is None
    kept.keep("e", 1, b"e" * 101)
    assert kept.find("e", 1) is None
    now = KEEP_SECONDS / 2
    kept.keep("f", 1, b"f")
    now = KEEP_SECONDS + 1
    kept.forget_unused()
    assert kept.find("d", 1) is None
    assert kept.find("f", 1) == b"f"
    kept.keep("g", 1, b"g" * 99)
    assert kept.find("f", 1) == b"f"
