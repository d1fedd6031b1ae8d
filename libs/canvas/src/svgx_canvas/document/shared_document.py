"""A Yjs document that integrates edits from any client, in any order.

pycrdt 0.14 has three weaknesses that a server must avoid. It loses some pending updates when several updates depend on
missing ones (`test_pycrdt_without_the_split_loses_a_pending_edit`). Pending updates slow down every later edit. And an
update can make pycrdt fail half-way or panic, which leaves the document unusable. Therefore each update is checked and
split before pycrdt reads it (`svgx_yjs.splitting`). pycrdt gets only the part that depends on no missing struct. The
pending part is kept here as bytes, in pieces: each piece is a small update that waits for one missing struct.
"""

import hashlib
import math
import time
from collections import defaultdict, deque
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Self

from pycrdt import Doc, Subscription, Transaction, TransactionEvent, merge_updates

from svgx_canvas.document.deletion_groups import CLOCKS_PER_RANGE, DeletionGroups
from svgx_canvas.document.faults import PYCRDT_FAULTS, Fault
from svgx_canvas.document.known_deletions import KnownDeletions
from svgx_canvas.document.outline import read_outline
from svgx_canvas.document.pending_pieces import PendingPieces, ReleasedPiece
from svgx_yjs.delete_set import Ranges, encode_delete_set, merge_ranges, read_delete_set
from svgx_yjs.joining import join_first, with_waiting
from svgx_yjs.lib0 import Decoder, Encoder, Malformed
from svgx_yjs.nesting import Nesting
from svgx_yjs.parts import Part, Split, Step
from svgx_yjs.record import record
from svgx_yjs.splitting import (
    STEP_STRUCTS,
    cut_steps,
    encode_runs,
    encode_steps,
    leave_out,
    split,
)
from svgx_yjs.structure import EMPTY_UPDATE, read_state_vector

MAX_PENDING_BYTES = 16 * 1024 * 1024
"""Limit of the pending updates in memory, in bytes. Beyond it, the oldest are forgotten; the journal keeps them."""

MAX_FAULTS = 20
"""The most updates of one journal that pycrdt may fail on. With one more, loading the document fails."""

FEW_STRUCTS = 64
"""The most structs of an edit that is integrated together with other edits. The time of larger edits is measured."""

MAX_COMPARISONS = 200_000
"""The most comparisons of two structs in an unmeasured call of pycrdt.

To place a new struct, pycrdt may compare it with each struct of the document, which takes 0.7e-6 s for each of them.
"""

FEW_RANGES = 64
"""The most deleted ranges of an edit that is integrated together with other edits.

These ranges have at most `CLOCKS_PER_RANGE * FEW_RANGES` clocks in total. The deletions of larger edits are integrated
in groups (see `DeletionGroups`).
"""

FIRST_GROUP, LARGEST_GROUP = 8, 1024
"""The number of deleted ranges in the first group of a document, and in the largest one."""

GROUP_SECONDS = 0.005
"""Intended processor time for a group of deletions, in seconds. It sets the size of the next group.

pycrdt usually needs 2e-6 s for a deleted struct, but 5e-3 s and more if the struct's client has millions of structs.
"""

SLOW_SECONDS = 0.02
"""Limit of a transaction's processor time, in seconds. Each part in the transaction adds `SECONDS_PER_STRUCT`.

After a transaction over this limit, the time of each edit is measured for `MEASURED_SECONDS`.
"""

MEASURED_SECONDS = 10.0
"""Time for which each edit is measured after a transaction over its limit (see `SLOW_SECONDS`), in seconds."""

SECONDS_PER_STRUCT = 20e-6
"""Processor time in seconds. Each struct adds it to the limit of its edit, and each part to that of its transaction.

pycrdt usually needs 4e-6 s for a struct.
"""

SECONDS_PER_DELETED_CLOCK = 50e-6
"""Processor time in seconds that does not count as excess (see `_Deleting.excess_seconds`)."""

LOADED_STRUCTS = 256
"""Structs of a journal update that are integrated in one call. pycrdt stops all threads during a call."""

LOADED_RANGES = 256
"""Deleted ranges of a journal update that are integrated in one call."""

MANY_CLIENTS = 5_000
"""The changes of a document are not observed if at least this many clients have ever edited it.

With an observer, pycrdt compares the state vectors from before and after each transaction: with 50,000 clients, a
transaction takes 9 to 13 ms. Without an observer, a transaction and one reading of the state vector take 5 to 7 ms.
"""

CHANGE_BYTES = 1024 * 1024
"""Largest size of joined changes, in bytes. Changes are joined only in a document that is not observed."""

