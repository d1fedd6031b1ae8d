"""Edits that are integrated in several turns, and the deletions that a document is known to have."""

import random
import time
from typing import Any

import pytest
from pycrdt import Doc, Map, merge_updates

from svgx_canvas.document import known_deletions, pycrdt_document, shared_document
from svgx_canvas.document.deletion_groups import DeletionGroups
from svgx_canvas.document.known_deletions import KnownDeletions
from svgx_canvas.document.pycrdt_document import FEW_STRUCTS
from svgx_canvas.document.shared_document import FEW_RANGES, SharedDocument, TooSlow
from svgx_yjs import splitting
from svgx_yjs.delete_set import Range, Ranges, merge_ranges
from svgx_yjs.joining import join_first
from svgx_yjs.lib0 import Encoder
from svgx_yjs.parts import Part
from svgx_yjs.structure import GC
from tests.unit.canvas.histories import content, history
from tests.unit.yjs.updates import (
    DELETED,
    STRING,
    after,
    deletions,
    gap,
    in_root,
    text,
    update,
)


def random_ranges(rng: random.Random, count: int) -> list[Range]:
    """Return ranges in order. Some of them overlap or touch."""
    return sorted((rng.randrange(5 * count), rng.randrange(1, 6)) for _ in range(count))


def clocks_of(ranges: list[Range]) -> set[int]:
    return {clock for first, length in ranges for clock in range(first, first + length)}


