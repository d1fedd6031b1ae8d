"""The prebuilt Yjs updates of the benchmark can be read by a Yjs library."""

import pytest
from pycrdt import Doc, Map, merge_updates

from bench.collab import edits
from bench.collab.arrivals import ranges
from bench.collab.documents import last_numbers


def document(*updates: bytes) -> Doc[Map[object]]:
    """Return a document with these updates."""
    doc: Doc[Map[object]] = Doc()
    for update in updates:
        doc.apply_update(update)
    return doc


@pytest.mark.parametrize("client", [1, 127, 128, 2**31, 2**32 - 1])
@pytest.mark.parametrize("text_bytes", [0, 1, 20_000])
def test_edits_of_a_writer_set_their_number(client: int, text_bytes: int) -> None:
    """The last edit wins, also when the encoded clock or number gets one byte longer."""
    writer = edits.Writer(client, text_bytes)
    updates = [writer.creation()]
    for number in range(1, 132):
        updates.append(writer.edit(number))
        if number in (1, 63, 64, 127, 128, 131):
            state = document(*updates).get_update()
            assert last_numbers(state, [writer.name]) == {writer.name: number}


def test_last_number_of_a_missing_element_is_negative() -> None:
    update = edits.Writer(5).creation()
    assert last_numbers(update, ["w5", "w6"]) == {"w5": 0, "w6": -1}


def test_ranges_of_a_merged_update_have_each_edit() -> None:
    """A server may merge the edits of several writers into one update, and drop their overwritten values."""
    writers = [edits.Writer(1), edits.Writer(2)]
    doc = document(*(writer.creation() for writer in writers))
    before = doc.get_state()
    for number in range(1, 4):
        for writer in writers:
            doc.apply_update(writer.edit(number))
    found = {client: (first, end) for client, first, end in ranges(doc.get_update(before))}
    edited = (edits.CREATION_CLOCKS, edits.CREATION_CLOCKS + 3)
    assert found == {1: edited, 2: edited}


def test_ranges_of_an_update_with_a_gap_leave_the_gap_out() -> None:
    writer = edits.Writer(1)
    merged = merge_updates(writer.creation(), writer.edit(1), writer.edit(3))
    first = edits.CREATION_CLOCKS
    assert set(ranges(merged)) == {(1, 0, first + 1), (1, first + 2, first + 3)}


def test_elements_are_complete() -> None:
    doc = document(*edits.elements(7, 25, per_update=10, attributes=2))
    found = doc.get(edits.ELEMENTS, type=Map).to_py()
    assert isinstance(found, dict)
    assert len(found) == 25
    assert found["7-24"] == {"tag": "rect", "attrs": {"attribute-0": 0, "attribute-1": 1}}


def test_past_clients_are_in_the_document() -> None:
    doc = document(*edits.past_clients(2**31, 70, per_update=32))
    written = {client for client, _, _ in ranges(doc.get_update())}
    assert written == set(range(2**31, 2**31 + 70))


def test_rivals_are_one_valid_update() -> None:
    doc = document(edits.rivals(2**31, 50))
    assert len(ranges(doc.get_update())) == 51
