"""A shared document integrates edits from any client, in any order."""

import math
import random
from dataclasses import replace
from itertools import chain

import pytest
from pycrdt import Doc, Map, get_state

from svgx_canvas.document import pycrdt_document, shared_document
from svgx_canvas.document.faults import Fault, update_digest
from svgx_canvas.document.pending_pieces import PIECE_OVERHEAD_BYTES
from svgx_canvas.document.shared_document import (
    MAX_PENDING_BYTES,
    SharedDocument,
)
from svgx_yjs.joining import join_first
from svgx_yjs.lib0 import Malformed
from svgx_yjs.nesting import Nesting
from svgx_yjs.parts import Part, Split
from svgx_yjs.splitting import split
from svgx_yjs.structure import EMPTY_UPDATE, read_state_vector
from tests.unit.canvas.histories import content, history
from tests.unit.yjs.updates import (
    ANY,
    NULL,
    STRING,
    after,
    deletions,
    in_root,
    nested_types,
    text,
    update,
)


def whole(document: SharedDocument) -> bytes:
    """Return the document as one update."""
    return document.missing(b"\x00")


def integrate(document: SharedDocument, edit: bytes) -> list[bytes]:
    """Integrate an edit, and return its new parts."""
    new = [part.update for part in document.take(edit)]
    document.flush()
    return new


def integrate_and_read(document: SharedDocument, *edits: bytes) -> bytes:
    """Integrate edits in a transaction each, and return the state vector."""
    for edit in edits:
        integrate(document, edit)
    return document.state_vector()


def clients_in_changes(document: SharedDocument, edit: bytes) -> int:
    """Integrate an edit, and return the number of clients with structs in the changes."""
    document.take(edit)
    (changes,) = document.flush()
    return len(read_state_vector(get_state(changes)))