@pytest.mark.parametrize("seed", range(60))
def test_known_deletions_are_the_added_ones(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Few and many ranges are added to the known ones in the same way. Proves R-BOUND-3."""
    rng = random.Random(seed)
    monkeypatch.setattr(known_deletions, "MAX_ADDED", rng.choice([0, 2, 1_000]))
    known = KnownDeletions()
    clocks: set[int] = set()
    for _ in range(8):
        ranges = random_ranges(rng, rng.choice([0, 1, 5, 100]))
        known.add({1: ranges})
        clocks |= clocks_of(ranges)
        if rng.random() < 0.5:
            continue
        for clock in range(500):
            assert (known.unknown({1: [(clock, 1)]}) == {}) == (clock in clocks)
        assert known.unknown({1: [*ranges, (1_000, 1)], 2: [(0, 1)]}) == {
            1: [(1_000, 1)],
            2: [(0, 1)],
        }


@pytest.mark.parametrize("seed", range(60))
def test_groups_have_all_deletions_within_their_limits(seed: int) -> None:
    """A group has few ranges and clocks. No range is cut where a cut is forbidden. Proves R-BOUND-1."""
    rng = random.Random(seed)
    ranges: Ranges = {client: random_ranges(rng, 40) for client in (1, 2)}
    ranges[3] = [(0, 10_000)]
    groups = DeletionGroups(ranges, lambda _, clock: clock % 3 == 0)
    deleted: dict[int, set[int]] = {1: set(), 2: set(), 3: set()}
    while groups:
        group = groups.take(8)
        assert sum(map(len, group.values())) <= 8
        assert sum(length for each in group.values() for _, length in each) < 8 * 16 + 6
        for client, taken in group.items():
            assert taken == sorted(taken)
            deleted[client] |= clocks_of(taken)
            starts = {clock for clock, _ in merge_ranges(ranges[client])}
            assert taken[0][0] in starts or taken[0][0] % 3 == 0
    assert deleted == {client: clocks_of(each) for client, each in ranges.items()}


def deleted_clocks(document: SharedDocument) -> dict[int, set[int]]:
    """Return the deleted clocks of each client."""
    return {client: clocks_of(ranges) for client, ranges in document._pycrdt.read_deletions()}


def count_deleted_clocks(document: SharedDocument) -> dict[int, int]:
    """Return the number of deleted clocks of each client."""
    return {
        client: sum(length for _, length in ranges)
        for client, ranges in document._pycrdt.read_deletions()
    }


def random_edits(rng: random.Random, seed: int) -> list[bytes]:
    """Return the edits of a history in any order. Some edits are merged, so that large parts of them are pending."""
    edits = history(seed)
    merged = []
    while edits:
        count = rng.choice([1, 1, 8])
        merged.append(merge_updates(*edits[:count]))
        del edits[:count]
    rng.shuffle(merged)
    return merged


@pytest.mark.parametrize("many_clients", [0, 1000])
@pytest.mark.parametrize("seed", range(40))
def test_edits_that_are_resumed_make_the_same_document(
    seed: int, many_clients: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Deletions and released pieces are integrated in many turns. Proves R-BOUND-1, R-SYNC-1 and R-SAVE-9.

    The changes, the document, and the journal entries of the parts have the content of the edits.
    """
    monkeypatch.setattr(shared_document, "FEW_RANGES", 1)
    monkeypatch.setattr(pycrdt_document, "FEW_STRUCTS", 1)
    monkeypatch.setattr(shared_document, "FIRST_GROUP", 1)
    monkeypatch.setattr(shared_document, "LARGEST_GROUP", 1)
    monkeypatch.setattr(pycrdt_document, "RANGES_PER_CALL", 1)
    monkeypatch.setattr(splitting, "STEP_STRUCTS", 1)
    monkeypatch.setattr(shared_document, "MANY_CLIENTS", many_clients)
    rng = random.Random(seed)
    monkeypatch.setattr(pycrdt_document, "MAX_COMPARISONS", rng.choice([1, 1_000, 1_000_000]))
    edits = random_edits(rng, seed)
    whole = SharedDocument.load(edits).missing(b"\x00")
    expected = content(*edits)
    document = SharedDocument.load()
    document.edit_seconds = float("inf")
    changes: list[bytes] = []
    saved: list[Part] = []
    resumed = 0
    for edit in [*edits, whole]:
        saved += document.take(edit, author="ann", seconds=0.0)
        while document.is_unfinished:
            if rng.random() < 0.5:
                changes += document.flush()
            saved += document.resume(seconds=0.0)
            resumed += 1
    changes += document.flush()
    assert resumed > 10
    assert (document.pending, document.left_out) == ([], 0)
    assert content(*changes) == expected
    assert content(document.missing(b"\x00")) == expected
    assert document.take(whole, author="ann") == []
    entries = []
    while saved:
        entry, count = join_first(saved, 1000)
        entries.append(entry)
        del saved[:count]
    loaded = SharedDocument.load(entries)
    assert (loaded.pending, loaded.left_out) == ([], 0)
    assert (loaded.clocks, deleted_clocks(loaded)) == (document.clocks, deleted_clocks(document))
    assert content(loaded.missing(b"\x00")) == expected


def test_time_of_released_pieces_counts_for_their_authors() -> None:
    """The author of the edit that releases the pieces does not pay for them. Proves R-BOUND-1.

    No piece is cut, although each of them takes longer than the limit of an edit.
    """
    document = SharedDocument.load()
    document.edit_seconds = -1.0
    for client, author in ((10, "ann"), (11, "bob")):
        structs = [after(STRING, text("a"), (5, 0)) for _ in range(FEW_STRUCTS + 1)]
        document.take(update((client, 0, structs)), author=author)
    document.take(update((5, 0, [in_root(STRING, text("a"))])), author="eve", seconds=0.0)
    turns = 0
    while document.is_unfinished:
        document.resume(seconds=0.0)
        turns += 1
    assert turns > 2 * (FEW_STRUCTS // 16)
    assert set(document.spent) == {"ann", "bob"}
    assert document.clocks == {5: 1, 10: FEW_STRUCTS + 1, 11: FEW_STRUCTS + 1}
    assert document.left_out == 0


@pytest.mark.parametrize("count", [1, 2_000])
@pytest.mark.parametrize("is_waiting", [False, True])
def test_deletion_of_one_struct_with_a_billion_clocks_is_fast(
    count: int, *, is_waiting: bool
) -> None:
    """A group may have a thousand ranges, equal ranges count once, and turns save one part each. Proves R-BOUND-1."""
    whole = update((5, 0, [gap(GC, 1 << 30)]))
    deleting = update(deleted=deletions((5, [(0, 1 << 30)] * count)))
    document = SharedDocument.load([] if is_waiting else [whole])
    started = time.thread_time()
    saved = document.take(deleting, author="ann", seconds=0.1)
    saved += document.take(whole, author="ann", seconds=0.1) if is_waiting else []
    while document.is_unfinished:
        saved += document.resume(seconds=0.1)
    assert time.thread_time() - started < 20
    assert len(saved) < 200
    assert count_deleted_clocks(document) == {5: 1 << 30}


@pytest.mark.parametrize("released", [False, True])
@pytest.mark.parametrize("kind", [GC, DELETED])
def test_deletions_of_deleted_structs_with_billions_of_clocks_are_left_out(
    kind: int, *, released: bool
) -> None:
    """Such an edit is short, and needs no group for these deletions. Proves R-BOUND-1.

    The time counts for the author. The deletions of other structs in the same edit are integrated.
    """
    clocks = 2**31 - 100
    huge = gap(GC, clocks)
    if kind == DELETED:
        huge = in_root(DELETED, Encoder().uint(clocks).finish(), key="huge")
    sections = [(client, 0, [huge]) for client in range(20, 10, -1)]
    everything = [(client, [(0, clocks)]) for client in range(20, 10, -1)]
    deleted = deletions(*everything, (5, [(0, 1)]))
    shown = update((5, 0, [in_root(STRING, text("a"))]))
    document = SharedDocument.load([] if released else [shown])
    document.take(update(*sections, deleted=deleted), author="ann", seconds=0.0)
    if released:
        document.take(shown, author="bob", seconds=0.0)
    turns = 0
    while document.is_unfinished:
        document.resume(seconds=0.0)
        turns += 1
    assert turns <= 5
    assert document.spent["ann"] > 0
    assert content(document.missing(b"\x00")) == content(
        update((5, 0, [in_root(STRING, text("a"))]), deleted=deletions((5, [(0, 1)])))
    )


def test_fast_deletions_do_not_make_up_for_slow_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """A struct of 16 million clocks gives an edit no time for its other deletions. Proves R-BOUND-1."""
    slow = in_root(STRING, text("x" * 1_000_000))
    document = SharedDocument.load([update((5, 0, [slow, gap(GC, 1 << 24)]))])
    document.edit_seconds = 0.05
    ranges = [*[(2 * number, 1) for number in range(30_000)], (1_000_000, 1 << 24)]
    monkeypatch.setattr(shared_document, "SECONDS_PER_DELETED_CLOCK", 1e-5)
    document.take(update(deleted=deletions((5, ranges))), author="ann", seconds=0.0)

    def refuse(*_: object) -> None:
        raise ValueError("no time")

    def finish() -> None:
        while document.is_unfinished:
            document.resume(seconds=0.01, admit=refuse)

    with pytest.raises(ValueError, match="no time"):
        finish()
    assert not document.is_unfinished


def test_client_that_deletes_everything_is_accepted_in_turns() -> None:
    """An edit that deletes 4,000 elements of two clients needs several turns, and loses nothing. Proves R-BOUND-1."""
    doc: Doc[Any] = Doc(client_id=1)
    elements = doc.get("elements", type=Map)
    other: Doc[Any] = Doc(client_id=2)
    with doc.transaction():
        for number in range(4_000):
            elements[f"e{number}"] = Map({"tag": "rect", "attrs": Map({"x": "1"})})
    other.apply_update(doc.get_update())
    others = other.get("elements", type=Map)
    with other.transaction():
        for number in range(0, 4_000, 2):
            others[f"e{number}"] = Map({"tag": "path"})
    doc.apply_update(other.get_update(doc.get_state()))
    before = doc.get_update()
    edits: list[bytes] = []
    subscription = doc.observe(lambda event: edits.append(event.update))
    with doc.transaction():
        elements.clear()
    doc.unobserve(subscription)
    document = SharedDocument.load([before])
    (deleting,) = edits
    saved = document.take(deleting, author="ann", seconds=0.001)
    turns = 1
    while document.is_unfinished:
        saved += document.resume(seconds=0.001)
        turns += 1
    assert turns > 2
    assert content(document.missing(b"\x00")) == {}
    assert content(before, *[part.update for part in saved]) == {}
    assert document.spent["ann"] > 0


def cuts(first: int, count: int) -> bytes:
    """Return an edit that deletes every other character of client 5's text, from `first` on."""
    return update(deleted=deletions((5, [(first + 2 * number, 1) for number in range(count)])))


def test_time_of_short_deletions_is_measured_if_they_are_many_or_slow() -> None:
    """The queue has at most `FEW_RANGES` deleted ranges besides the first one of each edit. Proves R-BOUND-1.

    An edit beyond this limit is integrated at once. While the document measures its edits, the time of each deletion
    counts for its author.
    """
    long_text = update((5, 0, [in_root(STRING, text("x" * 100_000))]))
    document = SharedDocument.load([long_text])
    # A reading of the document's deletions would integrate the queue.
    document._may_refresh_at = float("inf")
    for first in range(0, 20 * FEW_RANGES, 20):
        document.take(cuts(first, 10), author="ann")
        assert document._pycrdt.queued_ranges <= FEW_RANGES
    assert document.spent["ann"] > 0
    document = SharedDocument.load([long_text])
    document.take(cuts(0, 1), author="ann")
    assert not document.spent
    document._pycrdt._measured_until = float("inf")
    document.take(cuts(10, 1), author="bob")
    assert set(document.spent) == {"bob"}


def test_deletions_of_an_edit_beyond_its_limit_are_not_integrated() -> None:
    """The deletions are refused with the rest of their edit, if its structs take too long. Proves R-BOUND-1."""
    document = SharedDocument.load([update((5, 0, [in_root(STRING, text("x" * 1_000))]))])
    document.edit_seconds = -1.0
    structs = [in_root(STRING, text("a")) for _ in range(FEW_RANGES + 1)]
    ranges = [(2 * number, 1) for number in range(FEW_RANGES + 1)]
    with pytest.raises(TooSlow) as slow:
        document.take(update((6, 0, structs), deleted=deletions((5, ranges))), author="ann")
    assert not document.is_unfinished
    assert not any(part.deletions for part in slow.value.parts)
