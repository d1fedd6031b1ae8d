"""The room without a loop: bytes in; broadcasts, journal entries and receipts out."""

import random
from typing import Any

import pytest
from pycrdt import Doc, Map, merge_updates

from svgx_canvas.document import shared_document
from svgx_canvas.document.shared_document import Fault, merge
from svgx_collab.room import MERGE_BYTES, Room
from svgx_common.messaging.wire import Broadcast, Content, Edit, Entry
from svgx_yjs.lib0 import Malformed
from svgx_yjs.nesting import Nesting
from svgx_yjs.splitting import Split
from svgx_yjs.structure import EMPTY_UPDATE

EMPTY = Content(revision=0, updates=())


class Peer:
    """A Yjs client without a network: its own edits become updates, others' updates go in."""

    def __init__(self, client_id: int) -> None:
        self.doc: Doc[Any] = Doc(client_id=client_id)
        self.elements: Map[Any] = self.doc.get("elements", type=Map)
        self.updates: list[bytes] = []
        self._subscription = self.doc.observe(lambda event: self.updates.append(event.update))

    def set(self, key: str, value: str) -> bytes:
        """Write, and return the update that says so."""
        self.elements[key] = value
        return self.updates[-1]

    def content(self) -> dict[str, Any]:
        return dict(self.elements.to_py() or {})


def content_of(updates: list[bytes]) -> dict[str, Any]:
    """What a reader sees who has these updates only; merged first, as everything that loads a journal does."""
    doc: Doc[Any] = Doc()
    elements: Map[Any] = doc.get("elements", type=Map)
    doc.apply_update(merge_updates(*updates))
    return dict(elements.to_py() or {})


def make_room(content: Content = EMPTY) -> Room:
    return Room("canvas", "epoch", content)


def take_broadcast(room: Room) -> Broadcast | None:
    """The one there is as a rule."""
    broadcasts = list(room.take_broadcasts())
    assert len(broadcasts) < 2
    return broadcasts[0] if broadcasts else None


def commit(room: Room, revision: int) -> Entry:
    entry = room.take_entry()
    assert entry is not None
    assert room.committed(revision)
    return entry


def test_an_edit_is_broadcast_and_saved_once() -> None:
    """Proves R-SYNC-7 and R-SAVE-2."""
    room, peer = make_room(), Peer(1)
    update = peer.set("a", "1")
    receipt = room.receive([Edit("ann", update)])
    assert not room.saved(receipt)
    broadcast = take_broadcast(room)
    assert broadcast is not None
    assert (broadcast.epoch, broadcast.sequence, broadcast.update) == ("epoch", 1, update)
    assert take_broadcast(room) is None
    entry = room.take_entry()
    assert entry == Entry("canvas", "epoch", 1, ("ann",), update)
    assert not room.saved(receipt)
    assert room.committed(1)
    assert room.saved(receipt)
    assert not room.dirty


def test_edits_of_many_become_one_broadcast_and_one_entry() -> None:
    """Proves R-SYNC-7: N people drawing cost each receiver one frame."""
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


def test_edits_during_a_commit_wait_for_the_next_one() -> None:
    """Proves R-SAVE-2: a receipt is good only when its own entry is committed."""
    room, peer = make_room(), Peer(1)
    first = room.receive([Edit("ann", peer.set("a", "1"))])
    room.take_entry()
    second = room.receive([Edit("ann", peer.set("b", "2"))])
    assert room.take_entry() is None, "one entry of a canvas is in flight at a time"
    assert room.committed(1)
    assert room.saved(first)
    assert not room.saved(second)
    commit(room, 2)
    assert room.saved(second)


def test_a_resent_edit_changes_nothing_but_waits_for_its_commit() -> None:
    """Proves R-SAVE-8: resending is safe, and never acknowledges what is not committed yet."""
    room, peer = make_room(), Peer(1)
    update = peer.set("a", "1")
    room.receive([Edit("ann", update)])
    take_broadcast(room)
    assert not room.saved(room.receive([Edit("ann", update)]))
    room.take_entry()
    again = room.receive([Edit("ann", update)])
    assert not room.saved(again)
    assert room.committed(1)
    assert room.saved(again)
    assert room.saved(room.receive([Edit("ann", update)]))
    assert take_broadcast(room) is None
    assert room.take_entry() is None


def test_an_edit_that_waits_for_another_is_saved_too() -> None:
    """Proves R-SAVE-9: what cannot be integrated yet is in the journal before it is acknowledged."""
    room, peer = make_room(), Peer(1)
    first, second = peer.set("a", "1"), peer.set("b", "2")
    early = room.receive([Edit("ann", second)])
    assert not room.saved(early)
    entries = [commit(room, 1).update]
    assert room.saved(early)
    room.receive([Edit("ann", first)])
    entries.append(commit(room, 2).update)
    assert content_of(entries) == {"a": "1", "b": "2"}
    broadcast = take_broadcast(room)
    assert broadcast is not None
    assert content_of([broadcast.update]) == {"a": "1", "b": "2"}


def test_malformed_edits_are_named_and_harm_no_other() -> None:
    """Proves R-SYNC-8."""
    room, peer = make_room(), Peer(1)
    receipt = room.receive(
        [Edit("eve", b"\xff\x01nonsense"), Edit("ann", peer.set("a", "1")), Edit("eve", b"")]
    )
    assert receipt.rejected == (0, 2)
    assert commit(room, 1).authors == ("ann",)


