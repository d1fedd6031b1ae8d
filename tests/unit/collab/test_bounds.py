"""The bounds of edits: time, clients and structs, for each edit, account and canvas."""

import contextlib
import time
from typing import Any

import pytest
from pycrdt import Doc, Map

from svgx_canvas.document import pycrdt_document, shared_document
from svgx_canvas.document.pending_pieces import PIECE_OVERHEAD_BYTES
from svgx_canvas.document.shared_document import (
    MAX_PENDING_BYTES,
    Growth,
    SharedDocument,
    TooSlow,
)
from svgx_collab import bounds as bounds_module
from svgx_collab.bounds import (
    EDIT_BURST_SECONDS,
    LONGEST_PAUSE_SECONDS,
    PACED,
    REMOVAL_SECONDS,
    Bounds,
    EditRefused,
    Limits,
    Pace,
)
from svgx_collab.room import EDITS_BETWEEN_TIME_READINGS, LARGE_EDIT_BYTES, Room
from svgx_collab.turns import TURN_SECONDS
from svgx_common.contract.close_codes import Close
from svgx_common.contract.collab import Edit
from svgx_common.contract.live.rejections import Reason, Rejection
from svgx_common.contract.state import Content
from svgx_yjs.lib0 import Encoder
from svgx_yjs.structure import read_state_vector as clocks
from tests.unit.yjs.updates import ANY, NULL, STRING, after, deletions, in_root, text, update

EMPTY = Content(revision=0, updates=())

NO_REFILL = 1e-6
"""A share of processor time with which an account without time gets no time back, however slow a test is."""


def conflicts(count: int) -> bytes:
    """Return an edit of items that all claim the same left neighbour, so that each is compared with all before it."""
    encoder = Encoder().uint(1).uint(count + 1).uint(1).uint(0)
    encoder.raw(b"\x04").uint(1).text("t").text("x" * (count + 2))
    for number in range(count):
        encoder.raw(b"\xc4").uint(1).uint(0).uint(1).uint(number + 2).text("a")
    return encoder.uint(0).finish()


def many_clients(count: int, first: int = 1000) -> bytes:
    """Return an edit in which each of `count` clients sets a key of its own."""
    encoder = Encoder().uint(count)
    for client in range(first, first + count):
        encoder.uint(1).uint(client).uint(0).raw(b"\x28").uint(1).text("m").text(str(client))
        encoder.uint(1).raw(b"\x7e")
    return encoder.uint(0).finish()


def one_key(client: int, key: str) -> bytes:
    return (
        Encoder().uint(1).uint(1).uint(client).uint(0).raw(b"\x28").uint(1).text("m").text(key)
        .uint(1).raw(b"\x7e").uint(0).finish()
    )  # fmt: skip


@pytest.fixture
def no_pauses() -> None:
    """Override the fixture that removes the pauses after long transactions, because some tests are about pauses."""


def room_with(**limits: Any) -> Room:
    return Room("canvas", "epoch", EMPTY, bounds=Bounds(Limits(**limits)))


def rejections(room: Room, *edits: bytes, author: str = "ann") -> list[Rejection]:
    receipt = room.receive([Edit(author, edit) for edit in edits])
    return [Rejection.unpack(number) for number in receipt.rejected]


