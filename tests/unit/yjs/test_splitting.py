"""An update is checked, and split into the part that a document can integrate and the part that must wait."""

import pytest
from pycrdt import Doc, Map

from svgx_yjs import contents, short_edits, splitting
from svgx_yjs.lib0 import Encoder, Malformed
from svgx_yjs.nesting import Nesting
from svgx_yjs.parts import Split
from svgx_yjs.splitting import split
from svgx_yjs.structure import read_state_vector
from tests.unit.yjs.updates import (
    ANY,
    BINARY,
    DELETED,
    DOC,
    EMBED,
    FORMAT,
    GC,
    MAP,
    NULL,
    SKIP,
    STRING,
    TYPE,
    after,
    between,
    deletions,
    gap,
    in_root,
    inside,
    nested_types,
    nested_values,
    text,
    update,
)


def split_for_empty(content: bytes) -> Split:
    """Split an update for an empty document."""
    return split(content, {}, Nesting())


VALUES = [
    bytes.fromhex(value)
    for value in (
        "7f",  # undefined
        "7e",  # null
        "7d05",  # 5
        "7d8501",  # 69
        "7c3fc00000",  # 1.5 in 32 bits
        "7b3ff8000000000000",  # 1.5 in 64 bits
        "7a0000000000000005",  # 5n
        "79",  # false
        "78",  # true
        "770161",  # "a"
        "7600",  # {}
        "7601016b7d05",  # {"k": 5}
        "7500",  # []
        "75027e7601016b7500",  # [null, {"k": []}]
        "74020102",  # bytes
    )
]
OBJECT = 0x76
"""The first byte of an encoded object."""

CONTENTS = [
    *((ANY, b"\x01" + value, 1) for value in VALUES),
    *((DOC, text("guid") + value, 1) for value in VALUES if value[0] == OBJECT),
    (ANY, b"\x02\x7e\x7f", 2),
    (DELETED, b"\x03", 3),
    (BINARY, b"\x02xx", 1),
    (STRING, text("añ𝄞"), 4),
    (EMBED, text('{"a": 1}'), 1),
    (EMBED, text("[" * 100 + "1" + "]" * 100), 1),
    (EMBED, text('[-1.5e300, 9223372036854775807, 18446744073709551616, "\\ud83d\\ude00"]'), 1),
    (FORMAT, text("bold") + text("true"), 1),
    *((TYPE, bytes([kind]), 1) for kind in (0, 1, 2, 4, 6)),
    (TYPE, b"\x03" + text("rect"), 1),
]
"""The kind, the bytes and the length in clocks of valid contents."""


@pytest.mark.parametrize(("kind", "content", "length"), CONTENTS)
def test_valid_content_passes_with_the_clocks_of_pycrdt(
    kind: int, content: bytes, length: int
) -> None:
    """Proves R-SYNC-12: no content of a correct client is refused."""
    written = update((5, 0, [in_root(kind, content), in_root(ANY, NULL, key="next")]))
    parts = split_for_empty(written)
    assert parts.ready is written
    assert parts.clocks == {5: length + 1}
    doc: Doc[Map[object]] = Doc()
    doc.apply_update(written)
    assert read_state_vector(doc.get_state()) == parts.clocks


def _json(depth: int) -> str:
    """Return nested arrays in JSON."""
    return "[" * depth + "]" * depth