def test_updates_that_contradict_each_other_are_saved_apart() -> None:
    """Proves R-SYNC-12: merged, pycrdt would make bytes of them that nobody can read."""
    room = make_room()
    # Client 1, clock 4: once a type, once a text of one character that takes two clocks.
    one = bytes.fromhex("020101042701017401620101020108010174017f00")
    other = bytes.fromhex("01010104c40303040204f09d849e020101040304010201")
    receipt = room.receive(
        [Edit("eve", one), Edit("eve", other), Edit("ann", Peer(9).set("a", "1"))]
    )
    assert receipt.rejected == ()
    saved: list[bytes] = []
    while room.dirty:
        assert not room.saved(receipt)
        saved.append(commit(room, len(saved) + 1).update)
    assert room.saved(receipt)
    assert make_room(Content(len(saved), tuple(saved))).left_out == 0


def test_a_large_edit_is_broadcast_and_saved_alone() -> None:
    """Merging reads all of it again: nobody waits for that."""
    room, ann, bob = make_room(), Peer(1), Peer(2)
    large = ann.set("a", "x" * MERGE_BYTES)
    receipt = room.receive([Edit("ann", large), Edit("bob", bob.set("b", "1"))])
    assert [broadcast.sequence for broadcast in room.take_broadcasts()] == [1, 2]
    assert commit(room, 1).update == large
    assert not room.saved(receipt)
    assert commit(room, 2).authors == ("bob",)
    assert room.saved(receipt)


def test_an_edit_that_breaks_the_document_is_refused_when_it_comes_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Proves R-SYNC-13: a real failure of pycrdt, past a check that lets everything through."""

    def unchecked(update: bytes, *_: Any) -> Split:
        return Split(update, None, {}, Nesting())

    monkeypatch.setattr(shared_document, "split", unchecked)
    # A text in the root "t", and another inside of that text.
    harm = bytes.fromhex("0102070004010174016104000700016200")
    good = Peer(1).set("a", "1")
    room = make_room()
    with pytest.raises(Fault) as fault:
        room.receive([Edit("ann", good), Edit("eve", harm)])
    assert fault.value.culprit is not None
    again = Room("canvas", "epoch 2", EMPTY, faulty=[fault.value.culprit])
    assert again.receive([Edit("ann", good), Edit("eve", harm)]).rejected == (1,)


def test_what_contradicts_itself_is_saved_one_by_one() -> None:
    """Proves R-SAVE-2: pycrdt cannot merge it; what came before and after is merged all the same."""
    contradicting = [
        bytes.fromhex(update)
        for update in (
            "0102090681630505836305017a00",
            "0101090484630504f09f988000",
            "010109048463050561f09f988000",
        )
    ]
    assert merge(contradicting) is None
    honest = Peer(1)
    edits = [honest.set(f"k{n}", "v") for n in range(500)]
    room = make_room()
    room.receive([Edit("ann", edit) for edit in (*edits[:250], *contradicting, *edits[250:])])
    entries = []
    while (entry := room.take_entry()) is not None:
        entries.append(entry.update)
        room.committed(len(entries))
    assert not room.dirty
    assert len(entries) < 30
    document = shared_document.SharedDocument.load(entries)
    assert document.clocks == {1: 500}
    assert len(document.pending) == len(shared_document.SharedDocument.load(contradicting).pending)


def test_the_empty_update_is_nothing() -> None:
    """Every client sends one when it joins; nothing is broadcast or saved for it."""
    room = make_room()
    assert room.saved(room.receive([Edit("ann", EMPTY_UPDATE)]))
    assert take_broadcast(room) is None
    assert not room.dirty


def test_sync_gives_exactly_what_is_missing() -> None:
    """Proves R-SYNC-3."""
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


def test_another_writers_commits_are_absorbed_and_broadcast() -> None:
    """Proves R-FAIL-13: two holders by accident merge, through the journal's revisions."""
    room, ann, bob = make_room(), Peer(1), Peer(2)
    room.receive([Edit("ann", ann.set("a", "1"))])
    take_broadcast(room)
    room.take_entry()
    assert not room.committed(2), "revision 1 was somebody else's"
    assert room.revision == 0
    room.absorb(Content(2, (bob.set("b", "2"),)))
    assert room.revision == 2
    broadcast = take_broadcast(room)
    assert broadcast is not None
    assert content_of([broadcast.update]) == {"b": "2"}
    assert not room.dirty


@pytest.mark.parametrize("seed", range(20))
def test_fuzz_everyone_and_the_journal_agree(seed: int) -> None:
    """Proves R-SYNC-2 and R-SAVE-8: lost, repeated and reordered batches, and a holder that dies now and then."""
    rng = random.Random(seed)
    peers = [Peer(number + 1) for number in range(4)]
    journal: list[bytes] = []
    unacknowledged: list[list[Edit]] = []
    room = make_room()
    flying: Entry | None = None

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
                flying = flying or room.take_entry()
                if flying is not None:
                    journal.append(flying.update)
                    room.committed(len(journal))
                    flying = None
            case 6 if rng.random() < 0.2:
                room = make_room(Content(len(journal), tuple(journal)))
                flying = None
            case _:
                pass

    rng.shuffle(unacknowledged)
    receipts = [room.receive(batch) for batch in unacknowledged]
    while (entry := room.take_entry()) is not None:
        journal.append(entry.update)
        room.committed(len(journal))
    assert all(room.saved(receipt) for receipt in receipts)
    for peer in peers:
        peer.doc.apply_update(room.sync(peer.doc.get_state(), b"").update)
    assert [peer.content() for peer in peers] == [content_of(journal)] * len(peers)