@pytest.mark.parametrize("observed_clients", [1000, 0])
def test_edit_with_conflicts_is_refused_within_its_time(
    observed_clients: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An edit of 27 KB that would take seconds is stopped within a second. The batch's other edits are saved.

    The room saves and broadcasts the integrated part of the edit, so the room has no unsaved content. Documents with
    many clients, which are not observed, behave in the same way. Proves R-BOUND-1.
    """
    monkeypatch.setattr(shared_document, "MANY_CLIENTS", observed_clients)
    room = room_with(edit_seconds=0.02)
    started = time.thread_time()
    (rejection,) = rejections(room, one_key(7, "a"), conflicts(3_000), one_key(8, "b"))
    seconds = time.thread_time() - started
    assert (rejection.index, rejection.reason, rejection.amount) == (1, Reason.TOO_SLOW, 20)
    assert rejection.code is Close.TOO_LARGE
    assert seconds < 1
    (broadcast,) = room.take_broadcasts()
    entry = room.take_entry()
    assert entry is not None
    for integrated in (entry.update, broadcast.update):
        replica: Doc[Any] = Doc()
        replica.apply_update(integrated)
        assert clocks(replica.get_state()) == clocks(room.sync(b"\x00", b"").state_vector)
        assert {"a", "b"} == set(replica.get("m", type=Map).keys())
    assert len(broadcast.update) < len(conflicts(3_000))


def test_account_with_slow_edits_is_refused_for_a_time() -> None:
    """When an account has no time left, even its small edits are refused. Other accounts may edit. Proves R-BOUND-1."""
    room = room_with(account_seconds=0.02, account_share=NO_REFILL, edit_seconds=0.02)
    (slow,) = rejections(room, conflicts(2_000))
    assert slow.reason is Reason.TOO_SLOW
    list(room.take_broadcasts())
    (refused,) = rejections(room, one_key(7, "a"))
    assert (refused.reason, refused.code) == (Reason.ACCOUNT_TIME, Close.OVERLOADED)
    assert refused.amount > 0
    assert not rejections(room, one_key(8, "b"), author="bob")


@pytest.mark.parametrize("large", [many_clients(100), conflicts(2_000)])
def test_account_is_not_charged_for_the_queued_edits_of_others(
    large: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A large edit that is integrated after the queue counts with its own time only. Proves R-BOUND-1.

    The queued deletions of Bob take about 0.2 s. Both of Ann's edits take less: the one with conflicts is stopped
    after 60 ms, its limit of 20 ms plus 20 µs for each struct.
    """
    document = SharedDocument.load([update((5, 0, [in_root(STRING, text("x" * 1_000_000))]))])
    document.edit_seconds = 0.02
    # A reading of the document's deletions would integrate the queue.
    document._may_refresh_at = float("inf")
    monkeypatch.setattr(shared_document, "FEW_RANGES", 10_000)
    for first in range(0, 8 * 240, 8):
        ranges = [(2 * number, 1) for number in range(first, first + 8)]
        document.take(update(deleted=deletions((5, ranges))), author="bob")
    started = time.thread_time()
    with contextlib.suppress(TooSlow):
        document.take(large, author="ann")
    seconds = time.thread_time() - started
    assert document.queue_length == 0
    assert 0 < document.spent["ann"] < seconds / 2


LONG_TEXT = (
    Encoder()
    .uint(1)
    .uint(1)
    .uint(5)
    .uint(0)
    .raw(b"\x04\x01")
    .text("t")
    .text("x" * 1_000_000)
    .uint(0)
    .finish()
)
"""An edit of client 5 with a text of a million characters in one struct."""


def slow_deletions(count: int) -> bytes:
    """Return an edit that deletes single characters of client 5's long text. Each deletion takes about 0.1 ms."""
    ranges = [(2 * number, 1) for number in range(count)]
    return update(deleted=deletions((5, ranges)))


def test_edit_with_slow_deletions_is_resumed_in_short_turns() -> None:
    """Each turn is short, and the time counts for the author. The room keeps all deletions. Proves R-BOUND-1.

    The room takes no other edit before this edit is finished.
    """
    room = room_with()
    assert not rejections(room, LONG_TEXT)
    edits = [Edit("ann", slow_deletions(20_000)), Edit("bob", one_key(7, "a"))]
    receipt, turns, longest = room.receive(edits, seconds=TURN_SECONDS), 1, 0.0
    assert (receipt.taken, room.is_unfinished) == (1, True)
    while room.is_unfinished:
        started = time.thread_time()
        receipt = room.receive(edits[1:], first=1, seconds=TURN_SECONDS)
        longest = max(longest, time.thread_time() - started)
        turns += 1
        assert not receipt.rejected
        assert receipt.taken == 0 or not room.is_unfinished
    assert turns > 3
    receipt = room.receive(edits[1:], first=1)
    assert not receipt.rejected
    assert longest < 0.3
    entries = []
    while (entry := room.take_entry()) is not None:
        entries.append(entry.update)
        room.mark_committed(len(entries))
    assert room.is_saved(receipt)
    assert set(room._bounds._accounts) == {"ann", "bob"}
    assert room._bounds._accounts["ann"].seconds.seconds_until(4.9, time.monotonic()) > 0
    room_content = room.sync(b"\x00", b"").update
    assert SharedDocument.load(entries).missing(b"\x00") == room_content
    assert not rejections(room, slow_deletions(20_000))
    assert not room.has_unsaved_edits


def test_unfinished_edit_is_in_no_journal_entry() -> None:
    """The structs and the deletions of one edit are in one entry, although they are integrated in turns.

    Proves R-HIST-3.
    """
    room = room_with()
    assert not rejections(room, LONG_TEXT)
    while room.take_entry() is not None:
        room.mark_committed(1)
    edit = update(
        (7, 0, [in_root(ANY, NULL)]),
        deleted=deletions((5, [(2 * number, 1) for number in range(2_000)])),
    )
    receipt = room.receive([Edit("ann", edit)], seconds=0.0)
    while room.is_unfinished:
        assert room.take_entry() is None
        receipt = room.receive([], first=1, seconds=0.0)
    assert room.take_entry() is not None
    room.mark_committed(2)
    assert room.is_saved(receipt)
    assert not room.has_unsaved_edits


def test_deletions_of_an_account_without_time_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The rest of a slow edit and further deletions are refused, known deletions are not. Proves R-BOUND-1.

    The part that was integrated before the refusal is kept for the journal.
    """
    monkeypatch.setattr(shared_document, "SECONDS_PER_DELETED_CLOCK", 0.0)
    room = room_with(account_seconds=0.02, account_share=NO_REFILL, edit_seconds=0.02)
    assert not rejections(room, LONG_TEXT)
    deleting = slow_deletions(20_000)
    receipt = room.receive([Edit("ann", deleting)], seconds=TURN_SECONDS)
    refused = [Rejection.unpack(number) for number in receipt.rejected]
    while room.is_unfinished:
        receipt = room.receive([], first=1, seconds=TURN_SECONDS)
        refused += [Rejection.unpack(number) for number in receipt.rejected]
    assert [(each.index, each.reason) for each in refused] == [(0, Reason.ACCOUNT_TIME)]
    short = update(deleted=deletions((5, [(999_999, 1)])))
    (rejection,) = rejections(room, short)
    assert rejection.reason is Reason.ACCOUNT_TIME
    assert not rejections(room, short, author="bob")
    assert not rejections(room, short, update(deleted=deletions((5, [(39_998, 1)]))))
    kept = [each.part.update for each in room._unsaved]
    assert SharedDocument.load(kept).missing(b"\x00") == room.sync(b"\x00", b"").update


def test_known_deletions_of_an_account_without_time_are_accepted() -> None:
    """A client that joins sends all deletions of its document. Those of recent edits are known too.

    The document's deletions are not read again in this test. Proves R-BOUND-2 and R-BOUND-3.
    """
    doc: Doc[Any] = Doc()
    edits: list[bytes] = []
    subscription = doc.observe(lambda event: edits.append(event.update))
    elements = doc.get("elements", type=Map)
    room = room_with()
    room._document._may_refresh_at = float("inf")
    for value in "abcd":
        elements["key"] = value
    assert not rejections(room, *edits)
    room._bounds.spend("ann", 2 * Limits().account_seconds, time.monotonic())
    assert not rejections(room, doc.get_update())
    doc.unobserve(subscription)


def test_rest_of_a_large_deletion_is_not_refused_if_it_is_fast() -> None:
    """An edit that deletes many clocks may take more time than its account has. Proves R-BOUND-1.

    Up to 50 µs for each deleted clock count as fast.
    """
    room = room_with(account_seconds=0.0001, account_share=NO_REFILL, edit_seconds=0.0)
    assert not rejections(room, LONG_TEXT)
    edit = Edit("ann", update(deleted=deletions((5, [(0, 1_000_000)]))))
    assert room.receive([edit], seconds=0.0).rejected == ()
    turns = 0
    while room.is_unfinished:
        assert room.receive([], first=1, seconds=0.0).rejected == ()
        turns += 1
    assert turns > 20
    (rejection,) = rejections(room, one_key(7, "a"))
    assert rejection.reason is Reason.ACCOUNT_TIME


@pytest.mark.parametrize(("account_seconds", "is_slowed_down"), [(1e-6, True), (5.0, False)])
def test_released_edits_of_an_account_without_time_get_a_small_share(
    account_seconds: float, is_slowed_down: bool
) -> None:
    """Released edits are saved, so they are not refused, but the other canvases get most of the time.

    Proves R-BOUND-1 and R-BOUND-4.
    """
    room = room_with(account_seconds=account_seconds, canvas_share=1e-9)
    waiting = [waiting_edit(client) for client in range(10, 20)]
    assert not rejections(room, *waiting, author="mallory")
    missing = [Edit("ann", update((5, 0, [in_root(ANY, NULL)])))]
    assert not room.receive(missing, seconds=0.0).rejected
    assert (room.is_unfinished, room.seconds_until_edits > 0) == (True, is_slowed_down)
    while room.is_unfinished:
        assert not room.receive([], seconds=0.0).rejected
    unused = room._bounds._accounts["ann"].seconds.seconds_until(account_seconds, time.monotonic())
    assert unused == 0
    assert clocks(room.sync(b"\x00", b"").state_vector) == dict.fromkeys([5, *range(10, 20)], 1)


def test_unused_time_of_an_account_does_not_accumulate() -> None:
    """A long idle time does not increase the burst allowance of an account. Proves R-BOUND-1."""
    bounds = Bounds(Limits(account_seconds=5.0, account_share=0.02))
    growth = Growth(structs=1, clients=0)
    bounds.spend("ann", 0.1, 0.0)
    bounds.spend("ann", 6.0, 1000.0)
    with pytest.raises(EditRefused) as refused:
        bounds.admit("ann", growth, 0, 0, 1001.0)
    assert (refused.value.reason, refused.value.amount) == (Reason.ACCOUNT_TIME, 49)
    bounds.admit("ann", growth, 0, 0, 1050.1)


def test_large_edit_without_conflicts_is_taken() -> None:
    """An edit with 5,000 structs that do not conflict is taken within its limit. Proves R-BOUND-1."""
    assert not rejections(room_with(), many_clients(5_000))


@pytest.mark.parametrize(
    ("limits", "edits", "reason", "code"),
    [
        ({"edit_clients": 10}, [many_clients(11)], Reason.EDIT_CLIENTS, Close.TOO_LARGE),
        (
            {"account_clients": 10},
            [many_clients(10), many_clients(1, first=5000)],
            Reason.ACCOUNT_CLIENTS,
            Close.OVERLOADED,
        ),
        (
            {"canvas_clients": 10},
            [many_clients(10), many_clients(1, first=5000)],
            Reason.CANVAS_CLIENTS,
            Close.TOO_LARGE,
        ),
        (
            {"canvas_structs": 70},
            [many_clients(70), many_clients(1, first=5000)],
            Reason.CANVAS_STRUCTS,
            Close.TOO_LARGE,
        ),
    ],
)
def test_edit_beyond_a_bound_is_refused_and_changes_nothing(
    limits: dict[str, int], edits: list[bytes], reason: Reason, code: Close
) -> None:
    """The rejection of the last edit has the limit or the seconds to wait. Repeated edits are still taken.

    Proves R-BOUND-2.
    """
    room = room_with(**limits)
    (rejection,) = rejections(room, *edits)
    assert (rejection.index, rejection.reason) == (len(edits) - 1, reason)
    assert rejection.code is code
    assert str(rejection.amount) in rejection.text
    before = room.sync(b"\x00", b"").state_vector
    assert not rejections(room, *edits[:-1])
    assert room.sync(b"\x00", b"").state_vector == before


def test_overwritten_values_do_not_fill_a_canvas() -> None:
    """Edits that overwrite few values often are never refused for the structs of the canvas. Proves R-BOUND-2."""
    room = room_with(canvas_structs=70)
    doc: Doc[Any] = Doc()
    values = doc.get("elements", type=Map)
    for number in range(200):
        before = doc.get_state()
        values["a"] = number
        assert not rejections(room, doc.get_update(before))


def test_clients_of_pending_edits_count() -> None:
    """The clients of a pending edit count, because the edit is integrated later. Proves R-BOUND-2."""
    waiting = Encoder().uint(20)
    for client in range(20):
        waiting.uint(1).uint(client + 10).uint(0).raw(b"\x84").uint(5).uint(0).text("a")
    (rejection,) = rejections(room_with(edit_clients=10), waiting.uint(0).finish())
    assert rejection.reason is Reason.EDIT_CLIENTS


def waiting_edit(client: int, clock: int = 0, size: int = 1) -> bytes:
    """Return an edit that waits for client 5."""
    return update((client, clock, [after(STRING, text("x" * size), (5, 0))]))


def test_waiting_edit_beyond_the_bound_is_refused_and_changes_nothing() -> None:
    """The bytes of a canvas's waiting edits are bounded; waiting pieces and deletions count. Proves R-BOUND-2.

    Known edits, edits that wait for nothing and entries of the journal are still accepted. When the missing edit has
    arrived, edits that were refused before are accepted.
    """
    waiting = [waiting_edit(client) for client in range(10, 20)]
    limit = 10 * (len(waiting[0]) + PIECE_OVERHEAD_BYTES)
    room = room_with(canvas_waiting_bytes=limit)
    room.pace.end_pauses()
    assert not rejections(room, *waiting)
    room.mark_committed(room.take_entry() is not None)
    missing = update((5, 0, [in_root(ANY, NULL)]))
    deleting = update(deleted=deletions((6, [(0, 1)])))
    half_ready = update((7, 0, [in_root(ANY, NULL), after(ANY, NULL, (5, 1))]))
    for edit in (waiting_edit(20), deleting, half_ready):
        (rejection,) = rejections(room, edit)
        assert (rejection.reason, rejection.amount) == (Reason.CANVAS_WAITING, limit)
        assert (rejection.code, str(limit) in rejection.text) == (Close.OVERLOADED, True)
        assert not room.has_unsaved_edits
    assert not rejections(room, *waiting, one_key(8, "a"))
    room.load_content(Content(3, (waiting_edit(20),)))
    assert room._document.pending_bytes > limit
    assert not rejections(room, missing, waiting_edit(20), deleting, half_ready)
    assert clocks(room.sync(b"\x00", b"").state_vector) == dict.fromkeys(
        [5, 7, 8, *range(10, 21)], 1
    )


def test_waiting_bytes_of_one_edit_are_bounded() -> None:
    """The first waiting edit of a canvas must not have too many bytes either. Proves R-BOUND-2."""
    room = room_with(canvas_waiting_bytes=1000)
    (rejection,) = rejections(room, waiting_edit(10, size=1001 - PIECE_OVERHEAD_BYTES))
    assert rejection.reason is Reason.CANVAS_WAITING
    assert Limits().canvas_waiting_bytes == MAX_PENDING_BYTES // 2


@pytest.mark.parametrize(
    "contradicting",
    [
        waiting_edit(10, 4, size=5),
        waiting_edit(10, 3, size=3),
        waiting_edit(10, 7, size=9),
        waiting_edit(10, 5, size=1),
        update((11, 0, [after(STRING, text("abc"), (6, 0))])),
    ],
)
def test_waiting_edit_that_contradicts_another_edit_is_refused(contradicting: bytes) -> None:
    """A snapshot has one struct for each clock, so a second one would be lost. Proves R-BOUND-11.

    Client 10 has a waiting struct with the clocks 4 to 7. The document has a struct of client 11 with the clock 0.
    """
    room = room_with()
    first = waiting_edit(10, 4, size=4)
    neighbours = [waiting_edit(10, 3), waiting_edit(10, 8), waiting_edit(12, 4)]
    assert not rejections(room, first, one_key(11, "a"))
    (rejection,) = rejections(room, contradicting)
    assert (rejection.reason, rejection.code) == (Reason.CONTRADICTION, Close.OVERLOADED)
    assert not rejections(room, first, *neighbours)
    assert len(room._document.pending) == 4


def test_clients_of_an_account_are_allowed_again_with_time() -> None:
    """An account gets a third of its hourly clients back in twenty minutes. Proves R-BOUND-2."""
    bounds = Bounds(Limits(account_clients=300))
    bounds.admit("ann", Growth(300, 300), 0, 0, now=0.0)
    with pytest.raises(EditRefused) as refused:
        bounds.admit("ann", Growth(90, 90), 0, 0, now=600.0)
    assert refused.value.amount == pytest.approx(480, abs=1)
    bounds.admit("ann", Growth(90, 90), 0, 0, now=1200.0)
    bounds.admit("bob", Growth(300, 300), 0, 0, now=0.0)


def test_accounts_are_forgotten_when_their_debts_have_fallen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With many accounts, those with small debts are forgotten at most every `REMOVAL_SECONDS`. Proves R-BOUND-1."""
    monkeypatch.setattr(bounds_module, "MANY_ACCOUNTS", 2)
    bounds = Bounds(Limits(account_seconds=1.0, account_share=0.1))
    for author in ("ann", "bob"):
        bounds.spend(author, 0.6, now=0.0)
    bounds.spend("cy", 0.8, now=1.0)
    assert set(bounds._accounts) == {"ann", "bob", "cy"}
    bounds.spend("dee", 0.6, now=1.0 + REMOVAL_SECONDS - 0.1)
    assert set(bounds._accounts) == {"ann", "bob", "cy", "dee"}
    bounds.spend("eve", 0.6, now=1.0 + REMOVAL_SECONDS)
    assert set(bounds._accounts) == {"cy", "dee", "eve"}


def test_repeated_edits_need_no_transaction() -> None:
    """Known structs and known deletions do not reach the document. Proves R-BOUND-3."""
    doc: Doc[Any] = Doc(client_id=3)
    updates: list[bytes] = []
    subscription = doc.observe(lambda event: updates.append(event.update))
    elements: Map[Any] = doc.get("elements", type=Map)
    elements["a"] = 1
    elements["a"] = 2
    del elements["a"]
    doc.unobserve(subscription)
    room = room_with()
    assert not rejections(room, *updates)
    list(room.take_broadcasts())
    entry = room.take_entry()
    assert entry is not None
    room.mark_committed(1)
    for _ in range(3):
        assert not rejections(room, *updates, doc.get_update())
        assert not room.has_unsaved_edits
        assert not room._document.has_queue
    # Only this counter shows that no transaction has taken place.
    assert room._document._pycrdt.transaction_parts == 0


def test_canvas_with_slow_transactions_pauses_between_them() -> None:
    """A transaction of 10 ms is followed by a pause of 90 ms, a short one by none. Proves R-BOUND-4."""
    pace = Pace(Limits(canvas_share=0.1))
    pace.note_transaction(0.001, 0, now=10.0)
    assert pace.seconds_until_due(10.0) == 0
    pace.note_transaction(0.01, 0, now=10.0)
    assert pace.seconds_until_due(10.0) == pytest.approx(0.09)
    assert pace.seconds_until_due(10.1) == 0
    pace.note_transaction(5.0, 0, now=20.0)
    assert pace.seconds_until_due(20.0) == LONGEST_PAUSE_SECONDS
    pace.end_pauses()
    assert pace.seconds_until_due(20.0) == 0


def test_transaction_of_a_replica_that_leaves_causes_no_pause() -> None:
    """The pauses of a canvas end when its replica leaves it, so the metric counts no later pause. Proves R-BOUND-4."""
    pace = Pace(Limits())
    pace.end_pauses()
    before = PACED._value.get()
    pace.note_transaction(5.0, 0, now=10.0)
    assert PACED._value.get() == before
    assert pace.excess_seconds == 0.0


def test_pause_depends_on_the_time_in_excess_of_the_time_for_each_edit() -> None:
    """A transaction of 500 edits may take 10 ms. Only the time beyond these 10 ms causes a pause. Proves R-BOUND-4."""
    pace = Pace(Limits(canvas_share=0.1))
    pace.note_transaction(0.01, 500, now=10.0)
    assert pace.seconds_until_due(10.0) == 0
    pace.note_transaction(0.02, 500, now=10.0)
    assert pace.seconds_until_due(10.0) == pytest.approx(0.09)


@pytest.mark.parametrize("has_deletion", [False, True])
def test_transactions_of_a_room_count_their_edits(
    monkeypatch: pytest.MonkeyPatch, *, has_deletion: bool
) -> None:
    """A transaction is noted with its number of edits, because they determine its permitted time. Proves R-BOUND-4.

    An arriving deletion ends the transaction, because only pycrdt knows whether the deletion is new.
    """
    counts: list[int] = []
    monkeypatch.setattr(Pace, "note_transaction", lambda _, __, parts, ___: counts.append(parts))
    room = room_with()
    room.receive([Edit("ann", one_key(client, f"{client}")) for client in range(7, 107)])
    if has_deletion:
        room.receive([Edit("ann", update(deleted=deletions((7, [(0, 1)]))))])
    list(room.take_broadcasts())
    list(room.take_broadcasts())
    assert counts == [100 + has_deletion, 0]


def test_canvas_with_too_many_edits_waits() -> None:
    """After edits that exceed the canvas's share of processor time, the next edits wait. Proves R-BOUND-4."""
    pace = Pace(Limits(canvas_edit_share=0.5))
    pace.note_edits(EDIT_BURST_SECONDS, now=10.0)
    assert pace.seconds_until_edits(10.0) == 0
    pace.note_edits(0.2, now=10.0)
    assert pace.seconds_until_edits(10.0) == pytest.approx(0.4)
    assert pace.seconds_until_edits(10.5) == 0


@pytest.fixture
def long_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds_module, "LONGEST_PAUSE_SECONDS", 3600.0)


