"""Compaction keeps all content and all pending updates. Proves R-SVG-8."""

import random

import pytest
from pycrdt import Doc, Map, merge_updates

from svgx_canvas import Snapshot, SvgRefused, compact, state
from svgx_canvas.document import shared_document
from svgx_yjs.lib0 import encode_text, encode_uint
from tests.unit.canvas.histories import Document, content, history
from tests.unit.yjs.updates import ANY, NULL, after, update


@pytest.mark.parametrize("seed", range(40))
def test_missing_updates_can_arrive_after_compaction(seed: int) -> None:
    """A compacted part of a history, together with the other updates, has the content of the whole history."""
    rng = random.Random(seed)
    updates = history(seed)
    expected = content(*updates)
    early = [update for update in updates if rng.random() < 0.6]
    rng.shuffle(early)
    late = [update for update in updates if update not in early]
    half = len(early) // 2
    state = compact(compact(None, early[:half]), early[half:])
    assert content(state.update) == content(*early)
    assert content(state.update, *late) == expected
    assert content(compact(state, late).update) == expected


def test_deletion_that_arrives_before_its_struct_is_kept() -> None:
    """A pycrdt document loses a deletion without its struct. Compaction merges such deletions separately."""
    doc: Document = Doc()
    elements = doc.get("elements", type=Map)
    updates: list[bytes] = []
    doc.observe(lambda event: updates.append(event.update))
    elements["a"] = 1
    del elements["a"]
    written, deleted = updates
    assert content(compact(None, [deleted]).update, written) == {}
    bare: Document = Doc()
    bare.apply_update(deleted)
    assert content(bare.get_update(), written) == {"a": 1}
    # The deletion is also kept beside updates that can be integrated, and by a second compaction.
    other: Document = Doc()
    other.get("elements", type=Map)["b"] = 2
    state = compact(compact(None, [other.get_update(), deleted]), [other.get_update()])
    assert content(state.update, written) == {"b": 2}


def test_overwritten_values_are_removed() -> None:
    doc: Document = Doc()
    updates: list[bytes] = []
    elements = doc.get("elements", type=Map)
    doc.observe(lambda event: updates.append(event.update))
    for index in range(500):
        elements["a"] = f"value {index} " + "x" * 100
    state = compact(None, updates)
    assert len(state.update) < 400 < len(merge_updates(*updates)) // 100
    assert content(state.update) == {"a": "value 499 " + "x" * 100}


def test_compaction_of_no_content_is_the_empty_update() -> None:
    empty = Snapshot(b"\x00\x00", b"")
    assert compact(None, []) == empty
    assert compact(empty, [b"\x00\x00"]) == empty


def test_duplicate_updates_change_nothing() -> None:
    updates = history(7)
    assert content(compact(compact(None, updates), updates).update) == content(*updates)


@pytest.mark.parametrize("broken", [b"", b"\x01", b"\xff" * 20, b"hello"])
def test_malformed_update_is_refused(broken: bytes) -> None:
    with pytest.raises(SvgRefused) as refused:
        compact(None, [history(1)[0], broken])
    assert (refused.value.code, refused.value.field) == ("malformed", "state")


def test_invalid_utf_8_is_refused() -> None:
    item = (
        bytes([8 | 0x20])
        + b"\x01"
        + encode_text("elements")
        + encode_text("k")
        + b"\x01\x77\x02\xff\xfe"
    )
    with pytest.raises(SvgRefused):
        compact(
            None,
            [encode_uint(1) + encode_uint(1) + encode_uint(5) + encode_uint(0) + item + b"\x00"],
        )


def test_updates_in_any_order_are_kept() -> None:
    """A pycrdt document that applies the updates in this order loses the second update. Compaction keeps it."""
    doc: Document = Doc(client_id=1)
    elements = doc.get("elements", type=Map)
    updates: list[bytes] = []
    doc.observe(lambda event: updates.append(event.update))
    elements["a"] = Map({"tag": "g"})
    elements["a"] = 27
    elements["b"] = 1
    first, second, third = updates
    assert content(compact(None, [second, third, first]).update) == {"a": 27, "b": 1}
    state = compact(compact(compact(None, [second]), [third]), [first])
    assert content(state.update) == {"a": 27, "b": 1}


def test_waiting_updates_beyond_the_limit_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A snapshot without the waiting updates that did not fit into memory is not made. Proves R-STATE-6."""
    waiting = [update((client, 0, [after(ANY, NULL, (5, 0))])) for client in range(100, 110)]
    piece_bytes = len(waiting[0]) + shared_document.PIECE_OVERHEAD
    monkeypatch.setattr(shared_document, "MAX_PENDING_BYTES", 10 * piece_bytes)
    snapshot = compact(None, waiting)
    monkeypatch.setattr(shared_document, "MAX_PENDING_BYTES", 9 * piece_bytes)
    for earlier, updates in ((None, waiting), (snapshot, [])):
        with pytest.raises(SvgRefused) as refused:
            compact(earlier, updates)
        assert (refused.value.code, refused.value.field) == ("too_large", "pending")
    reported: list[tuple[str, str]] = []
    state(waiting, report=lambda *each: reported.append(each))
    assert reported == [("update", "waits for a missing update")] * 10
