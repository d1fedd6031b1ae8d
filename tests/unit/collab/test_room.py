"""The room without an event loop: it takes edits, and gives broadcasts, journal entries and receipts."""

import random
from typing import Any

import pytest
from pycrdt import Doc, Map, merge_updates

from svgx_canvas import compact
from svgx_canvas.document import shared_document
from svgx_canvas.document.faults import Fault
from svgx_canvas.document.shared_document import SharedDocument
from svgx_collab import room as room_module
from svgx_collab.room import MERGE_BYTES, Room
from svgx_common.contract.collab import Broadcast, Edit
from svgx_common.contract.state import Content, Entry
from svgx_yjs.lib0 import Malformed
from svgx_yjs.nesting import Nesting
from svgx_yjs.parts import Split
from svgx_yjs.splitting import split
from svgx_yjs.structure import EMPTY_STATE_VECTOR, EMPTY_UPDATE
from svgx_yjs.structure import read_state_vector as clocks
from tests.unit.canvas.histories import history
from tests.unit.canvas.update_fuzzer import UpdateFuzzer
from tests.unit.yjs.updates import ANY, NULL, STRING, after, in_root, text, update

EMPTY = Content(revision=0, updates=())


class Peer:
    """A Yjs client without a network: its own edits become updates, and it applies the updates of others."""

    def __init__(self, client_id: int) -> None:
        self.doc: Doc[Any] = Doc(client_id=client_id)
        self.elements: Map[Any] = self.doc.get("elements", type=Map)
        self.updates: list[bytes] = []
        self._subscription = self.doc.observe(lambda event: self.updates.append(event.update))

    def set(self, key: str, value: str) -> bytes:
        """Set one element, and return the update."""
        self.elements[key] = value
        return self.updates[-1]

    def content(self) -> dict[str, Any]:
        return dict(self.elements.to_py() or {})


def content_of(updates: list[bytes]) -> dict[str, Any]:
    """Return the elements of a new document, after pycrdt has merged these updates into one."""
    doc: Doc[Any] = Doc()
    elements: Map[Any] = doc.get("elements", type=Map)
    doc.apply_update(merge_updates(*updates))
    return dict(elements.to_py() or {})


def make_room(content: Content = EMPTY) -> Room:
    return Room("canvas", "epoch", content)


def take_broadcast(room: Room) -> Broadcast | None:
    """Return the only broadcast, or None."""
    broadcasts = list(room.take_broadcasts())
    assert len(broadcasts) < 2
    return broadcasts[0] if broadcasts else None


def commit(room: Room, revision: int) -> Entry:
    entry = room.take_entry()
    assert entry is not None
    assert room.mark_committed(revision)
    return entry


def test_edit_is_broadcast_and_saved_once() -> None:
    """An edit is in one broadcast and one journal entry, and is saved when the entry is committed.

    Proves R-SYNC-7 and R-SAVE-2.
    """
    room, peer = make_room(), Peer(1)
    update = peer.set("a", "1")
    receipt = room.receive([Edit("ann", update)])
    assert not room.is_saved(receipt)
    broadcast = take_broadcast(room)
    assert broadcast is not None
    assert (broadcast.epoch, broadcast.sequence, broadcast.update) == ("epoch", 1, update)
    assert take_broadcast(room) is None
    entry = room.take_entry()
    assert entry == Entry("canvas", "epoch", 1, ("ann",), update, (len(update),))
    assert not room.is_saved(receipt)
    assert room.mark_committed(1)
    assert room.is_saved(receipt)
    assert not room.has_unsaved_edits


