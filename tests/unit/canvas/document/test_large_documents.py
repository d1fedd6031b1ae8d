"""Edits of documents with so many structs that pycrdt may need long to place a single struct."""

import pytest

from svgx_canvas.document import pycrdt_document
from svgx_canvas.document.outline import make_outline
from svgx_canvas.document.shared_document import SharedDocument, TooSlow
from svgx_yjs.nesting import Nesting
from svgx_yjs.splitting import STEP_STRUCTS, cut_steps, encode_steps, split
from tests.unit.canvas.histories import content, history
from tests.unit.yjs.updates import STRING, after, in_root, text, update

STRUCTS = 100
"""The number of structs of `large_document`. They form one list."""


def large_document() -> SharedDocument:
    """Return a document with a list of `STRUCTS` items that pycrdt cannot unite."""
    items = [in_root(STRING, text("a")), *[after(STRING, text("a"), (5, 0))] * (STRUCTS - 1)]
    return SharedDocument.load([update((5, 0, items))])


def insertions(client: int, count: int) -> bytes:
    """Return an edit of `count` structs. pycrdt compares each of them with all items of the list."""
    return update((client, 0, [after(STRING, text("b"), (5, 0))] * count))


@pytest.mark.parametrize(
    ("comparisons", "integrated"), [(1, 1), (3 * STRUCTS, 3), (7 * STRUCTS, 7), (8 * STRUCTS, None)]
)
def test_slow_edit_is_cut_by_the_number_of_structs_in_the_document(
    comparisons: int, integrated: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If a document has many structs, an edit of a few structs is measured, and cut between these. Proves R-BOUND-1."""
    monkeypatch.setattr(pycrdt_document, "MAX_COMPARISONS", comparisons)
    document = large_document()
    document.edit_seconds = -1.0
    if integrated is None:
        (part,) = document.take(insertions(6, 8), author="ann")
    else:
        with pytest.raises(TooSlow) as slow:
            document.take(insertions(6, 8), author="ann")
        (part,) = slow.value.parts
    assert ("ann" in document.spent) == (integrated is not None)
    assert [run.structs for run in part.runs] == [integrated or 8]
    assert document.clocks == {5: STRUCTS, 6: integrated or 8}


def loaded_from_outline(content: bytes) -> SharedDocument:
    """Return the document of a snapshot that is loaded with its outline."""
    outline = make_outline(content)
    assert outline is not None
    return SharedDocument.load([content], outline=outline)


@pytest.mark.parametrize("outlined", [False, True])
@pytest.mark.parametrize(
    ("list_length", "measured"), [(STRUCTS // 10, False), (STRUCTS // 2, True), (STRUCTS, True)]
)
def test_edit_is_measured_by_the_length_of_the_longest_list(
    monkeypatch: pytest.MonkeyPatch, *, list_length: int, measured: bool, outlined: bool
) -> None:
    """An edit is not measured if pycrdt compares each of its structs with few others. Proves R-BOUND-1.

    The document is as large with many short lists as with one long list. An outline has the length of the longest list.
    """
    monkeypatch.setattr(pycrdt_document, "MANY_STRUCTS", STRUCTS - 1)
    monkeypatch.setattr(pycrdt_document, "MAX_COMPARISONS", 8 * STRUCTS // 3)
    items = []
    for clock in range(STRUCTS):
        start = clock - clock % list_length
        first = in_root(STRING, text("a"), key=str(start))
        items.append(first if clock == start else after(STRING, text("a"), (5, start)))
    content = update((5, 0, items))
    document = loaded_from_outline(content) if outlined else SharedDocument.load([content])
    document.take(insertions(6, 8), author="ann")
    assert ("ann" in document.spent) == measured
    document.take(insertions(7, 8), author="bob")
    document.take(update((8, 0, [in_root(STRING, text("b"), key="new")] * 8)), author="bob")
    assert ("bob" in document.spent) == measured


def test_list_that_grows_by_edits_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """The length of a list counts the structs of the journal and those of all edits. Proves R-BOUND-1."""
    monkeypatch.setattr(pycrdt_document, "MANY_STRUCTS", 0)
    monkeypatch.setattr(pycrdt_document, "MAX_COMPARISONS", 8 * STRUCTS)
    items = [in_root(STRING, text("a"), key=str(clock)) for clock in range(2 * STRUCTS)]
    document = SharedDocument.load([update((5, 0, items))])
    for client in range(STRUCTS // 8):
        document.take(insertions(6 + client, 8), author="ann")
        document.flush()
    assert dict(document.spent) == {}
    for client in range(STRUCTS // 8, STRUCTS // 4):
        document.take(insertions(6 + client, 8), author="bob")
        document.flush()
    assert set(document.spent) == {"bob"}


def test_queue_with_many_comparisons_is_integrated_and_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Many short edits do not wait for one long transaction. If they are slow, the next ones are measured.

    Structs that were overwritten count too. Proves R-BOUND-1.
    """
    document = large_document()
    monkeypatch.setattr(pycrdt_document, "MAX_COMPARISONS", 2 * STRUCTS)
    monkeypatch.setattr(pycrdt_document, "SLOW_SECONDS", -1.0)
    document.take(insertions(6, 1), author="ann")
    assert (document.queue_length, document.is_measuring) == (1, False)
    document.take(insertions(7, 1), author="ann")
    assert (document.queue_length, document.is_measuring) == (0, True)
    assert (document.has_queue, dict(document.spent)) == (True, {})
    document.take(insertions(8, 1), author="bob")
    assert set(document.spent) == {"bob"}
    assert len(document.flush()) == 1
    assert document._pycrdt.structs == STRUCTS + 3


def test_released_edit_of_a_large_document_is_integrated_struct_by_struct(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each turn integrates one struct of a waiting edit, although the edit has few structs. Proves R-BOUND-1."""
    monkeypatch.setattr(pycrdt_document, "MAX_COMPARISONS", 1)
    document = SharedDocument.load()
    document.take(insertions(6, 8), author="ann")
    document.take(update((5, 0, [in_root(STRING, text("a"))])), author="bob", seconds=0.0)
    turns = 0
    while document.is_unfinished:
        document.resume(seconds=0.0)
        turns += 1
    assert turns >= 8
    assert document.clocks == {5: 1, 6: 8}
    assert set(document.spent) == {"ann"}


@pytest.mark.parametrize("structs", [1, 2, 7, STEP_STRUCTS])
@pytest.mark.parametrize("seed", range(10))
def test_steps_that_are_cut_have_all_structs(seed: int, structs: int) -> None:
    """The shorter steps make the same document as the whole update. Proves R-BOUND-1."""
    whole = SharedDocument.load(history(seed)).missing(b"\x00")
    steps = split(whole, {}, Nesting()).steps
    shorter = [*cut_steps(whole, steps, structs)]
    assert max(step.structs for step in shorter) == min(
        structs, max(step.structs for step in steps)
    )
    assert sum(step.structs for step in shorter) == sum(step.structs for step in steps)
    edits = [encode_steps(whole, [step]) for step in shorter]
    loaded = SharedDocument.load([whole])
    deleting = loaded.missing(loaded.state_vector())
    assert content(*edits, deleting) == content(whole)


def test_update_of_the_journal_leaves_released_edits_for_later_turns() -> None:
    """After the loading of a document, the released edits are integrated by `resume`. Proves R-BOUND-5."""
    document = SharedDocument.load()
    document.take(insertions(6, 2), author="ann")
    document.load_update(update((5, 0, [in_root(STRING, text("a"))])))
    assert document.is_unfinished
    assert document.clocks == {5: 1}
    assert document.resume() == []
    assert document.clocks == {5: 1, 6: 2}
    waiting_first = [insertions(6, 2), update((5, 0, [in_root(STRING, text("a"))]))]
    loaded = SharedDocument.load(waiting_first)
    assert (loaded.is_unfinished, loaded.clocks) == (False, {5: 1, 6: 2})