@pytest.fixture(params=[False, True], ids=["few clients", "many clients"])
def has_many_clients(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Let each document count as one with few clients, or as one with many clients."""
    many: bool = request.param
    monkeypatch.setattr(shared_document, "MANY_CLIENTS", 0 if many else 1000)
    return many


@pytest.mark.usefixtures("has_many_clients")
@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("batch", [1, 7, 1000])
def test_edits_in_any_order_with_repeats_make_the_same_document(seed: int, batch: int) -> None:
    """Batches of edits are integrated together. Proves R-SYNC-1 and R-SAVE-9.

    The changes that `flush` returns have the same content, and so have the joined parts that `take` returns.
    """
    rng = random.Random(seed)
    updates = history(seed)
    expected = content(*updates)
    rng.shuffle(updates)
    received = [*updates, *rng.sample(updates, len(updates) // 3)]
    document = SharedDocument.load()
    changes: list[bytes] = []
    saved: list[Part] = []
    for number, each in enumerate(received, start=1):
        saved += document.take(each)
        if number % batch == 0:
            changes += document.flush()
    changes += document.flush()
    assert not document.pending
    assert content(whole(document)) == expected
    assert content(*changes) == expected
    entries = []
    while saved:
        entry, count = join_first(saved, rng.randrange(40, 400))
        entries.append(entry)
        del saved[:count]
    assert content(whole(SharedDocument.load(entries))) == expected
    assert content(whole(SharedDocument.load(updates))) == expected


def test_pycrdt_without_the_split_loses_a_pending_edit() -> None:
    """pycrdt loses a pending edit, so `SharedDocument` gives pycrdt no pending edits.

    If the first assertion fails, the defect of pycrdt has been corrected.
    """
    doc: Doc[Map[object]] = Doc(client_id=1)
    elements = doc.get("elements", type=Map)
    updates: list[bytes] = []
    doc.observe(lambda event: updates.append(event.update))
    elements["a"] = Map({"tag": "g"})
    elements["a"] = 27
    elements["b"] = 1
    first, second, third = updates
    plain: Doc[Map[object]] = Doc()
    for each in (second, third, first):
        plain.apply_update(each)
    assert plain.get("elements", type=Map).to_py() != {"a": 27, "b": 1}
    document = SharedDocument.load()
    for each in (second, third, first):
        integrate(document, each)
    assert content(whole(document)) == {"a": 27, "b": 1}


def test_repeated_update_is_not_new() -> None:
    """Proves R-SAVE-8: an update that was integrated or is pending is not new when it is sent again."""
    first = update((5, 0, [in_root(ANY, NULL)]))
    later = update((5, 1, [in_root(ANY, NULL, key="l")]))
    document = SharedDocument.load()
    assert integrate(document, later)
    assert not integrate(document, later)
    assert integrate(document, first)
    assert not document.pending
    assert not integrate(document, first)
    assert not integrate(document, later)


def test_pending_updates_are_bounded_by_bytes() -> None:
    """Proves R-SYNC-14: beyond the limit, the oldest pending updates are forgotten until half of it is free."""
    document = SharedDocument.load()
    size = MAX_PENDING_BYTES // 4
    # One value in lib0's encoding: a byte array of 4 MiB.
    filler = b"\x01\x74" + bytes.fromhex("80808002") + b"x" * size
    pieces = [update((client, 1, [in_root(ANY, filler)])) for client in range(5)]
    for piece in pieces:
        assert integrate(document, piece)
    assert document.pending == pieces[-2:]


def test_pending_update_is_integrated_when_its_dependency_arrives() -> None:
    """Proves R-SYNC-14: an edit releases only the pending updates that wait for it."""
    document = SharedDocument.load()
    for client in range(100, 200):
        integrate(document, update((client, 0, [after(ANY, NULL, (5, 0))])))
    assert clients_in_changes(document, update((6, 0, [in_root(ANY, NULL)]))) == 1
    assert len(document.pending) == 100
    assert clients_in_changes(document, update((5, 0, [in_root(ANY, NULL, key="l")]))) == 101


def test_malformed_journal_entry_is_left_out() -> None:
    """Proves R-SYNC-14: the rest of the journal is loaded."""
    good = update((5, 0, [in_root(ANY, NULL)]))
    document = SharedDocument.load([b"nonsense", good, b""])
    assert document.left_out == 2
    assert content(whole(document)) == {"k": None}


def test_unplaceable_update_of_a_journal_stays_pending() -> None:
    """Proves R-SYNC-14: an entry of the journal may contain edits of several authors, so it is not refused."""
    deep = nested_types(501)
    with pytest.raises(Malformed):
        integrate(SharedDocument.load(), deep)
    document = SharedDocument.load([deep, update((8, 0, [in_root(ANY, NULL, key="l")]))])
    assert document.left_out == 0
    assert len(document.pending) == 1
    assert "l" in dict(content(whole(document)))  # type: ignore[call-overload]


def test_pending_struct_is_dropped_when_another_struct_has_its_clock() -> None:
    """Proves R-BOUND-11: only this struct is dropped. The pending structs after it are kept.

    A document that loads the saved parts of the edits has the same content.
    """
    document = SharedDocument.load()
    partly_dropped = update(
        (
            5,
            0,
            [after(STRING, text("abc"), (6, 0)), in_root(ANY, NULL), in_root(ANY, NULL, key="l")],
        )
    )
    saved = integrate(document, partly_dropped)
    saved += integrate(document, update((5, 0, [in_root(STRING, text("x"))])))
    assert document.pending == [update((5, 3, [in_root(ANY, NULL), in_root(ANY, NULL, key="l")]))]
    saved += integrate(document, update((6, 0, [in_root(ANY, NULL, key="m")])))
    assert document.clocks == {5: 1, 6: 1}
    saved += integrate(document, update((5, 1, [in_root(STRING, text("yz"), key="n")])))
    assert document.clocks == {5: 5, 6: 1}
    assert (document.pending, document.pending_bytes) == ([], 0)
    assert content(whole(SharedDocument.load(saved))) == content(whole(document))


def test_new_pieces_of_a_pending_update_are_saved_without_the_known_ones() -> None:
    """Proves R-SAVE-8: the journal gets each pending piece once, also when an edit has known and new pieces."""
    known = (5, 0, [after(ANY, NULL, (6, 0))])
    new = (7, 1, [in_root(ANY, NULL)])
    document = SharedDocument.load()
    integrate(document, update(known))
    (part,) = document.take(update(known, new, deleted=deletions((8, [(0, 1)]))))
    assert part.update == update(new, deleted=deletions((8, [(0, 1)])))


def test_part_that_changes_the_pending_pieces_is_the_last_of_its_entry() -> None:
    """Proves R-SAVE-9: a document that loads the entries releases and drops the same pieces as the holder."""
    document = SharedDocument.load()
    integrate(document, update((5, 0, [after(ANY, NULL, (6, 0))])))
    integrate(document, update((7, 0, [after(STRING, text("ab"), (6, 1))])))
    edits = [
        update((8, 0, [in_root(ANY, NULL)])),
        update((6, 0, [in_root(ANY, NULL)])),
        update((9, 0, [after(ANY, NULL, (5, 0))])),
        update((7, 0, [after(ANY, NULL, (5, 0))])),
        update((6, 1, [in_root(ANY, NULL)])),
    ]
    parts = [part for edit in edits for part in document.take(edit)]
    assert [part.releases for part in parts] == [False, True, False, True, False]
    assert [join_first(parts[at:], 1000)[1] for at in range(5)] == [2, 1, 2, 1, 1]


def test_repeated_structs_of_pending_pieces_are_dropped() -> None:
    """Proves R-SAVE-8: an edit may repeat pending structs and also have the structs that they wait for.

    Each struct is then integrated once, and nothing stays pending.
    """
    document = SharedDocument.load()
    structs = [after(ANY, NULL, (6, 0)), in_root(ANY, NULL), in_root(ANY, NULL, key="l")]
    for clock in (1, 2):
        integrate(document, update((5, clock, structs[clock : clock + 1])))
    assert len(document.pending) == 2
    integrate(document, update((6, 0, [in_root(ANY, NULL, key="m")]), (5, 0, structs)))
    assert document.clocks == {5: 3, 6: 1}
    assert (document.pending, document.pending_bytes) == ([], 0)


def test_journal_that_releases_pending_updates_forgets_none() -> None:
    """Proves R-SYNC-14: structs that wait only until the end of their entry do not count as pending bytes.

    The second entry has a struct that releases the pending update, and structs that depend on this update.
    """
    pending = update((5, 0, [after(ANY, NULL, (6, 0))]))
    releasing = (6, 0, [in_root(ANY, NULL)])
    followers = [(client, 0, [after(ANY, NULL, (5, 0))]) for client in range(100, 110)]
    limit = 5 * (len(pending) + PIECE_OVERHEAD_BYTES)
    document = SharedDocument.load(
        [pending, update(releasing, *followers)], max_pending_bytes=limit
    )
    assert len(document.clocks) == 12
    assert not document.pending


FAULTY = bytes.fromhex("0102070004010174016104000700016200")
"""A text in the root "t", and another text inside the first one.

pycrdt fails on this update. `svgx_yjs.splitting` normally refuses it before pycrdt reads it.
"""


def test_edit_that_releases_a_faulty_update_is_accepted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Proves R-SYNC-13: the document leaves out the pending update, and accepts the edit that released it."""
    pending = update((5, 0, [after(ANY, NULL, (6, 0))]))
    releasing = update((6, 0, [in_root(ANY, NULL)]))

    def split_into_faulty(written: bytes, known: dict[int, int], nesting: Nesting) -> Split:
        parts = split(written, known, nesting)
        if written == pending and parts.ready:
            return replace(parts, ready=FAULTY, runs=())
        return parts

    monkeypatch.setattr(shared_document, "split", split_into_faulty)
    document = SharedDocument.load([pending], one_by_one=True)
    with pytest.raises(Fault) as fault:
        integrate(document, releasing)
    assert fault.value.update_digest is not None
    again = SharedDocument.load([pending], faulty=[fault.value.update_digest])
    assert integrate(again, releasing) == [releasing]
    assert again.left_out == 1
    assert SharedDocument.load([pending, releasing]).clocks == {6: 1}


def test_document_is_observed_until_it_has_many_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    """`flush` returns each change once, before and after the end of the observation. Proves R-SYNC-1."""
    monkeypatch.setattr(shared_document, "MANY_CLIENTS", 6)
    monkeypatch.setattr(pycrdt_document, "CHANGE_BYTES", 1)
    document = SharedDocument.load()
    changes: list[list[bytes]] = []
    observed = []
    for client in range(1, 11, 2):
        for each in (client, client + 1):
            document.take(update((each, 0, [in_root(ANY, NULL, key=str(each))])))
        changes.append(document.flush())
        observed.append(document._pycrdt._subscription is not None)
    assert observed == [True, True, False, False, False]
    assert [len(each) for each in changes] == [1, 1, 1, 2, 2]
    assert content(*chain.from_iterable(changes)) == content(whole(document))


@pytest.fixture
def ignored_updates(monkeypatch: pytest.MonkeyPatch) -> set[bytes]:
    """Return a set of updates. pycrdt gets nothing of an update in this set, as if it ignored the update."""
    ignored: set[bytes] = set()

    def split_without_ignored(written: bytes, known: dict[int, int], nesting: Nesting) -> Split:
        parts = split(written, known, nesting)
        return replace(parts, ready=EMPTY_UPDATE) if written in ignored else parts

    monkeypatch.setattr(shared_document, "split", split_without_ignored)
    return ignored


@pytest.mark.usefixtures("has_many_clients")
def test_update_that_pycrdt_ignores_is_a_fault(ignored_updates: set[bytes]) -> None:
    """Proves R-SAVE-2: without the fault, the update would count as saved, although the document does not have it.

    A document with many clients finds the fault at the latest when its state vector is read.
    """
    ignored = update((5, 0, [in_root(ANY, NULL)]))
    ignored_updates.add(ignored)
    document = SharedDocument.load()
    with pytest.raises(Fault) as fault:
        integrate_and_read(document, ignored)
    assert fault.value.update_digest == update_digest(ignored)
    with pytest.raises(Fault):
        integrate(document, update((6, 0, [in_root(ANY, NULL)])))


@pytest.mark.parametrize("share", [math.inf, 1e-9], ids=["at once", "delayed"])
def test_check_of_several_transactions_names_no_update(
    share: float, ignored_updates: set[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A delayed check may cover several transactions, and then blames none of their updates. Proves R-SYNC-13."""
    monkeypatch.setattr(shared_document, "MANY_CLIENTS", 0)
    monkeypatch.setattr(pycrdt_document, "CHECK_SHARE", share)
    first, second = (update((client, 0, [in_root(ANY, NULL)])) for client in (5, 6))
    ignored_updates.update((first, second))
    document = SharedDocument.load()
    with pytest.raises(Fault) as fault:
        integrate_and_read(document, first, second)
    assert fault.value.update_digest == (update_digest(first) if share == math.inf else None)


def test_document_with_updates_one_by_one_names_the_ignored_update(
    ignored_updates: set[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such a document checks each update immediately, however long the check takes. Proves R-SYNC-13."""
    monkeypatch.setattr(shared_document, "MANY_CLIENTS", 0)
    monkeypatch.setattr(pycrdt_document, "CHECK_SHARE", 1e-9)
    taken, ignored = (update((client, 0, [in_root(ANY, NULL)])) for client in (5, 6))
    ignored_updates.add(ignored)
    document = SharedDocument.load(one_by_one=True)
    integrate(document, taken)
    with pytest.raises(Fault) as fault:
        integrate(document, ignored)
    assert fault.value.update_digest == update_digest(ignored)