@pytest.mark.parametrize("seed", range(40))
def test_checkpoint_counts_only_edits_that_were_broadcast(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gateway sends a client no content that a checkpoint counts. Proves R-SYNC-10 and R-SYNC-15.

    A commit, a sync or the measurement of an edit integrates edits that are not broadcast yet. Several broadcasts may
    follow. `client` gets the broadcasts up to the sequence number of each checkpoint.
    """
    rng = random.Random(seed)
    monkeypatch.setattr(room_module, "MERGE_BYTES", rng.choice([1, 200, MERGE_BYTES]))
    room, client = make_room(), Peer(1)
    room.pace.end_pauses()
    waiting = room.take_broadcasts()
    for edit in history(seed):
        if rng.random() < 0.2:
            room._document._pycrdt._measured_until = rng.choice([0.0, float("inf")])
        room.receive([Edit("ann", edit)])
        action = rng.choice(["entry", "sync", "broadcast", "broadcast", "nothing"])
        if action == "entry" and (entry := room.take_entry()) is not None:
            room.mark_committed(entry.sequence)
        elif action == "sync":
            room.sync(EMPTY_STATE_VECTOR, b"")
        elif action == "broadcast":
            if (broadcast := next(waiting, None)) is None:
                waiting = room.take_broadcasts()
            else:
                client.doc.apply_update(broadcast.update)
        known = clocks(client.doc.get_state())
        counted = clocks(room.checkpoint(b"").state_vector)
        assert all(clock <= known.get(each, 0) for each, clock in counted.items())
    for broadcast in (*waiting, *room.take_broadcasts()):
        client.doc.apply_update(broadcast.update)
    assert clocks(room.checkpoint(b"").state_vector) == clocks(client.doc.get_state()) != {}


def test_age_of_unsaved_edits_counts_from_the_oldest() -> None:
    """The age is that of the oldest uncommitted edit, also while later edits arrive. Proves R-OBS-11."""
    times = iter((10.0, 20.0, 30.0, 40.0))
    room, peer = Room("canvas", "epoch", EMPTY, clock=lambda: next(times)), Peer(1)

    def edit(key: str) -> None:
        room.receive([Edit("ann", peer.set(key, "1"))])

    seen = [room.unsaved_since]
    edit("a")
    edit("b")
    seen.append(room.unsaved_since)
    room.take_entry()
    edit("c")
    seen.append(room.unsaved_since)
    room.mark_committed(1)
    seen.append(room.unsaved_since)
    room.take_entry()
    seen.append(room.unsaved_since)
    room.mark_committed(2)
    seen.append(room.unsaved_since)
    edit("d")
    seen.append(room.unsaved_since)
    assert seen == [None, 10, 10, 30, 30, None, 40]


def test_age_of_unsaved_edits_falls_when_a_part_is_committed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The age of edits that did not fit into a committed entry counts from their own arrival. Proves R-OBS-11."""
    monkeypatch.setattr(room_module, "MERGE_BYTES", 1)
    times = iter((10.0, 20.0, 30.0))
    room, peer = Room("canvas", "epoch", EMPTY, clock=lambda: next(times)), Peer(1)
    room.receive([Edit("ann", peer.set(key, "1")) for key in "abc"])
    seen = [room.unsaved_since]
    for revision in (1, 2, 3):
        commit(room, revision)
        seen.append(room.unsaved_since)
    assert seen == [10, 20, 30, None]


def test_edits_of_several_authors_become_one_broadcast_and_one_entry() -> None:
    """The edits of several authors are merged, so each receiver gets one frame. Proves R-SYNC-7."""
    room, ann, bob = make_room(), Peer(1), Peer(2)
    room.receive([Edit("ann", ann.set("a", "1")), Edit("bob", bob.set("b", "2"))])
    room.receive([Edit("ann", ann.set("c", "3"))])
    broadcast = take_broadcast(room)
    assert broadcast is not None
    assert content_of([broadcast.update]) == {"a": "1", "b": "2", "c": "3"}
    entry = room.take_entry()
    assert entry is not None
    assert entry.authors == ("ann", "bob")
    assert content_of([entry.update]) == {"a": "1", "b": "2", "c": "3"}


def test_edits_during_a_commit_are_saved_by_the_next_commit() -> None:
    """A batch that arrives during a commit is saved by the next commit only. Proves R-SAVE-2."""
    room, peer = make_room(), Peer(1)
    first = room.receive([Edit("ann", peer.set("a", "1"))])
    room.take_entry()
    second = room.receive([Edit("ann", peer.set("b", "2"))])
    assert room.mark_committed(1)
    assert room.is_saved(first)
    assert not room.is_saved(second)
    commit(room, 2)
    assert room.is_saved(second)


def overtaken(number: int) -> list[Edit]:
    """Return two edits of a client in the wrong order. Each needs its own entry."""
    peer = Peer(number)
    first, second = peer.set(f"{number}", "1"), peer.set(f"{number}", "2")
    return [Edit("ann", second), Edit("ann", first)]


def test_edits_that_need_several_entries_are_committed_together() -> None:
    """A commit has several entries, so edits that overtook others do not wait for several commits. Proves R-SAVE-12."""
    room = make_room()
    receipts = [room.receive(overtaken(number)) for number in range(1, 6)]
    entries = []
    while (entry := room.take_entry()) is not None:
        entries.append(entry)
    assert len(entries) > 5
    assert [entry.sequence for entry in entries] == [*range(1, len(entries) + 1)]
    unsaved = []
    for revision in range(1, len(entries) + 1):
        assert room.has_unsaved_edits
        assert room.mark_committed(revision)
        unsaved.append(room.unsaved_bytes)
    assert unsaved == sorted(unsaved, reverse=True)
    assert (unsaved[-1], room.unsaved_since, room.has_unsaved_edits) == (0, None, False)
    assert all(map(room.is_saved, receipts))
    expected = {f"{number}": "2" for number in range(1, 6)}
    assert content_of([entry.update for entry in entries]) == expected


def test_entries_in_flight_are_bounded_in_number_and_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The edits beyond `MAX_IN_FLIGHT` entries or `MERGE_BYTES` bytes follow after the commit. Proves R-SAVE-12."""
    room = make_room()
    for number in range(1, 6):
        room.receive(overtaken(number))
    with monkeypatch.context() as patch:
        patch.setattr(room_module, "MAX_IN_FLIGHT", 2)
        assert [room.take_entry() is None for _ in range(3)] == [False, False, True]
    with monkeypatch.context() as patch:
        patch.setattr(room_module, "MERGE_BYTES", 1)
        assert room.take_entry() is None
        room.mark_committed(1)
        assert room.take_entry() is None
        room.mark_committed(2)
        assert [room.take_entry() is None for _ in range(2)] == [False, True]


def test_resent_edit_changes_nothing_and_waits_for_its_commit() -> None:
    """A resent edit changes nothing, and is not acknowledged before its first copy is committed. Proves R-SAVE-8."""
    room, peer = make_room(), Peer(1)
    update = peer.set("a", "1")
    room.receive([Edit("ann", update)])
    take_broadcast(room)
    assert not room.is_saved(room.receive([Edit("ann", update)]))
    room.take_entry()
    again = room.receive([Edit("ann", update)])
    assert not room.is_saved(again)
    assert room.mark_committed(1)
    assert room.is_saved(again)
    assert room.is_saved(room.receive([Edit("ann", update)]))
    assert take_broadcast(room) is None
    assert room.take_entry() is None


def test_edit_that_waits_for_another_edit_is_saved() -> None:
    """An edit that waits for another edit is in the journal before it is acknowledged. Proves R-SAVE-9."""
    room, peer = make_room(), Peer(1)
    first, second = peer.set("a", "1"), peer.set("b", "2")
    early = room.receive([Edit("ann", second)])
    assert not room.is_saved(early)
    entries = [commit(room, 1).update]
    assert room.is_saved(early)
    room.receive([Edit("ann", first)])
    entries.append(commit(room, 2).update)
    assert content_of(entries) == {"a": "1", "b": "2"}
    broadcast = take_broadcast(room)
    assert broadcast is not None
    assert content_of([broadcast.update]) == {"a": "1", "b": "2"}


def test_malformed_edits_are_rejected_and_the_others_are_saved() -> None:
    """A receipt names the malformed edits of a batch; the other edits are saved. Proves R-SYNC-8."""
    room, peer = make_room(), Peer(1)
    receipt = room.receive(
        [Edit("eve", b"\xff\x01nonsense"), Edit("ann", peer.set("a", "1")), Edit("eve", b"")]
    )
    assert receipt.rejected == (0, 2)
    assert commit(room, 1).authors == ("ann",)


def test_waiting_edits_with_the_same_clocks_are_saved_in_separate_entries() -> None:
    """An entry never has two structs for one clock, because one of them would be lost. Proves R-SAVE-9.

    The room drops the first edit, because another writer has committed another struct for its clocks.
    """
    room = make_room()
    dropped = update((5, 0, [after(STRING, text("abc"), (6, 0))]))
    other = update((5, 0, [in_root(STRING, text("x"))]))
    waiting = update((5, 1, [after(STRING, text("yz"), (7, 0))]))
    assert room.receive([Edit("eve", dropped)]).rejected == ()
    room.load_content(Content(1, (other,)))
    more = [Edit("ann", update((client, 0, [after(ANY, NULL, (7, 0))]))) for client in (10, 11)]
    assert room.receive([Edit("eve", waiting), *more]).rejected == ()
    saved = [other]
    while room.has_unsaved_edits:
        saved.append(commit(room, len(saved) + 1).update)
    assert len(saved) == 3
    again = make_room(Content(len(saved), tuple(saved)))
    for each in (room, again):
        each.receive([Edit("ann", update((7, 0, [in_root(ANY, NULL, key="l")])))])
        assert clocks(each.sync(b"\x00", b"").state_vector) == {5: 3, 7: 1, 10: 1, 11: 1}


def test_large_edit_is_saved_in_an_entry_of_its_own() -> None:
    """The bytes of one entry are bounded. Both edits are in one broadcast, because one transaction integrates them."""
    room, ann, bob = make_room(), Peer(1), Peer(2)
    large = ann.set("a", "x" * MERGE_BYTES)
    receipt = room.receive([Edit("ann", large), Edit("bob", bob.set("b", "1"))])
    assert [broadcast.sequence for broadcast in room.take_broadcasts()] == [1]
    assert commit(room, 1).update == large
    assert not room.is_saved(receipt)
    assert commit(room, 2).authors == ("bob",)
    assert room.is_saved(receipt)


def test_edit_that_caused_a_fault_is_rejected_by_the_next_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A `Fault` has the digest of the update that caused it. A room made with this digest rejects the update.

    The test turns off the check of updates, so that pycrdt really fails. Proves R-SYNC-13.
    """

    def unchecked(update: bytes, *_: Any) -> Split:
        return Split(update, None, {7: 2}, Nesting())

    monkeypatch.setattr(shared_document, "split", unchecked)
    # A text in the root "t", and another text inside that text.
    harmful = bytes.fromhex("0102070004010174016104000700016200")
    good = Peer(1).set("a", "1")
    room = make_room()
    room.receive([Edit("ann", good)])
    take_broadcast(room)
    room.receive([Edit("eve", harmful)])
    with pytest.raises(Fault) as fault:
        take_broadcast(room)
    assert fault.value.update_digest is not None
    again = Room("canvas", "epoch 2", EMPTY, faulty=[fault.value.update_digest])
    assert again.receive([Edit("ann", good), Edit("eve", harmful)]).rejected == (1,)


def test_batch_that_causes_a_fault_is_searched_by_the_next_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """pycrdt fails on a transaction of two edits. A room that integrates edits one by one finds the harmful edit.

    Proves R-SYNC-13.
    """
    harmful = bytes.fromhex("0102070004010174016104000700016200")

    def let_pass(update: bytes, known: dict[int, int], nesting: Nesting) -> Split:
        if update == harmful:
            return Split(update, None, {7: 2}, Nesting())
        return split(update, known, nesting)

    monkeypatch.setattr(shared_document, "split", let_pass)
    edits = [Edit("ann", Peer(1).set("a", "1")), Edit("eve", harmful)]
    room = make_room()
    room.receive(edits)
    for use in (lambda: list(room.take_broadcasts()), room.take_entry):
        # Both the broadcaster and the committer of a canvas may meet the failure. Neither gets an edit of the batch.
        with pytest.raises(Fault) as fault:
            use()
        assert fault.value.update_digest is None
    searching = Room("canvas", "epoch 2", EMPTY, one_by_one=True)
    with pytest.raises(Fault) as fault:
        searching.receive(edits)
    assert fault.value.update_digest is not None
    again = Room("canvas", "epoch 3", EMPTY, faulty=[fault.value.update_digest])
    assert again.receive(edits).rejected == (1,)
    assert commit(again, 1).authors == ("ann",)


@pytest.mark.parametrize("seed", range(100))
def test_journal_of_random_edits_has_the_document_of_its_room(seed: int) -> None:
    """The entries contain the whole document. Proves R-SAVE-9.

    A snapshot of the first entries, together with the other entries, contains it too.

    The updates contradict each other, and some wait for others. A compaction may integrate more updates than the room.
    """
    rng = random.Random(seed)
    fuzzer = UpdateFuzzer(seed)
    room = make_room()
    saved: list[bytes] = []
    for _ in range(40):
        room.receive([Edit("eve", fuzzer.update())])
        while rng.random() < 0.2 and room.has_unsaved_edits:
            saved.append(commit(room, len(saved) + 1).update)
    while room.has_unsaved_edits:
        saved.append(commit(room, len(saved) + 1).update)
    document = room._document
    assert SharedDocument.load(saved).clocks == document.clocks
    first = rng.randrange(len(saved) + 1)
    again = SharedDocument.load([compact(None, saved[:first]).update, *saved[first:]])
    assert all(again.clocks[client] >= clock for client, clock in document.clocks.items())


@pytest.mark.parametrize("seed", range(40))
def test_edits_of_correct_clients_in_any_order_are_accepted_and_saved(seed: int) -> None:
    """No edit of a history contradicts another, however long it waits. Proves R-BOUND-11."""
    rng = random.Random(seed)
    edits = history(seed)
    expected = content_of(edits)
    rng.shuffle(edits)
    room = make_room()
    saved: list[bytes] = []
    for edit in [*edits, *edits]:
        assert room.receive([Edit("ann", edit)]).rejected == ()
        while rng.random() < 0.2 and room.has_unsaved_edits:
            saved.append(commit(room, len(saved) + 1).update)
            if rng.random() < 0.1:
                saved = [compact(None, saved).update]
                room.revision = 1
    while room.has_unsaved_edits:
        saved.append(commit(room, len(saved) + 1).update)
    reloaded = SharedDocument.load(saved)
    assert (reloaded.pending, room._document.pending_bytes) == ([], 0)
    assert content_of([reloaded.missing(EMPTY_STATE_VECTOR)]) == expected


def test_empty_update_is_neither_broadcast_nor_saved() -> None:
    """A client with an empty document sends the empty update when it joins."""
    room = make_room()
    assert room.is_saved(room.receive([Edit("ann", EMPTY_UPDATE)]))
    assert take_broadcast(room) is None
    assert not room.has_unsaved_edits


def test_sync_returns_the_missing_content_only() -> None:
    """The answer to a state vector has only the content that the peer lacks. Proves R-SYNC-3."""
    room, ann, bob = make_room(), Peer(1), Peer(2)
    room.receive([Edit("ann", ann.set("a", "1"))])
    bob.doc.apply_update(room.sync(b"\x00", b"").update)
    room.receive([Edit("ann", ann.set("b", "2"))])
    reply = room.sync(bob.doc.get_state(), b"people")
    assert len(reply.update) < len(room.sync(b"\x00", b"").update)
    bob.doc.apply_update(reply.update)
    assert bob.content() == {"a": "1", "b": "2"}
    assert (reply.epoch, reply.awareness) == ("epoch", b"people")
    with pytest.raises(Malformed):
        room.sync(b"\xff\xff", b"")


def test_commits_of_another_writer_are_absorbed_and_broadcast() -> None:
    """A gap in the journal's revisions reveals another holder's commits. The room absorbs and broadcasts them.

    Proves R-FAIL-13.
    """
    room, ann, bob = make_room(), Peer(1), Peer(2)
    room.receive([Edit("ann", ann.set("a", "1"))])
    take_broadcast(room)
    room.take_entry()
    assert not room.mark_committed(2), "another writer committed revision 1"
    assert room.revision == 0
    room.load_content(Content(2, (bob.set("b", "2"),)))
    assert room.revision == 2
    broadcast = take_broadcast(room)
    assert broadcast is not None
    assert content_of([broadcast.update]) == {"b": "2"}
    assert not room.has_unsaved_edits


@pytest.mark.parametrize("seed", range(20))
def test_fuzzed_peers_and_the_journal_have_equal_content(seed: int) -> None:
    """All peers and the journal have equal content after lost, repeated and reordered batches and failed holders.

    Proves R-SYNC-2 and R-SAVE-8.
    """
    rng = random.Random(seed)
    peers = [Peer(number + 1) for number in range(4)]
    journal: list[bytes] = []
    unacknowledged: list[list[Edit]] = []
    room = make_room()
    in_flight: Entry | None = None

    def deliver() -> None:
        broadcast = take_broadcast(room)
        for peer in peers if broadcast else ():
            assert broadcast is not None
            peer.doc.apply_update(broadcast.update)

    for step in range(200):
        match rng.randrange(7):
            case 0 | 1 | 2:
                peer = rng.choice(peers)
                update = peer.set(f"k{rng.randrange(10)}", f"{seed}.{step}")
                unacknowledged.append([Edit("someone", update)])
            case 3 if unacknowledged:
                room.receive(rng.choice(unacknowledged))
            case 4:
                deliver()
            case 5:
                in_flight = in_flight or room.take_entry()
                if in_flight is not None:
                    journal.append(in_flight.update)
                    room.mark_committed(len(journal))
                    in_flight = None
            case 6 if rng.random() < 0.2:
                room = make_room(Content(len(journal), tuple(journal)))
                in_flight = None
            case _:
                pass

    rng.shuffle(unacknowledged)
    receipts = [room.receive(batch) for batch in unacknowledged]
    while (entry := room.take_entry()) is not None:
        journal.append(entry.update)
        room.mark_committed(len(journal))
    assert all(room.is_saved(receipt) for receipt in receipts)
    for peer in peers:
        peer.doc.apply_update(room.sync(peer.doc.get_state(), b"").update)
    assert [peer.content() for peer in peers] == [content_of(journal)] * len(peers)