HARMFUL_UPDATES = {
    "a clock beyond 32 bits": bytes.fromhex("010107ffffffff0f040101740361626300"),
    "a clock beyond 53 bits": bytes.fromhex("010139f0b2fa8ec284031344c9f0b2fa8ec284030f0361626300"),
    "length 0": bytes.fromhex("0101050000000106010501"),
    "an empty update": b"",
    "no delete set": b"\x00",
    "trailing bytes": b"\x00\x00\x00",
    "a count of clients only": b"\xff\xff\xff\xff\x0f",
    "a count of structs only": b"\x01\xff\xff\xff\x7f\x07\x00",
    "leading zeros": b"\x80\x00\x00",
    "an empty string": update((5, 0, [in_root(STRING, text(""))])),
    "invalid UTF-8": update((5, 0, [in_root(STRING, b"\x02\xff\xfe")])),
    "content without values": update((5, 0, [in_root(ANY, b"\x00")])),
    "an unknown value": update((5, 0, [in_root(ANY, b"\x01\x10")])),
    "JSON of Yjs before version 13": update((5, 0, [in_root(2, b"\x01" + text("1"))])),
    "a move": update((5, 0, [in_root(11, b"\x00")])),
    "an unknown kind": update((5, 0, [in_root(15, b"\x00")])),
    "an XML hook": update((5, 0, [in_root(TYPE, b"\x05" + text("n"))])),
    "an unknown type": update((5, 0, [in_root(TYPE, b"\x07")])),
    "a subdocument with null as its options": update(
        (5, 0, [in_root(DOC, text("guid") + b"\x7e")])
    ),
    "an embed with invalid JSON": update((5, 0, [in_root(EMBED, text("{"))])),
    "a format with invalid JSON": update((5, 0, [in_root(FORMAT, text("b") + text("NaN"))])),
    "a format with a lone surrogate": update(
        (5, 0, [in_root(FORMAT, text("b") + text('"\\ud83d"'))])
    ),
    "a lone surrogate at a repeated key": update(
        (5, 0, [in_root(EMBED, text('{"k": "\\ud83d", "k": 1}'))])
    ),
    "an embed with an infinite number": update((5, 0, [in_root(EMBED, text("[1e999]"))])),
    "an embed with an integer from 2**63 to 2**64 - 1": update(
        (5, 0, [in_root(EMBED, text(str(2**63)))])
    ),
    "JSON nested too deep": update(
        (5, 0, [in_root(EMBED, text(_json(contents.MAX_JSON_DEPTH + 1)))])
    ),
    "a client twice": update((5, 0, [gap(GC, 1)]), (5, 1, [gap(GC, 1)])),
    "a client without structs": update((5, 0, [])),
    "deletions of a client twice": update(deleted=deletions((5, [(0, 1)]), (5, [(1, 1)]))),
    "an empty deletion": update(deleted=deletions((5, [(0, 0)]))),
    "a deletion beyond 31 bits": update(deleted=deletions((5, [(2**31 - 1, 1)]))),
    "an item beside itself": update((5, 0, [between(STRING, text("a"), (4, 0), (5, 0))])),
    "an item inside itself": update((5, 0, [inside(TYPE, MAP, (5, 0))])),
    "values nested too deep": nested_values(contents.MAX_DEPTH + 1),
}


@pytest.mark.parametrize("harmful", HARMFUL_UPDATES.values(), ids=HARMFUL_UPDATES.keys())
def test_harmful_update_is_refused(harmful: bytes) -> None:
    """An update that pycrdt or Yjs cannot handle is malformed. Proves R-SYNC-12 and R-SYNC-11."""
    with pytest.raises(Malformed):
        split_for_empty(harmful)


_SURROGATE_PAIR = in_root(STRING, text("a𝄞b"))
UNPLACEABLE_UPDATES = {
    "between two lists": update(
        (5, 0, [in_root(ANY, NULL), in_root(ANY, NULL, key="l")]),
        (6, 0, [between(ANY, NULL, (5, 0), (5, 1))]),
    ),
    "after half a character": update((5, 0, [_SURROGATE_PAIR]), (6, 0, [after(ANY, NULL, (5, 1))])),
    "before half a character": update(
        (5, 0, [_SURROGATE_PAIR]), (6, 0, [between(ANY, NULL, (5, 0), (5, 2))])
    ),
    "a deletion from half a character": update(
        (5, 0, [_SURROGATE_PAIR]), deleted=deletions((5, [(2, 2)]))
    ),
    "a deletion to half a character": update(
        (5, 0, [_SURROGATE_PAIR]), deleted=deletions((5, [(0, 2)]))
    ),
    "inside a string": update(
        (5, 0, [in_root(STRING, text("a")), inside(STRING, text("b"), (5, 0))])
    ),
    "inside a value": update((5, 0, [in_root(ANY, NULL), inside(ANY, NULL, (5, 0))])),
    "types nested too deep": nested_types(short_edits.MAX_DEPTH + 1),
}


@pytest.mark.parametrize("content", UNPLACEABLE_UPDATES.values(), ids=UNPLACEABLE_UPDATES.keys())
def test_unplaceable_update_is_reported(content: bytes) -> None:
    """Proves R-SYNC-12 and R-SYNC-11: on such an update, pycrdt would fail, count wrongly, never return or crash."""
    assert split_for_empty(content).unplaceable


def test_depth_includes_neighbours_and_known_structs() -> None:
    """Proves R-SYNC-11: an item beside a nested item is as deep as that item."""
    known: dict[int, int] = {}
    nesting = Nesting()
    first = split(nested_types(short_edits.MAX_DEPTH - 1), known, nesting)
    known.update(first.clocks)
    nesting.update(first.nesting)
    last = short_edits.MAX_DEPTH - 2
    deepest = split(update((8, 0, [inside(TYPE, MAP, (7, last))])), known, nesting)
    assert not deepest.unplaceable
    known.update(deepest.clocks)
    nesting.update(deepest.nesting)
    beside = split(update((9, 0, [after(TYPE, MAP, (8, 0))])), known, nesting)
    assert not beside.unplaceable
    known.update(beside.clocks)
    nesting.update(beside.nesting)
    assert split(update((10, 0, [inside(ANY, NULL, (9, 0))])), known, nesting).unplaceable


