"""Compaction keeps all content and all pending updates. Proves R-SVG-8."""

import random
from typing import Any

import pytest
from pycrdt import Doc, Map, merge_updates

from svgx_canvas import Snapshot, SvgRefused, compact, state
from svgx_canvas.document.pending_pieces import PIECE_OVERHEAD_BYTES
from svgx_canvas.document.shared_document import (
    MAX_PENDING_BYTES,
    SharedDocument,
)
from svgx_yjs.lib0 import Malformed, encode_text, encode_uint
from svgx_yjs.splitting import check
from svgx_yjs.structure import EMPTY_STATE_VECTOR, EMPTY_UPDATE, read_state_vector
from tests.unit.canvas.histories import Document, content, history
from tests.unit.yjs.updates import (
    ANY,
    BINARY,
    GC,
    NULL,
    STRING,
    after,
    deletions,
    gap,
    in_root,
    inside,
    update,
)


@pytest.mark.parametrize("seed", range(40))
def test_missing_updates_can_arrive_after_compaction(seed: int) -> None:
    """If some updates of a history arrive only after the compaction of the others, no content is lost."""
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
    """pycrdt loses a deletion that arrives before its struct. Compaction merges these deletions separately."""
    doc: Document = Doc()
    elements = doc.get("elements", type=Map)
    updates: list[bytes] = []
    doc.observe(lambda event: updates.append(event.update))
    elements["a"] = 1
    del elements["a"]
    written, deleted = updates
    assert content(compact(None, [deleted]).update, written) == {}
    pycrdt_document: Document = Doc()
    pycrdt_document.apply_update(deleted)
    assert content(pycrdt_document.get_update(), written) == {"a": 1}
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
    """A compaction keeps all updates. A pycrdt document that applies `second`, `third` and `first` loses `second`."""
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


def test_snapshot_has_waiting_updates_beyond_the_limit_of_holders() -> None:
    """A compaction forgets no waiting update, however many there are. Proves R-STATE-6."""
    count = MAX_PENDING_BYTES // PIECE_OVERHEAD_BYTES
    waiting = [update((1000 + each, 0, [after(ANY, NULL, (5, 0))])) for each in range(count)]
    snapshot = compact(compact(None, waiting[:9]), waiting[9:])
    reported: list[tuple[str, str]] = []
    state([snapshot.update], report=lambda *each: reported.append(each))
    assert reported == [("update", "waits for a missing update")] * count
    released: Doc[Any] = Doc()
    for each in (snapshot.update, update((5, 0, [in_root(ANY, NULL)]))):
        released.apply_update(each)
    assert len(read_state_vector(released.get_state())) == count + 1


def test_small_waiting_pieces_need_no_more_memory_in_a_snapshot() -> None:
    """If a holder accepts waiting edits, a holder that loads their snapshot accepts them too. Proves R-STATE-6."""
    rng = random.Random(5)
    document = SharedDocument.load()
    clocks = dict.fromkeys(range(1000, 1100), 0)
    for _ in range(3000):
        client = rng.choice([*clocks])
        # Some pieces follow the piece before them, and others leave a gap.
        clock = clocks[client] + rng.choice([0, 1, 3])
        size = rng.choice([1, 1, 50, 9000])
        value = after(STRING, encode_text("x" * size), (5, rng.randrange(9)))
        clocks[client] = clock + size
        document.take(
            update((client, clock, [value]), deleted=deletions((client + 500, [(clock, 1)])))
        )
    assert len(document.pending) == 6000
    snapshot = compact(None, document.pending)
    for updates in ([snapshot.update], [compact(snapshot, [EMPTY_UPDATE]).update]):
        loaded = SharedDocument.load(updates)
        assert 5 * 10**6 < loaded.pending_bytes <= document.pending_bytes
        assert len(loaded.pending) < 3000


CONTRADICTING = [
    bytes.fromhex(update)
    for update in (
        "0102090681630505836305017a00",
        "0101090484630504f09f988000",
        "010109048463050561f09f988000",
    )
]
"""Updates with different structs for the same clocks. pycrdt merges them into a malformed update."""


def test_waiting_updates_that_contradict_each_other_do_not_prevent_a_snapshot() -> None:
    """A snapshot keeps one of the structs for each clock. Proves R-STATE-6."""
    with pytest.raises(Malformed):
        check(merge_updates(*CONTRADICTING))
    rest = update((7, 0, [in_root(ANY, NULL)]))
    snapshot = compact(None, [*CONTRADICTING, rest])
    document = SharedDocument.load([snapshot.update])
    assert document.clocks == {7: 1}
    assert document.pending == [
        update((9, 4, [after(STRING, encode_text("a😀"), (99, 5))])),
        update((9, 11, [after(BINARY, b"\x01z", (99, 5))])),
    ]
    assert compact(snapshot, []) == snapshot


def test_waiting_updates_do_not_replace_content_of_a_snapshot() -> None:
    """A snapshot leaves out a waiting struct if the document has another struct for its clocks. Proves R-STATE-6.

    The GC struct stands for deleted content. pycrdt would prefer the waiting item to it, and the snapshot would then
    lack all structs of client 5.
    """
    known = update((5, 0, [gap(GC, 1), in_root(ANY, NULL), in_root(ANY, NULL, key="l")]))
    other = update((5, 0, [inside(ANY, NULL, (6, 0)), inside(ANY, NULL, (6, 0), key="l")]))
    for updates in ([known, other], [other, known]):
        document = SharedDocument.load([compact(None, updates).update])
        assert document.clocks == {5: 3}
        assert content(document.missing(EMPTY_STATE_VECTOR)) == {"k": None, "l": None}
        assert not document.pending
