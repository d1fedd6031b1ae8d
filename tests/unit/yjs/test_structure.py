"""An update is checked before anything interprets it, and split by what a document has."""

import pytest
from pycrdt import Doc, Map

from svgx_yjs import contents, structure
from svgx_yjs.lib0 import Encoder, Malformed
from svgx_yjs.nesting import Nesting
from svgx_yjs.structure import Split, read_state_vector, split
from tests.unit.canvas.updates import (
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


def of_new(content: bytes) -> Split:
    """Split for a document that has nothing."""
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
CONTENTS = [
    *((ANY, b"\x01" + value, 1) for value in VALUES),
    *((DOC, text("guid") + value, 1) for value in VALUES),
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


@pytest.mark.parametrize(("kind", "content", "length"), CONTENTS)
def test_every_content_of_yjs_passes_as_pycrdt_reads_it(
    kind: int, content: bytes, length: int
) -> None:
    """Proves R-SYNC-12: nothing honest is refused."""
    written = update((5, 0, [in_root(kind, content), in_root(ANY, NULL, key="next")]))
    parts = of_new(written)
    assert parts.ready is written
    assert parts.clocks == {5: length + 1}
    doc: Doc[Map[object]] = Doc()
    doc.apply_update(written)
    assert read_state_vector(doc.get_state()) == parts.clocks


def _json(depth: int) -> str:
    return "[" * depth + "]" * depth


HARM = {
    "a clock beyond 32 bits": bytes.fromhex("010107ffffffff0f040101740361626300"),
    "a clock beyond all": bytes.fromhex("010139f0b2fa8ec284031344c9f0b2fa8ec284030f0361626300"),
    "length 0": bytes.fromhex("0101050000000106010501"),
    "nothing": b"",
    "no deletions": b"\x00",
    "more after the end": b"\x00\x00\x00",
    "a count that is not there": b"\xff\xff\xff\xff\x0f",
    "structs that are not there": b"\x01\xff\xff\xff\x7f\x07\x00",
    "zeros in front": b"\x80\x00\x00",
    "an empty string": update((5, 0, [in_root(STRING, text(""))])),
    "no UTF-8": update((5, 0, [in_root(STRING, b"\x02\xff\xfe")])),
    "no values": update((5, 0, [in_root(ANY, b"\x00")])),
    "an unknown value": update((5, 0, [in_root(ANY, b"\x01\x10")])),
    "JSON of old": update((5, 0, [in_root(2, b"\x01" + text("1"))])),
    "a move": update((5, 0, [in_root(11, b"\x00")])),
    "an unknown kind": update((5, 0, [in_root(15, b"\x00")])),
    "an XML hook": update((5, 0, [in_root(TYPE, b"\x05" + text("n"))])),
    "an unknown type": update((5, 0, [in_root(TYPE, b"\x07")])),
    "an embed that is no JSON": update((5, 0, [in_root(EMBED, text("{"))])),
    "a format that is no JSON": update((5, 0, [in_root(FORMAT, text("b") + text("NaN"))])),
    "a format that is half a character": update(
        (5, 0, [in_root(FORMAT, text("b") + text('"\\ud83d"'))])
    ),
    "half a character that is overwritten": update(
        (5, 0, [in_root(EMBED, text('{"k": "\\ud83d", "k": 1}'))])
    ),
    "an embed that is no number": update((5, 0, [in_root(EMBED, text("[1e999]"))])),
    "an embed too large for 64 bits": update((5, 0, [in_root(EMBED, text(str(2**63)))])),
    "JSON too deep": update((5, 0, [in_root(EMBED, text(_json(contents.MAX_JSON_DEPTH + 1)))])),
    "a client twice": update((5, 0, [gap(GC, 1)]), (5, 1, [gap(GC, 1)])),
    "a client for nothing": update((5, 0, [])),
    "deletions of a client twice": update(deleted=deletions((5, [(0, 1)]), (5, [(1, 1)]))),
    "a deletion of nothing": update(deleted=deletions((5, [(0, 0)]))),
    "a deletion beyond 32 bits": update(deleted=deletions((5, [(2**31 - 1, 1)]))),
    "beside itself": update((5, 0, [between(STRING, text("a"), (4, 0), (5, 0))])),
    "inside itself": update((5, 0, [inside(TYPE, MAP, (5, 0))])),
    "values too deep": nested_values(contents.MAX_DEPTH + 1),
}


@pytest.mark.parametrize("harm", HARM.values(), ids=HARM.keys())
def test_what_could_harm_is_refused(harm: bytes) -> None:
    """Proves R-SYNC-12 and R-SYNC-11."""
    with pytest.raises(Malformed):
        of_new(harm)


_CHARACTER = in_root(STRING, text("a𝄞b"))
NOWHERE = {
    "between two lists": update(
        (5, 0, [in_root(ANY, NULL), in_root(ANY, NULL, key="l")]),
        (6, 0, [between(ANY, NULL, (5, 0), (5, 1))]),
    ),
    "after half a character": update((5, 0, [_CHARACTER]), (6, 0, [after(ANY, NULL, (5, 1))])),
    "before half a character": update(
        (5, 0, [_CHARACTER]), (6, 0, [between(ANY, NULL, (5, 0), (5, 2))])
    ),
    "a deletion from half a character": update(
        (5, 0, [_CHARACTER]), deleted=deletions((5, [(2, 2)]))
    ),
    "a deletion to half a character": update(
        (5, 0, [_CHARACTER]), deleted=deletions((5, [(0, 2)]))
    ),
    "inside a text": update(
        (5, 0, [in_root(STRING, text("a")), inside(STRING, text("b"), (5, 0))])
    ),
    "inside a value": update((5, 0, [in_root(ANY, NULL), inside(ANY, NULL, (5, 0))])),
    "types too deep": nested_types(structure.MAX_DEPTH + 1),
}


@pytest.mark.parametrize("content", NOWHERE.values(), ids=NOWHERE.keys())
def test_what_can_go_nowhere_is_known(content: bytes) -> None:
    """Proves R-SYNC-12 and R-SYNC-11: pycrdt fails on it, counts wrongly, never returns, or ends the process."""
    assert of_new(content).hopeless


def test_depth_is_counted_through_neighbours_and_other_updates() -> None:
    """Proves R-SYNC-11: beside a nested item is as deep as inside of its parent."""
    known: dict[int, int] = {}
    nesting = Nesting()
    first = split(nested_types(structure.MAX_DEPTH - 1), known, nesting)
    known.update(first.clocks)
    nesting.update(first.nesting)
    last = structure.MAX_DEPTH - 2
    deepest = split(update((8, 0, [inside(TYPE, MAP, (7, last))])), known, nesting)
    assert not deepest.hopeless
    known.update(deepest.clocks)
    nesting.update(deepest.nesting)
    beside = split(update((9, 0, [after(TYPE, MAP, (8, 0))])), known, nesting)
    assert not beside.hopeless
    known.update(beside.clocks)
    nesting.update(beside.nesting)
    assert split(update((10, 0, [inside(ANY, NULL, (9, 0))])), known, nesting).hopeless


def test_inside_of_what_is_deleted_anything_may_lie() -> None:
    """A map may be deleted while somebody writes into it."""
    written = update((5, 0, [gap(GC, 2), inside(ANY, NULL, (5, 1))]))
    assert of_new(written).ready is written


def test_what_is_there_already_is_not_looked_at_again() -> None:
    """Proves R-SAVE-8; and nobody can make a type of what is none by sending it again."""
    known: dict[int, int] = {}
    nesting = Nesting()
    value = split(update((5, 0, [in_root(ANY, NULL)])), known, nesting)
    known.update(value.clocks)
    nesting.update(value.nesting)
    for lie in (in_root(TYPE, MAP), gap(GC, 2)):
        liar = update((5, 0, [lie]), (6, 0, [inside(ANY, NULL, (5, 0))]))
        assert split(liar, known, nesting).hopeless


def test_whole_characters_may_be_cut_out() -> None:
    """As every editor does."""
    written = update(
        (5, 0, [_CHARACTER]),
        (6, 0, [between(ANY, NULL, (5, 2), (5, 3)), between(ANY, NULL, (5, 0), (5, 1))]),
        deleted=deletions((5, [(1, 2)])),
    )
    assert of_new(written).ready is written


def test_the_rest_of_a_struct_lies_where_its_first_part_does() -> None:
    """Clients send two edits as one when they have to repeat them; who lies about where is told apart."""
    known, nesting = {5: 1}, Nesting()
    nesting.update(of_new(update((5, 0, [in_root(STRING, text("a"))]))).nesting)
    honest = update((5, 0, [in_root(STRING, text("abc"))]))
    assert split(honest, known, nesting).clocks == {5: 3}
    liar = update((5, 0, [in_root(STRING, text("abc"), key="l")]))
    assert split(liar, known, nesting).hopeless


def test_what_was_deleted_since_it_was_sent_goes_on() -> None:
    """Proves R-SYNC-12: a client that deletes a map says of its content only that it is gone, also of what is known."""
    known: dict[int, int] = {}
    nesting = Nesting()
    seen = split(
        update((5, 0, [in_root(TYPE, MAP), inside(STRING, text("abc"), (5, 0))])), known, nesting
    )
    known.update(seen.clocks)
    nesting.update(seen.nesting)
    answer = update((5, 0, [in_root(DELETED, b"\x01"), gap(GC, 6)]))
    assert split(answer, known, nesting).clocks == {5: 7}


def test_what_is_known_ends_between_characters() -> None:
    """Proves R-SYNC-12: pycrdt would count half a character as nothing."""
    known, nesting = {5: 2}, Nesting()
    nesting.update(of_new(update((5, 0, [in_root(STRING, text("a")), gap(GC, 1)]))).nesting)
    assert split(update((5, 0, [_CHARACTER])), known, nesting).hopeless


def test_deletions_are_put_in_order() -> None:
    """Proves R-SYNC-14: out of order, 40,000 take pycrdt minutes."""
    written = update(
        (5, 0, [in_root(STRING, text("abcde"))]),
        deleted=deletions((5, [(4, 1), (2, 1), (0, 1)])),
    )
    assert of_new(written).ready == update(
        (5, 0, [in_root(STRING, text("abcde"))]),
        deleted=deletions((5, [(0, 1), (2, 1), (4, 1)])),
    )


def test_what_waits_is_in_small_pieces() -> None:
    """Proves R-SYNC-14: what makes a little of it possible costs the reading of a little."""
    count = 10_000
    structs = [after(ANY, NULL, (6, 0)), *[in_root(ANY, NULL)] * (count - 1)]
    ranges = [(2 * clock, 1) for clock in range(count)]
    parts = of_new(update((5, 0, structs), deleted=deletions((7, ranges))))
    assert max(len(piece) for piece, _ in parts.pieces) < structure.PIECE_BYTES + 100
    known: dict[int, int] = {6: 1}
    nesting = Nesting()
    nesting.update(of_new(update((6, 0, [in_root(ANY, NULL)]))).nesting)
    for piece, (client, clock) in parts.pieces:
        if client == 7:
            known[7] = clock + 1
        else:
            assert known[client] == clock + 1
        made_possible = split(piece, known, nesting)
        assert made_possible.ready is not None
        known.update(made_possible.clocks)
        nesting.update(made_possible.nesting)
    assert known[5] == count


def test_what_is_known_is_not_said_again() -> None:
    """Proves R-SYNC-12: pycrdt might make something else of it."""
    known, nesting = {5: 2}, Nesting()
    written = update((5, 0, [gap(GC, 1), in_root(STRING, text("x")), in_root(ANY, NULL)]))
    assert split(written, known, nesting).ready == update((5, 2, [in_root(ANY, NULL)]))


def test_what_waits_is_split_off() -> None:
    """Proves R-SAVE-9: to the struct, and to the deleted clock."""
    written = update(
        (5, 0, [in_root(ANY, NULL), after(ANY, NULL, (6, 3)), in_root(ANY, NULL, key="l")]),
        (7, 0, [in_root(ANY, NULL, key="m")]),
        deleted=deletions((7, [(0, 4)]), (8, [(2, 1)])),
    )
    parts = of_new(written)
    assert parts.ready == update(
        (5, 0, [in_root(ANY, NULL)]),
        (7, 0, [in_root(ANY, NULL, key="m")]),
        deleted=deletions((7, [(0, 1)])),
    )
    assert parts.waiting == update(
        (5, 1, [after(ANY, NULL, (6, 3)), in_root(ANY, NULL, key="l")]),
        deleted=deletions((7, [(1, 3)]), (8, [(2, 1)])),
    )
    assert dict(parts.pieces) == {
        update((5, 1, [after(ANY, NULL, (6, 3)), in_root(ANY, NULL, key="l")])): (6, 3),
        update(deleted=deletions((7, [(1, 3)]))): (7, 1),
        update(deleted=deletions((8, [(2, 1)]))): (8, 2),
    }
    assert not parts.hopeless


def test_sections_that_need_each_other_are_ready_in_any_order() -> None:
    """Yjs writes the client with the highest number first, whatever depends on what."""
    first = [in_root(TYPE, MAP), inside(ANY, NULL, (6, 0)), inside(ANY, NULL, (6, 1), key="l")]
    second = [inside(TYPE, MAP, (5, 0)), inside(TYPE, MAP, (6, 0), key="m")]
    for sections in (((5, 0, first), (6, 0, second)), ((6, 0, second), (5, 0, first))):
        written = update(*sections)
        assert of_new(written).ready is written


def test_a_skip_holds_nothing() -> None:
    """What comes after a gap waits for what the gap stands for."""
    written = update((5, 0, [gap(GC, 1), gap(SKIP, 2), gap(GC, 1)]))
    parts = of_new(written)
    assert [lacking for _, lacking in parts.pieces] == [(5, 2)]
    assert parts.clocks == {5: 1}
    known = {5: 3}
    assert split(written, known, Nesting()).clocks == {5: 4}


@pytest.mark.parametrize(
    "vector",
    [b"", b"\x01", b"\x01\x05", b"\xff\xff\xff\x7f", b"\x00\x00", b"\x01\x05\xff\xff\xff\xff\x0f"],
)
def test_a_state_vector_is_what_it_says(vector: bytes) -> None:
    """Proves R-SYNC-12: six bytes would reserve half a gigabyte."""
    with pytest.raises(Malformed):
        read_state_vector(vector)


def test_a_long_chain_of_blocked_sections_takes_linear_time() -> None:
    """Each client's struct waits for the next client's: looked at again only when that has come."""
    count = 20_000
    sections = [(n, 0, [after(ANY, NULL, (n + 1, 0))]) for n in range(count)]
    last = (count, 0, [in_root(ANY, NULL)])
    encoder = Encoder().uint(count + 1)
    for client, clock, structs in [*sections, last]:
        encoder.uint(len(structs)).uint(client).uint(clock).raw(b"".join(structs))
    assert len(of_new(encoder.uint(0).finish()).clocks) == count + 1