def test_item_inside_deleted_content_is_ready() -> None:
    """A client may delete a map while another client writes into it."""
    written = update((5, 0, [gap(GC, 2), inside(ANY, NULL, (5, 1))]))
    assert split_for_empty(written).ready is written


def test_resent_struct_does_not_replace_the_known_one() -> None:
    """Proves R-SAVE-8: a client cannot turn a value into a type by sending the value's struct again."""
    known: dict[int, int] = {}
    nesting = Nesting()
    value = split(update((5, 0, [in_root(ANY, NULL)])), known, nesting)
    known.update(value.clocks)
    nesting.update(value.nesting)
    for false_struct in (in_root(TYPE, MAP), gap(GC, 2)):
        written = update((5, 0, [false_struct]), (6, 0, [inside(ANY, NULL, (5, 0))]))
        assert split(written, known, nesting).unplaceable


def test_deletion_of_whole_characters_is_ready() -> None:
    """Every text editor deletes whole characters."""
    written = update(
        (5, 0, [_SURROGATE_PAIR]),
        (6, 0, [between(ANY, NULL, (5, 2), (5, 3)), between(ANY, NULL, (5, 0), (5, 1))]),
        deleted=deletions((5, [(1, 2)])),
    )
    assert split_for_empty(written).ready is written


def test_structs_merged_with_a_known_struct_must_be_in_its_list() -> None:
    """A client may resend a known struct merged with new structs.

    The new structs are unplaceable if the merged struct is in another list than the known struct.
    """
    known, nesting = {5: 1}, Nesting()
    nesting.update(split_for_empty(update((5, 0, [in_root(STRING, text("a"))]))).nesting)
    same_list = update((5, 0, [in_root(STRING, text("abc"))]))
    assert split(same_list, known, nesting).clocks == {5: 3}
    other_list = update((5, 0, [in_root(STRING, text("abc"), key="l")]))
    assert split(other_list, known, nesting).unplaceable


def test_gc_of_known_and_new_structs_is_ready() -> None:
    """Proves R-SYNC-12: a client that deletes a map sends the map's known and new structs as one GC."""
    known: dict[int, int] = {}
    nesting = Nesting()
    seen = split(
        update((5, 0, [in_root(TYPE, MAP), inside(STRING, text("abc"), (5, 0))])), known, nesting
    )
    known.update(seen.clocks)
    nesting.update(seen.nesting)
    collected = update((5, 0, [in_root(DELETED, b"\x01"), gap(GC, 6)]))
    assert split(collected, known, nesting).clocks == {5: 7}


def test_known_clocks_must_not_end_inside_a_character() -> None:
    """Proves R-SYNC-12: pycrdt counts half a character as zero clocks."""
    known, nesting = {5: 2}, Nesting()
    nesting.update(
        split_for_empty(update((5, 0, [in_root(STRING, text("a")), gap(GC, 1)]))).nesting
    )
    assert split(update((5, 0, [_SURROGATE_PAIR])), known, nesting).unplaceable


def test_deletions_are_sorted() -> None:
    """Proves R-BOUND-1: pycrdt needs 5 s for 40,000 deletions in descending order, and 0.2 s for sorted ones."""
    written = update(
        (5, 0, [in_root(STRING, text("abcde"))]),
        deleted=deletions((5, [(4, 1), (2, 1), (0, 1)])),
    )
    assert split_for_empty(written).ready == update(
        (5, 0, [in_root(STRING, text("abcde"))]),
        deleted=deletions((5, [(0, 1), (2, 1), (4, 1)])),
    )


def test_pending_structs_are_in_small_pieces() -> None:
    """Proves R-SYNC-14: when a struct arrives, only the small piece that waited for that struct is read again."""
    count = 10_000
    structs = [after(ANY, NULL, (6, 0)), *[in_root(ANY, NULL)] * (count - 1)]
    ranges = [(2 * clock, 1) for clock in range(count)]
    parts = split_for_empty(update((5, 0, structs), deleted=deletions((7, ranges))))
    assert max(len(piece) for piece, _ in parts.pieces) < splitting.PIECE_BYTES + 100
    known: dict[int, int] = {6: 1}
    nesting = Nesting()
    nesting.update(split_for_empty(update((6, 0, [in_root(ANY, NULL)]))).nesting)
    for piece, (client, clock) in parts.pieces:
        if client == 7:
            known[7] = clock + 1
        else:
            assert known[client] == clock + 1
        released = split(piece, known, nesting)
        assert released.ready is not None
        known.update(released.clocks)
        nesting.update(released.nesting)
    assert known[5] == count