@pytest.mark.usefixtures("long_pause")
def test_paused_room_keeps_edits_for_its_next_transaction() -> None:
    """During a pause, replies to syncs lack the newest edits, and there are no broadcasts and no entries.

    The newest edits follow after the pause. Proves R-BOUND-4.
    """
    room = room_with()
    room.receive([Edit("ann", one_key(7, "a"))])
    list(room.take_broadcasts())
    room.pace.note_transaction(100.0, 1, time.monotonic())
    receipt = room.receive([Edit("ann", one_key(8, "b"))])
    assert room.seconds_until_due > 0
    assert list(room.take_broadcasts()) == []
    reply = room.sync(b"\0", b"")
    assert b"\x01a" in reply.update
    assert b"\x01b" not in reply.update
    assert reply.sequence == 1
    assert room.take_entry() is None
    room.pace.end_pauses()
    (broadcast,) = room.take_broadcasts()
    assert broadcast.sequence == 2
    assert room.take_entry() is not None
    room.mark_committed(1)
    assert room.is_saved(receipt)


@pytest.mark.usefixtures("long_pause")
@pytest.mark.parametrize(
    ("seconds", "is_measuring", "edits"),
    [(0.0001, False, 201), (0.01, False, 3), (0.0001, True, 0)],
)
def test_edits_wait_during_a_pause_if_the_next_transaction_would_be_long(
    monkeypatch: pytest.MonkeyPatch, seconds: float, is_measuring: bool, edits: int
) -> None:
    """The last transaction's seconds for each part predict the length of the next one. Proves R-BOUND-4.

    Edits also wait while the document measures the time of each edit.
    """
    room = room_with()
    room.receive([Edit("ann", one_key(7, "a"))])
    flush = room._document.flush

    def slow_flush() -> list[bytes]:
        changes = flush()
        room._document._pycrdt.transaction_seconds = seconds
        return changes

    monkeypatch.setattr(room._document, "flush", slow_flush)
    list(room.take_broadcasts())
    room.pace.note_transaction(100.0, 1, time.monotonic())
    monkeypatch.setattr(SharedDocument, "is_measuring", is_measuring)
    client = 8
    while not room.seconds_until_edits:
        room.receive([Edit("ann", one_key(client, "a"))])
        client += 1
    assert client - 8 == edits
    room.pace.end_pauses()
    assert room.seconds_until_edits == 0