REFRESH_SHARE = 0.02
"""The largest share of time that reading the document's deletions may take. Beyond it, the next reading is delayed."""


class TooSlow(Exception):
    """An edit takes more time to integrate than its limit. The document keeps the first part of the edit only.

    `parts` are the parts that have to be saved.
    """

    def __init__(self, parts: list[Part]) -> None:
        super().__init__("the edit takes too long to integrate")
        self.parts = parts


@record
class Growth:
    """The growth of a document by one edit: the edit's structs, and its Yjs clients that are new to the document."""

    structs: int
    clients: int
    pending_bytes: int = 0
    """Bytes of memory for the pending pieces of the edit that are new to the document."""
    contradicts: bool = False
    """True if a pending struct of the edit has the clock of another struct, in the document or in a pending piece."""
    deletes: bool = False
    """True if the edit has deletions that are new to the document, and no structs that are new and ready."""


@record
class CheckedEdit:
    """A checked edit, and the version of the document for which the check is valid."""

    version: int
    split: Split


Select = Callable[[str, Collection[int]], Collection[int]]
"""A function that gets the author and the clients of an edit's new structs, and returns the clients to leave out."""

Admit = Callable[[str, Growth], None]
"""A function that gets the author and the growth of an edit, and raises an error to refuse the edit."""


@record
class _Queued:
    """A part that can be integrated, and the update or pending piece that it comes from."""

    update: bytes
    part: Part
    advances: bool
    """True if the part has new structs, and not only deletions."""


@dataclass(slots=True)
class _Deleting:
    """The deletions of an edit or a released piece that are not integrated yet."""

    author: str
    update: bytes
    """The edit or piece."""
    groups: DeletionGroups
    is_saved: bool
    """True for a released piece."""
    excess_seconds: float = 0.0
    """Seconds of processor time so far, without `SECONDS_PER_DELETED_CLOCK` for each clock.

    A fast group does not make up for a slow one that follows. A single struct may have a billion clocks.
    """