def test_known_structs_are_not_in_the_ready_update() -> None:
    """Proves R-SYNC-12: pycrdt never reads a known struct again, because its content might differ."""
    known, nesting = {5: 2}, Nesting()
    written = update((5, 0, [gap(GC, 1), in_root(STRING, text("x")), in_root(ANY, NULL)]))
    assert split(written, known, nesting).ready == update((5, 2, [in_root(ANY, NULL)]))


def test_pending_structs_and_deletions_are_split_off() -> None:
    """Proves R-SAVE-9: each client's structs and deletions are split at the first that must wait."""
    written = update(
        (5, 0, [in_root(ANY, NULL), after(ANY, NULL, (6, 3)), in_root(ANY, NULL, key="l")]),
        (7, 0, [in_root(ANY, NULL, key="m")]),
        deleted=deletions((7, [(0, 4)]), (8, [(2, 1)])),
    )
    parts = split_for_empty(written)
    assert parts.ready == update(
        (5, 0, [in_root(ANY, NULL)]),
        (7, 0, [in_root(ANY, NULL, key="m")]),
        deleted=deletions((7, [(0, 1)])),
    )
    assert parts.pending == update(
        (5, 1, [after(ANY, NULL, (6, 3)), in_root(ANY, NULL, key="l")]),
        deleted=deletions((7, [(1, 3)]), (8, [(2, 1)])),
    )
    assert dict(parts.pieces) == {
        update((5, 1, [after(ANY, NULL, (6, 3)), in_root(ANY, NULL, key="l")])): (6, 3),
        update(deleted=deletions((7, [(1, 3)]))): (7, 1),
        update(deleted=deletions((8, [(2, 1)]))): (8, 2),
    }
    assert not parts.unplaceable


def test_sections_that_depend_on_each_other_are_ready_in_any_order() -> None:
    """Yjs writes the client with the highest number first, regardless of dependencies."""
    first = [in_root(TYPE, MAP), inside(ANY, NULL, (6, 0)), inside(ANY, NULL, (6, 1), key="l")]
    second = [inside(TYPE, MAP, (5, 0)), inside(TYPE, MAP, (6, 0), key="m")]
    for sections in (((5, 0, first), (6, 0, second)), ((6, 0, second), (5, 0, first))):
        written = update(*sections)
        assert split_for_empty(written).ready is written


def test_structs_after_a_skip_wait_for_its_clocks() -> None:
    """A skip stands for missing clocks. The structs after the skip wait for these clocks."""
    written = update((5, 0, [gap(GC, 1), gap(SKIP, 2), gap(GC, 1)]))
    parts = split_for_empty(written)
    assert [missing for _, missing in parts.pieces] == [(5, 2)]
    assert parts.clocks == {5: 1}
    known = {5: 3}
    assert split(written, known, Nesting()).clocks == {5: 4}


def test_pending_structs_are_cut_at_skips() -> None:
    """Proves R-SYNC-14: each piece has consecutive structs, and `spans` has the clocks of these structs."""
    structs = [in_root(ANY, NULL, key=key) for key in "abcd"]
    written = update(
        (5, 1, [structs[0], gap(SKIP, 2), gap(SKIP, 1), *structs[1:3], gap(SKIP, 9), structs[3]]),
        (6, 2, [in_root(STRING, text("ab")), gap(SKIP, 1)]),
        deleted=deletions((7, [(0, 1)])),
    )
    parts = split_for_empty(written)
    assert parts.pieces == (
        (update((5, 1, structs[:1])), (5, 0)),
        (update((5, 5, structs[1:3])), (5, 4)),
        (update((5, 16, structs[3:])), (5, 15)),
        (update((6, 2, [in_root(STRING, text("ab"))])), (6, 1)),
        (update(deleted=deletions((7, [(0, 1)]))), (7, 0)),
    )
    assert parts.spans == ((5, 1, 2), (5, 5, 7), (5, 16, 17), (6, 2, 4))
    assert parts.pending == written


def test_long_chain_of_blocked_sections_takes_linear_time() -> None:
    """Each client's struct waits for the struct of the next client, and is read again only after that struct."""
    count = 20_000
    sections = [(n, 0, [after(ANY, NULL, (n + 1, 0))]) for n in range(count)]
    last = (count, 0, [in_root(ANY, NULL)])
    encoder = Encoder().uint(count + 1)
    for client, clock, structs in [*sections, last]:
        encoder.uint(len(structs)).uint(client).uint(clock).raw(b"".join(structs))
    assert len(split_for_empty(encoder.uint(0).finish()).clocks) == count + 1
