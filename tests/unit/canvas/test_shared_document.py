"""A document that takes edits from anybody, in any order."""

import random
from dataclasses import replace

import pytest
from pycrdt import Doc, Map

from svgx_canvas.document import shared_document
from svgx_canvas.document.shared_document import MAX_PENDING_BYTES, Fault, SharedDocument, merge
from svgx_yjs.lib0 import Malformed
from svgx_yjs.nesting import Nesting
from svgx_yjs.splitting import Split, split
from tests.unit.canvas.histories import content, history
from tests.unit.yjs.updates import ANY, NULL, after, in_root, nested_types, text, update


def whole(document: SharedDocument) -> bytes:
    return document.missing(b"\x00")


@pytest.mark.parametrize("seed", range(30))
def test_any_order_with_repeats_makes_the_same_document(seed: int) -> None:
    """Proves R-SYNC-1 and R-SAVE-9, and that its changes alone make it too."""
    rng = random.Random(seed)
    updates = history(seed)
    expected = content(*updates)
    rng.shuffle(updates)
    received = [*updates, *rng.sample(updates, len(updates) // 3)]
    document = SharedDocument.load()
    changes = [change for each in received for change in document.integrate(each).changes]
    assert not document.pending
    assert content(whole(document)) == expected
    assert content(*changes) == expected
    assert content(whole(SharedDocument.load(updates))) == expected


def test_one_by_one_in_this_order_pycrdt_alone_loses_an_edit() -> None:
    """Why nothing that waits reaches pycrdt. When this fails, much of this module can go."""
    doc: Doc[Map[object]] = Doc(client_id=1)
    elements = doc.get("elements", type=Map)
    updates: list[bytes] = []
    doc.observe(lambda event: updates.append(event.update))
    elements["a"] = Map({"tag": "g"})
    elements["a"] = 27
    elements["b"] = 1
    first, second, third = updates
    alone: Doc[Map[object]] = Doc()
    for each in (second, third, first):
        alone.apply_update(each)
    assert alone.get("elements", type=Map).to_py() != {"a": 27, "b": 1}
    document = SharedDocument.load()
    for each in (second, third, first):
        document.integrate(each)
    assert content(whole(document)) == {"a": 27, "b": 1}


def test_what_is_new_is_told_from_what_is_not() -> None:
    """Proves R-SAVE-8: also for what waits."""
    first = update((5, 0, [in_root(ANY, NULL)]))
    later = update((5, 1, [in_root(ANY, NULL, key="l")]))
    document = SharedDocument.load()
    assert document.integrate(later).new
    assert not document.integrate(later).new
    assert document.integrate(first).new
    assert not document.pending
    assert not document.integrate(first).new
    assert not document.integrate(later).new


def test_waiting_is_bounded_by_bytes() -> None:
    """Proves R-SYNC-14: what waits longest is forgotten first, down to half."""
    document = SharedDocument.load()
    size = MAX_PENDING_BYTES // 4
    filler = b"\x01\x74" + bytes.fromhex("80808002") + b"x" * size
    pieces = [update((client, 1, [in_root(ANY, filler)])) for client in range(5)]
    for piece in pieces:
        assert document.integrate(piece).new
    assert document.pending == pieces[-2:]


def test_what_waits_is_looked_at_when_what_it_lacks_arrives() -> None:
    """Proves R-SYNC-14: others' edits in between integrate nothing, and cost nothing."""
    document = SharedDocument.load()
    for client in range(100, 200):
        document.integrate(update((client, 0, [after(ANY, NULL, (5, 0))])))
    assert len(document.integrate(update((6, 0, [in_root(ANY, NULL)]))).changes) == 1
    assert len(document.pending) == 100
    assert len(document.integrate(update((5, 0, [in_root(ANY, NULL, key="l")]))).changes) == 101


def test_a_journal_with_what_is_no_update_loads_without_it() -> None:
    """Proves R-SYNC-14."""
    good = update((5, 0, [in_root(ANY, NULL)]))
    document = SharedDocument.load([b"nonsense", good, b""])
    assert document.left_out == 2
    assert content(whole(document)) == {"k": None}


def test_what_can_go_nowhere_waits_when_it_is_in_a_journal() -> None:
    """Proves R-SYNC-14: an entry holds other people's edits too."""
    deep = nested_types(501)
    with pytest.raises(Malformed):
        SharedDocument.load().integrate(deep)
    document = SharedDocument.load([deep, update((8, 0, [in_root(ANY, NULL, key="l")]))])
    assert document.left_out == 0
    assert len(document.pending) == 1
    assert "l" in dict(content(whole(document)))  # type: ignore[call-overload]


def test_updates_that_contradict_each_other_are_not_merged() -> None:
    """Proves R-SYNC-12: pycrdt cuts a text of two clocks in the middle of its only character."""
    one = update((1, 4, [in_root(ANY, NULL)]))
    other = update((1, 4, [in_root(4, text("𝄞"))]))
    assert merge([one, other]) is None
    assert merge([one]) == one
    assert merge([one, one]) == one


HARM = bytes.fromhex("0102070004010174016104000700016200")
"""A text in the root "t", and another inside of that text: pycrdt fails on it, but for the check."""


def test_who_makes_possible_what_pycrdt_fails_on_is_not_blamed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Proves R-SYNC-13: the edit that waited is left out from then on, and the other taken."""
    waiting = update((5, 0, [after(ANY, NULL, (6, 0))]))
    honest = update((6, 0, [in_root(ANY, NULL)]))

    def with_harm(written: bytes, known: dict[int, int], nesting: Nesting) -> Split:
        parts = split(written, known, nesting)
        if written == waiting and parts.ready:
            return replace(parts, ready=HARM)
        return parts

    monkeypatch.setattr(shared_document, "split", with_harm)
    document = SharedDocument.load([waiting])
    with pytest.raises(Fault) as fault:
        document.integrate(honest)
    assert fault.value.culprit is not None
    again = SharedDocument.load([waiting], faulty=[fault.value.culprit])
    assert again.integrate(honest).new == [honest]
    assert again.left_out == 1
    assert SharedDocument.load([waiting, honest]).clocks == {6: 1}


def test_what_pycrdt_ignores_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Proves R-SAVE-2: it would be called saved."""

    def nothing_ready(written: bytes, known: dict[int, int], nesting: Nesting) -> Split:
        return replace(split(written, known, nesting), ready=b"\x00\x00")

    monkeypatch.setattr(shared_document, "split", nothing_ready)
    with pytest.raises(Fault):
        SharedDocument.load().integrate(update((5, 0, [in_root(ANY, NULL)])))