@pytest.mark.parametrize(("seconds_per_part", "is_measuring"), [(0.0, True), (1.0, False)])
def test_slowness_of_a_transaction_depends_on_its_number_of_edits(
    monkeypatch: pytest.MonkeyPatch, seconds_per_part: float, is_measuring: bool
) -> None:
    """A long transaction of many short edits does not make the room measure each further edit. Proves R-BOUND-1."""
    monkeypatch.setattr(pycrdt_document, "SLOW_SECONDS", 0.0)
    monkeypatch.setattr(pycrdt_document, "SECONDS_PER_PART", seconds_per_part)
    room = room_with()
    room.receive([Edit("ann", one_key(client, "a")) for client in range(7, 107)])
    list(room.take_broadcasts())
    assert room._document.is_measuring == is_measuring


def test_room_takes_few_edits_after_the_end_of_its_time() -> None:
    """The receipt counts the edits that the room has taken or rejected. Proves R-BOUND-5."""
    room = room_with()
    edits = [
        Edit("ann", one_key(client, "a"))
        for client in range(7, 7 + 2 * EDITS_BETWEEN_TIME_READINGS)
    ]
    edits[1] = Edit("ann", b"\xff")
    receipt = room.receive(edits, seconds=0.0)
    assert (receipt.taken, receipt.rejected) == (EDITS_BETWEEN_TIME_READINGS, (1,))
    assert room.receive(edits).taken == len(edits)
    assert room.receive(edits, seconds=3600.0).taken == len(edits)