class SharedDocument:
    """A document and its pending updates, made by `load`. After a `Fault` it must not be used.

    `take` checks an update and queues it. `flush` integrates everything in the queue in one transaction, because
    pycrdt needs ten times as long for a transaction as for an update in it.

    An edit with many deletions, or an edit that releases pending updates, may take long. `take` then returns before the
    end of the edit, and `resume` continues it.

    A document with `one_by_one` integrates each update in a transaction of its own. A `Fault` then names the update
    that pycrdt failed on.
    """

    def __init__(
        self,
        faulty: Collection[bytes] = (),
        *,
        one_by_one: bool = False,
        max_pending_bytes: int | None = MAX_PENDING_BYTES,
    ) -> None:
        self.left_out = 0
        """The number of journal updates and released pending pieces that can never be integrated."""
        self.clocks: dict[int, int] = {}
        """The next clock of each client. All lower clocks are in the document or in the queue."""
        self._doc: Doc[Any] = Doc()
        self._one_by_one = one_by_one
        self.structs = 0
        """The number of structs of the journal and of large edits.

        Short edits count when the document is loaded the next time, because pycrdt unites or removes most of their
        structs, for example those of overwritten values.
        """
        self._added_structs = 0
        """The number of all structs that the document has got so far, including overwritten values."""
        self.version = 0
        """The number of changes of the document and its queue."""
        self.edit_seconds = 0.1
        """Limit of the processor time of one edit, in seconds. Each struct adds `SECONDS_PER_STRUCT`."""
        self.spent: defaultdict[str, float] = defaultdict(float)
        """The measured seconds of processor time by author. The caller may clear the mapping."""
        self.transaction_seconds = 0.0
        """Seconds of processor time that the transactions have taken. The caller may reset it."""
        self.transaction_parts = 0
        """The number of edits and pending pieces that the transactions have integrated. The caller may reset it."""
        self._queue: list[_Queued] = []
        self._queued_structs = 0
        """The number of structs in the queue."""
        self._queued_ranges = 0
        """The number of deleted ranges in the queue, without the first one of each edit."""
        self._released: deque[ReleasedPiece] = deque()
        """Pieces that are no longer pending, and are not integrated yet."""
        self._deleting: deque[_Deleting] = deque()
        self._group_size = FIRST_GROUP
        """The number of deleted ranges in the next group."""
        self._transaction: Transaction | None = None
        self._in_transaction: list[_Queued] = []
        """The parts that are integrated in the open transaction."""
        self._applied_seconds = 0.0
        """Seconds of processor time that the open transaction has taken so far."""
        self._measured_until = 0.0
        self._deletions = KnownDeletions()
        self._may_refresh_at = 0.0
        self._fault: Fault | None = None
        self._vector: bytes | None = None
        """The encoded state vector of the integrated content; None while it is not known."""
        self._changes: list[bytes] = []
        self._nesting = Nesting()
        self._faulty = faulty
        self._pending = PendingPieces()
        self._max_pending_bytes = max_pending_bytes
        self._is_loaded = False
        """False while the journal is loaded. The loaded content is not a change."""
        self._subscription: Subscription | None = None
        """The observer of the changes; None while the journal is loaded, and from `MANY_CLIENTS` clients on."""

    @classmethod
    def load(
        cls,
        updates: Sequence[bytes] = (),
        *,
        outline: bytes = b"",
        faulty: Collection[bytes] = (),
        one_by_one: bool = False,
        max_pending_bytes: int | None = MAX_PENDING_BYTES,
    ) -> Self:
        """Return the document of a journal. The order of its updates does not matter.

        Updates that cannot be integrated are left out. The first update is not checked if `outline` is its outline.
        `faulty` has the digests of faulty updates: `load` leaves them out, and `take` refuses them. Beyond
        `max_pending_bytes`, the oldest pending pieces are forgotten; None means no limit. Raises `Fault` if pycrdt
        fails on more than `MAX_FAULTS` updates.
        """
        new_faulty: set[bytes] = set()
        loads_one_by_one = False
        while True:
            document = cls(
                {*faulty, *new_faulty},
                one_by_one=loads_one_by_one,
                max_pending_bytes=max_pending_bytes,
            )
            try:
                first = int(
                    bool(outline)
                    and not loads_one_by_one
                    and document._absorb_outlined(updates[0], outline)
                )
                for update in updates[first:]:
                    document.load_update(update)
                document.flush()
            except Fault as fault:
                if fault.update_digest is not None:
                    new_faulty.add(fault.update_digest)
                is_unknown = fault.update_digest is None
                if len(new_faulty) > MAX_FAULTS or (is_unknown and loads_one_by_one):
                    raise
                loads_one_by_one = True
            else:
                document._one_by_one = one_by_one
                document._measured_until = 0.0
                document._is_loaded = True
                document._subscription = document._doc.observe(document._on_change)
                document._stop_observing_many()
                return document

    @property
    def pending(self) -> list[bytes]:
        """The pending updates, in small pieces."""
        return list(self._pending)

    @property
    def pending_bytes(self) -> int:
        """The bytes of memory that the pending updates take."""
        return self._pending.bytes

    def check(self, update: bytes) -> CheckedEdit | None:
        """Check an edit for `take`, without changing anything. May run in a thread.

        Return None after any error. `take` then checks the edit again.
        """
        version = self.version
        try:
            return CheckedEdit(version, self._split(update))
        except Exception:  # noqa: BLE001  # the document may have changed meanwhile
            return None

    def take(
        self,
        update: bytes,
        *,
        author: str = "",
        admit: Admit | None = None,
        select: Select | None = None,
        checked: CheckedEdit | None = None,
        seconds: float = math.inf,
    ) -> list[Part]:
        """Queue an edit, and the pending updates that it releases. Return its new parts, which have to be saved.

        Many deletions and released updates are integrated for about `seconds` of processor time. If some are left,
        `is_unfinished` is true, and `resume` must continue the edit before the next edit is taken.

        Raises `Malformed` if the edit is not an update, can never be integrated or is known to be faulty. Raises the
        errors of `select` and `admit`. Raises `TooSlow` and `Fault`, because large edits are integrated immediately.
        """
        is_valid = checked is not None and checked.version == self.version
        parts = checked.split if checked is not None and is_valid else self._split(update)
        if parts.unplaceable:
            raise Malformed("a struct or deletion has no possible place, or is nested too deep")
        clients = (
            {*parts.clocks, *parts.waiting_clients}
            if parts.waiting_clients
            else parts.clocks.keys()
        )
        if select is not None and (left_out := select(author, clients)):
            update = leave_out(update, left_out)
            parts = self._split(update)
        ranges = _count_ranges(parts.deletions) if parts.deletions else 0
        if ranges and (not parts.clocks or ranges > FEW_RANGES):
            parts = self._without_known_deletions(parts)
            ranges = _count_ranges(parts.deletions)
        if admit is not None:
            admit(author, self._growth(parts))
        new_parts = self._take(update, parts, author, ranges)
        if self._released or self._deleting:
            new_parts += self.resume(seconds=seconds)
        return new_parts

    @property
    def is_unfinished(self) -> bool:
        """Whether `resume` must continue the last edit."""
        return bool(self._deleting or self._released)

    @property
    def is_releasing(self) -> bool:
        """Whether `resume` must integrate released pending updates."""
        return bool(self._released)

    def resume(self, *, seconds: float = math.inf, admit: Admit | None = None) -> list[Part]:
        """Continue the last edit for about `seconds` of processor time. Return its new parts, which have to be saved.

        `admit` is called if the deletions of the edit have more excess seconds than `edit_seconds`. If it raises an
        error, the remaining deletions are refused. Raises this error and `Fault`.
        """
        edit = next((each for each in self._deleting if not each.is_saved), None)
        if edit is not None and admit is not None and edit.excess_seconds > self.edit_seconds:
            try:
                admit(edit.author, Growth(0, 0, deletes=True))
            except Exception:
                self._deleting.remove(edit)
                raise
        groups = []
        started = time.thread_time()
        while self.is_unfinished:
            if self._deleting:
                deleting = self._deleting[0]
                group = self._integrate_group(deleting)
                if not deleting.is_saved:
                    groups.append(group)
            else:
                self._integrate_released(self._released.popleft())
            if time.thread_time() - started >= seconds:
                break
        return [_join_deletions(groups)] if groups else []

    def load_update(self, update: bytes) -> None:
        """Queue an update of the journal, or count it in `left_out` if it is malformed. Raises `Fault`.

        After `load`, the pending updates that it releases are left for `resume`.
        """
        try:
            self._take(update, self._split(update), None)
        except Malformed:
            self.left_out += 1
        while self._released and not self._is_loaded:
            self._integrate_released(self._released.popleft())

    def _absorb_outlined(self, update: bytes, outline: bytes) -> bool:
        """Integrate the first update of a journal without checking it. Return False if the outline cannot be used.

        Raises `Fault`.
        """
        outlined = read_outline(outline, update)
        if outlined is None or (self._faulty and _digest(update) in self._faulty):
            return False
        for step in outlined.steps:
            self._apply(encode_steps(update, [step]))
        decoder = Decoder(update)
        decoder.position = outlined.deletions_at
        self._apply_deletions(dict(read_delete_set(decoder)))
        self._commit()
        self.structs += outlined.structs
        self._added_structs += outlined.structs
        self._nesting = outlined.nesting
        self.clocks = self._nesting.clocks
        if read_state_vector(self.state_vector()) != self.clocks:
            raise Fault
        return True

    def flush(self) -> list[bytes]:
        """Integrate the queue. Return the changes of the document since the last call, as updates for the clients.

        Raises `Fault`.
        """
        self._integrate_queue()
        changes, self._changes = self._changes, []
        return [change for change in changes if change != EMPTY_UPDATE]

    @property
    def queue_length(self) -> int:
        """The number of parts that wait for their integration."""
        return len(self._queue)

    @property
    def has_queue(self) -> bool:
        """True while edits wait for `flush`."""
        return bool(self._queue) or self._transaction is not None

    def state_vector(self, *, with_queue: bool = True) -> bytes:
        """Return the state vector of the document, encoded. Raises `Fault`.

        The encoded vector is kept until the next change, because the time to encode it grows with the number of clients
        that ever edited the document. With `with_queue` false, the vector may lack the edits in the queue.
        """
        if with_queue:
            self._integrate_queue()
        if self._vector is None:
            with PYCRDT_FAULTS:
                self._vector = self._doc.get_state()
        return self._vector

    def missing(self, state_vector: bytes, *, with_queue: bool = True) -> bytes:
        """Return the update that a peer with `state_vector` lacks. Raises `Malformed` and `Fault`.

        With `with_queue` false, the update may lack the edits in the queue.
        """
        read_state_vector(state_vector)
        if with_queue:
            self._integrate_queue()
        with PYCRDT_FAULTS:
            return self._doc.get_update(state_vector)

    def _growth(self, parts: Split) -> Growth:
        clients = sum([client not in self.clocks for client in parts.clocks])
        deletes = bool(parts.deletions) and not parts.clocks
        if not parts.pieces:
            return Growth(parts.structs, clients, deletes=deletes)
        if parts.waiting_clients:
            clients = len({*parts.clocks, *parts.waiting_clients} - self.clocks.keys())
        pending_bytes = self._pending.new_bytes(parts)
        contradicts = any(
            piece not in self._pending
            and (span.clock < self.clocks.get(span.client, 0) or self._pending.overlaps(span))
            for (piece, _), span in zip(parts.pieces, parts.spans, strict=False)
        )
        return Growth(parts.structs, clients, pending_bytes, contradicts, deletes)

    def _take(self, update: bytes, parts: Split, author: str | None, ranges: int = 0) -> list[Part]:
        """Queue the ready part of an update, and keep its pending part. Return the parts that are new.

        The released pieces, and many deletions of an edit, are left for `resume`. `ranges` is the number of an edit's
        deleted ranges. `author` is None for an update of the journal. Raises `TooSlow` and `Fault`.
        """
        deletions: Ranges = {}
        if ranges > FEW_RANGES:
            deletions, parts, ranges = parts.deletions, _with_deletions(parts, {}), 0
        new_parts = []
        waiting_clients: list[int] = []
        if parts.pending is not None and (pieces := self._pending.keep(parts, author)):
            is_whole = len(pieces) == len(parts.pieces)
            new_parts.append(
                Part(parts.pending if is_whole else with_waiting(EMPTY_UPDATE, pieces))
            )
            waiting_clients = [*parts.waiting_clients]
        slow: TooSlow | None = None
        try:
            ready = self._enqueue(update, parts, author, ranges=ranges)
        except TooSlow as error:
            ready, slow = None, error
            error.parts = [*new_parts, *error.parts]
        if ready is not None:
            new_parts.append(ready)
        if self._pending:
            if self._release_pending([*parts.clocks, *waiting_clients]):
                parts_to_save = new_parts if slow is None else slow.parts
                parts_to_save[-1:] = [replace(part, releases=True) for part in parts_to_save[-1:]]
            self._limit_pending()
        if slow is not None:
            raise slow
        if deletions and author is not None:
            self._delete_in_groups(author, update, deletions, is_saved=False)
        return new_parts

    def _release_pending(self, advanced: list[int]) -> bool:
        """Take the pieces that waited for structs of these clients. Return whether there are any."""
        before = len(self._pending)
        self._released += self._pending.take_released(advanced, self.clocks)
        return len(self._pending) != before

    def _integrate_released(self, piece: ReleasedPiece) -> None:
        """Integrate a released piece, and take the pieces that waited for it. Raises `Fault`.

        A large piece is cut into small updates, which stay in `_released`. The time of a piece has no limit, because
        the piece is saved.
        """
        update, author = piece
        try:
            parts = self._split(update)
        except Malformed:
            self.left_out += 1
            return
        is_pending = bool(self._pending.keep(parts, author))
        if not self._is_loaded:
            self._enqueue(update, parts, None)
        elif small := self._small_updates(update, parts):
            self._released.extendleft([ReleasedPiece(each, author) for each in reversed(small)])
        elif parts.clocks:
            self._enqueue(update, parts, author or "", limit=math.inf)
        elif unknown := self._deletions.unknown(parts.deletions):
            self._delete_in_groups(author or "", update, unknown, is_saved=True)
        if self._pending:
            self._release_pending([*parts.clocks, *(parts.waiting_clients if is_pending else ())])
            self._limit_pending()

    def _small_updates(self, update: bytes, parts: Split) -> list[bytes]:
        """Return the structs of a released piece in small updates, or nothing if the piece has few structs."""
        if parts.structs <= self._few_structs:
            return []
        small = [encode_steps(update, [step]) for step in self._short_steps(update, parts)]
        return small if len(small) > 1 else []

    def _delete_in_groups(
        self, author: str, update: bytes, deletions: Ranges, *, is_saved: bool
    ) -> None:
        """Leave deletions of `update` for `resume`."""
        groups = DeletionGroups(deletions, self._nesting.may_cut)
        self._deleting.append(_Deleting(author, update, groups, is_saved))

    def _integrate_group(self, deleting: _Deleting) -> Ranges:
        """Integrate the next group of deletions in a transaction of its own, and return it. Raises `Fault`.

        The transaction ends here, because pycrdt unites deleted structs only at the end of a transaction. The time
        counts for the author, and not for `transaction_seconds`, because it does not depend on the edits in the queue.
        """
        self._integrate_queue()
        group = deleting.groups.take(self._group_size)
        part = Part(_encode_deletions(group), deletions=group)
        self._queue.append(_Queued(deleting.update, part, advances=False))
        seconds = self._integrate_transaction()
        self._deletions.add(group)
        self.version += 1
        self.spent[deleting.author] += seconds
        clocks = sum([length for ranges in group.values() for _, length in ranges])
        excess = deleting.excess_seconds + seconds - SECONDS_PER_DELETED_CLOCK * clocks
        deleting.excess_seconds = max(0.0, excess)
        scale = min(2.0, GROUP_SECONDS / max(seconds, 1e-6))
        self._group_size = min(LARGEST_GROUP, math.ceil(self._group_size * scale))
        if not deleting.groups:
            self._deleting.remove(deleting)
        return group

    def _split(self, update: bytes) -> Split:
        if self._faulty and _digest(update) in self._faulty:
            raise Malformed("the update made the document fail before")
        return split(update, self.clocks, self._nesting)

    def _enqueue(
        self,
        update: bytes,
        parts: Split,
        author: str | None,
        *,
        ranges: int = 0,
        limit: float | None = None,
    ) -> Part | None:
        """Queue the ready part of `update` and return it, or return None if the document already has everything.

        `ranges` is the number of deleted ranges. `author` is None for an update of the journal, which has no time
        limit. Without `limit`, the limit of a large edit depends on its structs. Raises `TooSlow`.
        """
        if parts.ready is None:
            return None
        part = Part(parts.ready, parts.runs, parts.deletions)
        structs = parts.structs
        queued = _Queued(update, part, advances=bool(parts.clocks))
        if (
            author is None
            and self._is_loaded
            and not parts.clocks
            and not self._deletions.unknown(part.deletions)
        ):
            return None
        if author is None:
            if parts.steps and structs > LOADED_STRUCTS:
                self._apply_queue()
                self._apply_steps(queued, parts, [*_groups(parts.steps, LOADED_STRUCTS)])
            elif not structs and _count_ranges(parts.deletions) > FEW_RANGES:
                self._apply_queue()
                self._apply_steps(queued, parts, [])
            else:
                self._queue.append(queued)
        elif (
            structs > FEW_STRUCTS
            or (structs > 1 and structs > self._few_structs)
            or limit is not None
            or self.is_measuring
            or (ranges > 1 and not self._may_queue_ranges(ranges - 1))
        ):
            self._apply_measured(queued, parts, author, limit)
        else:
            self._queue.append(queued)
            self._queued_structs += structs
            if self._queued_structs * self._added_structs > MAX_COMPARISONS:
                self._apply_queue()
        self._note(parts, structs)
        if self._one_by_one:
            self._integrate_queue()
        return part

    def _note(self, parts: Split, structs: int) -> None:
        """Note that the ready part is in the document or in the queue."""
        if not self._is_loaded or structs > FEW_STRUCTS:
            self.structs += structs
        self._added_structs += structs
        self.clocks.update(parts.clocks)
        self._nesting.update(parts.nesting)
        if parts.deletions and self._is_loaded:
            self._deletions.add(parts.deletions)
        # The version changes last, because `check` reads it first, in another thread.
        self.version += 1

    @property
    def _few_structs(self) -> int:
        """The most structs that one call of pycrdt may integrate without a measurement, at least 1."""
        return max(1, min(FEW_STRUCTS, MAX_COMPARISONS // max(1, self._added_structs)))

    def _may_queue_ranges(self, ranges: int) -> bool:
        """Return whether the queue may have this number of further deleted ranges, and count them if so."""
        if self._queued_ranges + ranges > FEW_RANGES:
            return False
        self._queued_ranges += ranges
        return True

    def _without_known_deletions(self, parts: Split) -> Split:
        """Return the split without the deletions that the document is known to have.

        Each client that joins sends all deletions of its document, also deletions of overwritten values. Only pycrdt
        has a list of all deletions. Reading this list takes time in proportion to the number of deletions and clients,
        so it is not read again before `_may_refresh_at`. Until then, the result may have deletions that the document
        has. Saving a deletion again is harmless.
        """
        known = self._deletions
        unknown = known.unknown(parts.deletions)
        now = time.monotonic()
        if unknown and now >= self._may_refresh_at:
            started = time.thread_time()
            known.replace(self._read_deletions())
            seconds = time.thread_time() - started
            earliest = max(self._may_refresh_at, now - 10.0)
            self._may_refresh_at = earliest + seconds / REFRESH_SHARE
            unknown = known.unknown(unknown)
        return parts if unknown == parts.deletions else _with_deletions(parts, unknown)

    def _read_deletions(self) -> list[tuple[int, list[tuple[int, int]]]]:
        """Return all deletions of the document. They are the update for a peer that has all structs."""
        vector = self.state_vector()
        with PYCRDT_FAULTS:
            decoder = Decoder(self._doc.get_update(vector))
        if decoder.uint():  # pycrdt sends no structs to a peer that has all of them
            return []
        return list(read_delete_set(decoder))

    @property
    def is_measuring(self) -> bool:
        """Whether `take` integrates each edit and measures its time, because transactions were slow."""
        return time.monotonic() < self._measured_until

    def _apply_measured(
        self, queued: _Queued, parts: Split, author: str, limit: float | None
    ) -> None:
        """Integrate an edit step by step, and measure its time. Raises `TooSlow` and `Fault`.

        Without `limit`, the limit depends on the number of structs. The time of the queue does not count, because the
        queue has edits of other authors.
        """
        self._apply_queue()
        before = self._applied_seconds
        if limit is None:
            limit = self.edit_seconds + SECONDS_PER_STRUCT * parts.structs
        try:
            groups = [[step] for step in self._short_steps(queued.update, parts)]
            self._apply_steps(queued, parts, groups, limit=limit)
        finally:
            self.spent[author] += self._applied_seconds - before

    def _short_steps(self, update: bytes, parts: Split) -> Sequence[Step]:
        """Return the steps of an update, so short that each of them may be integrated without a measurement."""
        structs = self._few_structs
        return (
            parts.steps if structs >= STEP_STRUCTS else [*cut_steps(update, parts.steps, structs)]
        )

    def _apply_steps(
        self,
        queued: _Queued,
        parts: Split,
        groups: Sequence[Sequence[Step]],
        *,
        limit: float | None = None,
    ) -> None:
        """Integrate an update in the open transaction, and count the processor time. The queue must be empty.

        `groups` has the steps of each call of pycrdt. Without steps, one call integrates the whole update.

        Raises `TooSlow` when the groups take more than `limit` seconds.
        """
        update = queued.update
        integrated: list[Step] = []
        is_complete = True
        started = time.thread_time()
        try:
            for group in groups:
                self._apply(encode_steps(update, group))
                integrated += group
                seconds = time.thread_time() - started
                if limit is not None and seconds > limit and group is not groups[-1]:
                    is_complete = False
                    break
            else:
                if not groups and parts.clocks:
                    self._apply(queued.part.update)
                else:
                    self._apply_deletions(parts.deletions)
        except Fault as fault:
            self._note_fault(fault, queued)
            raise
        finally:
            self._applied_seconds += time.thread_time() - started
        if not is_complete:
            first = split(encode_steps(update, integrated), self.clocks, self._nesting)
            self._note(first, first.structs)
            assert first.ready is not None, "the document has integrated a step"
            part = Part(first.ready, first.runs)
            self._in_transaction.append(_Queued(queued.update, part, advances=True))
            raise TooSlow([part])
        self._in_transaction.append(queued)

    def _apply_deletions(self, deletions: Ranges) -> None:
        """Integrate deletions in the open transaction, in calls of `LOADED_RANGES`, the last clocks first."""
        for client, ranges in deletions.items():
            for end in range(len(ranges), 0, -LOADED_RANGES):
                some = ranges[max(0, end - LOADED_RANGES) : end]
                self._apply(_encode_deletions({client: some}))

    def _apply(self, update: bytes) -> None:
        """Integrate an update in the open transaction."""
        if self._transaction is None:
            transaction = self._doc.transaction()
            transaction.__enter__()
            self._transaction = transaction
        with PYCRDT_FAULTS:
            self._doc.apply_update(update)

    def _apply_queue(self) -> None:
        """Integrate the queue in the open transaction, and count the processor time. Raises `Fault`."""
        parts = len(self._queue)
        started = time.thread_time()
        try:
            self._apply_all_queued()
        except Fault as fault:
            applied = self._in_transaction
            self._note_fault(fault, applied[0] if len(applied) == 1 else None)
            raise
        seconds = time.thread_time() - started
        self._applied_seconds += seconds
        self._note_speed(seconds, parts)

    def _apply_all_queued(self) -> None:
        queue, self._queue = self._queue, []
        self._queued_structs = self._queued_ranges = 0
        self._in_transaction += queue
        for queued in queue:
            self._apply(queued.part.update)

    def _integrate_queue(self) -> None:
        """Integrate the queue, and end the transaction. After an earlier `Fault`, raise the same `Fault` again."""
        if self._fault is not None:
            raise self._fault
        if not self._queue and self._transaction is None:
            return
        parts = len(self._queue) + len(self._in_transaction)
        seconds = self._integrate_transaction()
        self.transaction_seconds += seconds
        self.transaction_parts += parts
        self._note_speed(seconds, parts)

    def _note_speed(self, seconds: float, parts: int) -> None:
        """Measure the next edits if this number of parts took too many seconds."""
        if seconds > SLOW_SECONDS + SECONDS_PER_STRUCT * parts:
            self._measured_until = time.monotonic() + MEASURED_SECONDS

    def _integrate_transaction(self) -> float:
        """Integrate the queue, and end the transaction. Return its seconds of processor time. Raises `Fault`."""
        before, self._vector = self._vector, None
        changes = len(self._changes)
        try:
            started = time.thread_time()
            self._apply_all_queued()
            self._commit()
            seconds = self._applied_seconds + time.thread_time() - started
            self._applied_seconds = 0.0
            if self._subscription is not None:
                if len(self._changes) == changes:
                    self._require_no_structs()
            elif self._is_loaded:
                self._note_changes(before)
        except Fault as fault:
            applied = self._in_transaction
            self._note_fault(fault, applied[0] if len(applied) == 1 else None)
            raise
        self._in_transaction = []
        self._stop_observing_many()
        return seconds

    def _require_no_structs(self) -> None:
        """Raise `Fault` if a part in the transaction has new structs. Called after a transaction that changed nothing.

        pycrdt has then ignored the updates. Without this check, the updates would count as saved and be lost.
        """
        if any(each.advances for each in self._in_transaction):
            raise Fault

    def _note_changes(self, before: bytes | None) -> None:
        """Note the changes of a transaction that was not observed. `before` is the state vector before it, if known."""
        if any(each.advances for each in self._in_transaction):
            if self.state_vector(with_queue=False) == before:
                self._require_no_structs()
        else:
            self._vector = before
        parts = [each.part for each in self._in_transaction]
        while parts:
            change, count = join_first(parts, CHANGE_BYTES)
            self._changes.append(change)
            del parts[:count]

    def _stop_observing_many(self) -> None:
        """Stop observing the changes of a document with at least `MANY_CLIENTS` clients."""
        if self._subscription is not None and len(self.clocks) >= MANY_CLIENTS:
            self._doc.unobserve(self._subscription)
            self._subscription = None
            self.state_vector(with_queue=False)

    def _commit(self) -> None:
        transaction, self._transaction = self._transaction, None
        if transaction is not None:
            with PYCRDT_FAULTS:
                transaction.__exit__(None, None, None)

    def _note_fault(self, fault: Fault, queued: _Queued | None) -> None:
        """Note a `Fault`, and end the transaction. `queued` is the faulty update, or None if it is not known."""
        if queued is not None:
            fault.update_digest = _digest(queued.update)
        self._fault = fault
        with suppress(Fault):
            self._commit()

    def _limit_pending(self) -> None:
        """Forget the oldest pending pieces beyond the limit, unless `_released` may release some."""
        if self._max_pending_bytes is not None and not self._released:
            self._pending.limit(self._max_pending_bytes)

    def _on_change(self, event: TransactionEvent) -> None:
        self._changes.append(event.update)


def _groups(steps: Sequence[Step], structs: int) -> Iterator[list[Step]]:
    """Yield the steps in groups of at least this number of structs. The last group may be smaller."""
    group: list[Step] = []
    count = 0
    for step in steps:
        group.append(step)
        count += step.structs
        if count >= structs:
            yield group
            group, count = [], 0
    if group:
        yield group


def _count_ranges(deletions: Ranges) -> int:
    """Return the number of deleted ranges. Ranges with many clocks in total count as more than `FEW_RANGES`."""
    count = clocks = 0
    for ranges in deletions.values():
        count += len(ranges)
        if count > FEW_RANGES:
            return count
        for _, length in ranges:
            clocks += length
    return count if clocks <= CLOCKS_PER_RANGE * FEW_RANGES else FEW_RANGES + 1


def _with_deletions(parts: Split, deletions: Ranges) -> Split:
    """Return the split with these deletions in its ready part."""
    ready = encode_runs(parts.runs, deletions) if parts.runs or deletions else None
    return replace(parts, ready=ready, deletions=deletions)


def _join_deletions(groups: Sequence[Ranges]) -> Part:
    """Return one part with all groups of deletions."""
    joined: Ranges = {}
    for group in groups:
        for client, ranges in group.items():
            joined.setdefault(client, []).extend(ranges)
    joined = {client: merge_ranges(ranges) for client, ranges in joined.items()}
    return Part(_encode_deletions(joined), deletions=joined)


def _encode_deletions(deletions: Ranges) -> bytes:
    """Encode an update without structs."""
    return encode_delete_set(Encoder().uint(0), deletions).finish()


def merge_changes(changes: Sequence[bytes]) -> bytes | None:
    """Merge changes of one document. Return None if pycrdt fails.

    The result is not checked, because changes of one document do not contradict each other.
    """
    if len(changes) == 1:
        return changes[0]
    try:
        with PYCRDT_FAULTS:
            return merge_updates(*changes)
    except Fault:
        return None


def _digest(update: bytes) -> bytes:
    return hashlib.sha256(update).digest()
