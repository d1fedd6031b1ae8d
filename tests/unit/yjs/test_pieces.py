"""Pieces of a large update: together they have its content, and few of them wait for later pieces."""

import itertools
import random
import tracemalloc
from typing import Any

import pytest
from pycrdt import Array, Doc, Map

from svgx_yjs import pieces as module
from svgx_yjs.lib0 import Decoder, Malformed
from svgx_yjs.nesting import Nesting
from svgx_yjs.pieces import Pieces, TooManyParts
from svgx_yjs.splitting import split
from svgx_yjs.structure import read_struct
from tests.unit.yjs.updates import (
    ANY,
    GC,
    NULL,
    SKIP,
    STRING,
    after,
    deletions,
    gap,
    in_root,
    inside,
    text,
    update,
)


def merged_content(updates: list[bytes]) -> object:
    """Return the content of a document that consists of these updates, with its state vector."""
    doc: Doc[Any] = Doc()
    for each in updates:
        doc.apply_update(each)
    return (
        doc.get("elements", type=Map).to_py(),
        doc.get("list", type=Array).to_py(),
        doc.get_state(),
    )


def random_edits(seed: int, clients: int, edits: int) -> bytes:
    """Return the update of a document with random edits by several clients.

    Before each edit, its client gets the edits of a random client.
    """
    rng = random.Random(seed)
    docs: list[Doc[Any]] = [Doc(client_id=number + 1) for number in range(clients)]
    for _ in range(edits):
        doc = rng.choice(docs)
        other = rng.choice(docs)
        doc.apply_update(other.get_update(doc.get_state()))
        elements, items = doc.get("elements", type=Map), doc.get("list", type=Array)
        name = str(rng.randrange(20))
        choice = rng.random()
        if choice < 0.4 or name not in elements:
            elements[name] = Map({"tag": "path", "d": "M" * rng.randrange(200)})
        elif choice < 0.7:
            elements[name]["d"] = "L" * rng.randrange(200)
        elif choice < 0.8:
            del elements[name]
        else:
            items.insert(rng.randrange(len(items) + 1), name)
    result: Doc[Any] = Doc()
    for doc in docs:
        result.apply_update(doc.get_update())
    return result.get_update()


@pytest.mark.parametrize("max_bytes", [1, 100, 1000, 1_000_000])
@pytest.mark.parametrize(("clients", "edits"), [(1, 200), (2, 200), (20, 400)])
def test_pieces_have_the_content_of_the_update(clients: int, edits: int, max_bytes: int) -> None:
    """All pieces together give the same document, with the same history. Proves R-SYNC-16."""
    whole = random_edits(clients, clients, edits)
    pieces = list(Pieces(whole, max_bytes))
    assert merged_content(pieces) == merged_content([whole])
    assert len(pieces) > 1 or max_bytes > 1000
    longest_struct = 300
    assert all(len(piece) < max_bytes + longest_struct + 40 * clients for piece in pieces)


@pytest.mark.parametrize("clients", [1, 5, 40])
def test_few_pieces_wait_for_later_ones(clients: int) -> None:
    """A piece follows the pieces on which it depends, unless they depend on each other. Proves R-SYNC-16."""
    clocks: dict[int, int] = {}
    nesting = Nesting()
    waiting = total = 0
    for piece in Pieces(random_edits(clients, clients, 400), 200):
        parts = split(piece, clocks, nesting)
        clocks.update(parts.clocks)
        nesting.update(parts.nesting)
        waiting += parts.pending is not None
        total += 1
    assert total > 20
    assert waiting <= total // 10


CHAIN = update(
    (9, 0, [inside(ANY, NULL, (5, 0), key="a"), inside(ANY, NULL, (7, 1), key="b")]),
    (7, 0, [inside(ANY, NULL, (5, 0), key="c"), inside(ANY, NULL, (5, 1), key="d")]),
    (5, 0, [in_root(STRING, text("x")), in_root(STRING, text("y"))]),
)
LOOP = update(
    (9, 0, [in_root(ANY, NULL), inside(ANY, NULL, (7, 1))]),
    (7, 0, [inside(ANY, NULL, (9, 0)), after(ANY, NULL, (7, 0)), inside(ANY, NULL, (9, 1))]),
)
GAPS = update(
    (9, 5, [in_root(ANY, NULL), gap(SKIP, 3), gap(GC, 2), in_root(ANY, NULL)]),
    deleted=deletions((9, [(5, 1)]), (8, [(0, 1), (4, 2)])),
)


def structs_of(encoded: bytes) -> list[tuple[int, int, bytes]]:
    """Return client, first clock and bytes of each struct of an update, in the order of clients and clocks."""
    decoder = Decoder(encoded)
    found = []
    for _ in range(decoder.uint()):
        count, client, clock = decoder.uint(), decoder.uint(), decoder.uint()
        for _ in range(count):
            start = decoder.position
            length = read_struct(decoder, client, clock).length
            found.append((client, clock, encoded[start : decoder.position]))
            clock += length
    return sorted(found)


