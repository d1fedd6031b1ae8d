"""Compaction keeps everything, also what cannot be applied yet. Proves R-SVG-8."""

import random

import pytest
from pycrdt import Doc, Map, Text, merge_updates

from svgx_canvas import SvgRefused, compact
from svgx_yjs.lib0 import encode_text, encode_uint

_Document = Doc[Map[object]]


def history(seed: int, length: int = 60) -> list[bytes]:
    """Updates of three clients that edit and delete at once, exchanging some of what they have."""
    rng = random.Random(seed)
    docs: list[_Document] = [Doc(client_id=client) for client in (1, 2, 3)]
    updates: list[bytes] = []
    for doc in docs:
        doc.get("elements", type=Map)
        doc.observe(lambda event: updates.append(event.update))
    for _ in range(length):
        doc = rng.choice(docs)
        elements = doc.get("elements", type=Map)
        key = f"k{rng.randrange(6)}"
        before = len(updates)
        if key in elements and rng.random() < 0.4:
            del elements[key]
        elif rng.random() < 0.3:
            with doc.transaction():
                elements[key] = Map({"tag": "rect", "text": Text("some text")})
        else:
            elements[key] = rng.randrange(100)
        new = updates[before:]
        for other in docs:
            if other is not doc and rng.random() < 0.5:
                for update in new:
                    other.apply_update(update)
        del updates[before + len(new) :]
    return updates


def content(*updates: bytes) -> object:
    # Merged first: pycrdt 0.14 loses edits when several updates that have to wait come one by one (see the last test).
    doc: _Document = Doc()
    doc.apply_update(merge_updates(*updates))
    return doc.get("elements", type=Map).to_py()


@pytest.mark.parametrize("seed", range(40))
def test_what_is_missing_can_still_arrive(seed: int) -> None:
    """Whatever part of the history is compacted, and however often: with the rest it is the whole."""
    rng = random.Random(seed)
    updates = history(seed)
    expected = content(*updates)
    early = [update for update in updates if rng.random() < 0.6]
    rng.shuffle(early)
    late = [update for update in updates if update not in early]
    half = len(early) // 2
    state = compact(compact(None, early[:half]), early[half:])
    assert content(state) == content(*early)
    assert content(state, *late) == expected
    assert content(compact(state, late)) == expected


def test_a_deletion_of_what_has_not_arrived_is_kept() -> None:
    """A document of pycrdt's alone loses it: this is what the second merge is for."""
    doc: _Document = Doc()
    elements = doc.get("elements", type=Map)
    updates: list[bytes] = []
    doc.observe(lambda event: updates.append(event.update))
    elements["a"] = 1
    del elements["a"]
    written, deleted = updates
    assert content(compact(None, [deleted]), written) == {}
    bare: _Document = Doc()
    bare.apply_update(deleted)
    assert content(bare.get_update(), written) == {"a": 1}
    # Nor is it lost beside others that can be applied, or a second time.
    other: _Document = Doc()
    other.get("elements", type=Map)["b"] = 2
    state = compact(compact(None, [other.get_update(), deleted]), [other.get_update()])
    assert content(state, written) == {"b": 2}


def test_what_was_overwritten_is_gone() -> None:
    doc: _Document = Doc()
    updates: list[bytes] = []
    elements = doc.get("elements", type=Map)
    doc.observe(lambda event: updates.append(event.update))
    for index in range(500):
        elements["a"] = f"value {index} " + "x" * 100
    state = compact(None, updates)
    assert len(state) < 400 < len(merge_updates(*updates)) // 100
    assert content(state) == {"a": "value 499 " + "x" * 100}


def test_nothing_compacts_to_nothing() -> None:
    assert compact(None, []) == b"\x00\x00"
    assert compact(b"\x00\x00", [b"\x00\x00"]) == b"\x00\x00"


def test_duplicates_change_nothing() -> None:
    updates = history(7)
    assert content(compact(compact(None, updates), updates)) == content(*updates)


@pytest.mark.parametrize("broken", [b"", b"\x01", b"\xff" * 20, b"hello"])
def test_what_is_no_update_is_refused(broken: bytes) -> None:
    with pytest.raises(SvgRefused) as refused:
        compact(None, [history(1)[0], broken])
    assert (refused.value.code, refused.value.field) == ("malformed", "state")


def test_strings_are_utf_8() -> None:
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


def test_updates_in_any_order() -> None:
    """One by one in this order, pycrdt's document loses the second; compaction does not."""
    doc: _Document = Doc(client_id=1)
    elements = doc.get("elements", type=Map)
    updates: list[bytes] = []
    doc.observe(lambda event: updates.append(event.update))
    elements["a"] = Map({"tag": "g"})
    elements["a"] = 27
    elements["b"] = 1
    first, second, third = updates
    assert content(compact(None, [second, third, first])) == {"a": 27, "b": 1}
    assert content(compact(compact(compact(None, [second]), [third]), [first])) == {"a": 27, "b": 1}