def test_room_reads_the_time_after_each_large_edit() -> None:
    """Several large edits do not keep the replica from serving other canvases. Proves R-BOUND-5."""
    room = room_with()
    edits = [Edit("ann", one_key(7, "a" * (LARGE_EDIT_BYTES + 1))), Edit("ann", one_key(8, "a"))]
    assert room.receive(edits, seconds=0.0).taken == 1
    assert room.receive(edits[1:], seconds=0.0).taken == 1


def test_large_edit_that_was_checked_in_advance_is_taken() -> None:
    """The result of the check is used if the document has not changed after the check. Proves R-BOUND-5."""
    room = room_with()
    edit = Edit("ann", many_clients(100))
    checked = room.check(edit.update)
    assert checked is not None
    assert room.receive([edit], checked).rejected == ()
    # The check is out of date now. If the room used it, the structs would be integrated a second time.
    before = room.sync(b"\x00", b"").state_vector
    assert room.receive([edit], checked).rejected == ()
    assert room.sync(b"\x00", b"").state_vector == before
    assert room.check(b"\xff") is None


@pytest.mark.parametrize("reason", list(Reason))
def test_packed_rejection_keeps_its_fields(reason: Reason) -> None:
    """A rejection is packed into one number of at most 53 bits. For a malformed edit, this number is the index.

    Proves R-BOUND-1.
    """
    for index, amount in ((0, 0), (7, 33_000), ((1 << 20) - 1, (1 << 29) - 1)):
        packed = Rejection(index, reason, amount).pack()
        assert Rejection.unpack(packed) == Rejection(index, reason, amount)
        assert packed < 1 << 53
    assert Rejection(5).pack() == 5
    assert len(Rejection(0, reason, 1 << 28).text.encode()) <= 120


@pytest.mark.usefixtures("long_pause")
def test_sync_of_a_paused_room_and_the_next_broadcast_have_all_edits() -> None:
    """A sync during a pause is answered. Its reply and the next broadcast together have all edits. Proves R-BOUND-4."""
    room = room_with()
    room.receive([Edit("ann", one_key(7, "a"))])
    list(room.take_broadcasts())
    room.pace.note_transaction(100.0, 1, time.monotonic())
    room.receive([Edit("ann", many_clients(200))])
    reply = room.sync(b"\0", b"")
    room.receive([Edit("ann", many_clients(200, first=5000)), Edit("ann", one_key(8, "b"))])
    assert list(room.take_broadcasts()) == []
    room.pace.end_pauses()
    (broadcast,) = room.take_broadcasts()
    client: Doc[Any] = Doc()
    client.apply_update(reply.update)
    client.apply_update(broadcast.update)
    assert clocks(client.get_state()) == clocks(room.sync(b"\x00", b"").state_vector)
    assert len(client.get("m", type=Map)) == 402