@pytest.mark.parametrize("whole", [CHAIN, LOOP, GAPS], ids=["chain", "loop", "gaps"])
def test_every_struct_and_deletion_is_in_one_piece(whole: bytes) -> None:
    """The pieces have, together, all structs and deletions of the update, each once. Proves R-SYNC-16."""
    expected = structs_of(whole)
    assert len(expected) == {CHAIN: 6, LOOP: 5, GAPS: 4}[whole]
    single = [structs_of(piece) for piece in Pieces(whole, 1) if piece[0]]
    assert [len(structs) for structs in single] == [1] * len(expected)
    assert sorted(itertools.chain(*single)) == expected
    (joined, *_) = Pieces(whole, 10**6)
    assert structs_of(joined) == expected
    for max_bytes in (1, 10**6):
        deleted = [piece for piece in Pieces(whole, max_bytes) if not piece[0]]
        assert deleted == ([b"\x00" + whole[-11:]] if whole == GAPS else [])


def test_chain_is_ordered_by_dependency() -> None:
    """The pieces of client 5 come first, and those of client 9 last. Proves R-SYNC-16."""
    assert [piece[2] for piece in Pieces(CHAIN, 1)] == [5, 5, 7, 7, 9, 9]


@pytest.mark.parametrize(
    "damaged",
    [
        CHAIN[:-3],
        CHAIN + b"\x00",
        b"\xff",
        update((5, 0, [])),
        update((5, 0, [in_root(ANY, NULL)]), (5, 1, [in_root(ANY, NULL)])),
    ],
)
def test_malformed_update_has_no_pieces(damaged: bytes) -> None:
    """A malformed update is refused before its first piece. Proves R-SYNC-8 and R-SYNC-16."""
    with pytest.raises(Malformed):
        Pieces(damaged, 1)


MANY = 5_000
COSTLY_UPDATES = {
    "dependencies on unknown clients": (
        update((7, 0, [inside(ANY, NULL, (9000, clock)) for clock in range(MANY)])),
        4,
    ),
    "dependencies on each other": (
        update(
            (7, 0, [inside(ANY, NULL, (8, clock)) for clock in range(MANY)]),
            (8, 0, [inside(ANY, NULL, (7, clock)) for clock in range(MANY)]),
        ),
        4,
    ),
    "deletions": (update(deleted=deletions((7, [(2 * n, 1) for n in range(MANY)]))), 4),
    "clients with deletions": (
        update(deleted=deletions(*((client, [(0, 1)]) for client in range(MANY)))),
        # The factor is larger, because the clients are in a set. An update has at most `MAX_CLIENTS` clients.
        40,
    ),
    "characters of two code units": (
        update((7, 0, [in_root(STRING, text("\N{ARTIST PALETTE}" * MANY))])),
        8,
    ),
}
"""Updates, and the memory that each may take, as a multiple of its size."""


@pytest.mark.parametrize(("whole", "factor"), COSTLY_UPDATES.values(), ids=COSTLY_UPDATES)
def test_memory_is_proportional_to_the_update(
    whole: bytes, factor: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond the limit of runs, structs take no memory besides their bytes. Proves R-SOCKET-5."""
    monkeypatch.setattr(module, "MAX_RUNS", 10)
    tracemalloc.start()
    try:
        for piece in Pieces(whole, 10_000):
            assert len(piece) < 10_100 or len(whole) < 2 * len(piece)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < factor * len(whole)


@pytest.mark.parametrize("max_runs", [0, 1, 50])
def test_pieces_beyond_the_limit_of_runs_have_the_content_of_the_update(
    max_runs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limit affects only the order of the pieces. Proves R-SYNC-16 and R-SOCKET-5."""
    monkeypatch.setattr(module, "MAX_RUNS", max_runs)
    whole = random_edits(5, 10, 400)
    assert merged_content(list(Pieces(whole, 200))) == merged_content([whole])


UPDATES_BEYOND_A_LIMIT = {
    "structs": (update((7, 0, [gap(GC, 1)] * 6)), "MAX_STRUCTS"),
    "structs of two clients": (update(*((n, 0, [gap(GC, 1)] * 3) for n in (7, 8))), "MAX_STRUCTS"),
    "deleted ranges": (
        update((7, 0, [gap(GC, 9)]), deleted=deletions((7, [(n, 1) for n in range(0, 10, 2)]))),
        "MAX_STRUCTS",
    ),
    "declared structs": (b"\x01\xff\xff\x7f\x07\x00\x00", "MAX_STRUCTS"),
    "clients": (update(*((n, 0, [gap(GC, 1)]) for n in range(6))), "MAX_CLIENTS"),
    "clients with deletions": (
        update(deleted=deletions(*((n, []) for n in range(6)))),
        "MAX_CLIENTS",
    ),
    "values": (update((7, 0, [in_root(ANY, b"\x20" + b"\x7e" * 32)])), "MAX_VALUES"),
    "values inside a value": (
        update((7, 0, [in_root(ANY, b"\x01\x75\x20" + b"\x7e" * 32)])),
        "MAX_VALUES",
    ),
}
"""Updates, and the limit that each exceeds."""


@pytest.mark.parametrize(
    ("whole", "limit"), UPDATES_BEYOND_A_LIMIT.values(), ids=UPDATES_BEYOND_A_LIMIT
)
def test_update_with_too_many_parts_is_refused(
    whole: bytes, limit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The parts of each kind are limited, because each part takes time. Proves R-SOCKET-5."""
    monkeypatch.setattr(module, "MAX_STRUCTS", 5)
    if limit != "MAX_STRUCTS":
        monkeypatch.setattr(module, "MAX_STRUCTS", 20)
        monkeypatch.setattr(module, limit, 5)
    with pytest.raises(TooManyParts, match=r"at most (5|20|25) "):
        Pieces(whole, 1000)
