"""A Yjs document that integrates edits from any client, in any order.

pycrdt 0.14 has three weaknesses that a server must avoid. It loses some pending updates when several updates depend on
missing ones (`test_pycrdt_without_the_split_loses_a_pending_edit`). Pending updates slow down every later edit. And an
update can make pycrdt fail half-way or panic, which leaves the document unusable. Therefore each update is checked and
split before pycrdt reads it (`svgx_yjs.splitting`). pycrdt gets only the part that depends on no missing struct. The
pending part is kept here as bytes, in pieces: each piece is a small update that waits for one missing struct.
"""

import math
import time
from collections import defaultdict, deque
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Self

from pycrdt import merge_updates

from svgx_canvas.document.deletion_groups import CLOCKS_PER_RANGE, DeletionGroups
from svgx_canvas.document.faults import PYCRDT_FAULTS, Fault, update_digest
from svgx_canvas.document.known_deletions import KnownDeletions
from svgx_canvas.document.outline import read_outline
from svgx_canvas.document.pending_pieces import PendingPieces, ReleasedPiece
from svgx_canvas.document.pycrdt_document import (
    FEW_STRUCTS,
    PycrdtDocument,
    QueuedPart,
    encode_deletions,
)
from svgx_yjs.delete_set import Ranges, merge_ranges, read_delete_set
from svgx_yjs.joining import with_waiting
from svgx_yjs.lib0 import Decoder, Malformed
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

FEW_RANGES = 64
"""Largest number of deleted ranges of an edit that is integrated together with other edits.

These ranges have at most `CLOCKS_PER_RANGE * FEW_RANGES` clocks in total. The deletions of larger edits are integrated
in groups (see `DeletionGroups`).
"""

MANY_CLOCKS = 1_000_000
"""The most clocks that an edit may delete without a comparison of its deletions with those of pycrdt.

A struct of garbage or of deleted content has few bytes and up to billions of clocks, which are deleted already. The
clocks of other structs have at least one byte each.
"""

FIRST_GROUP, LARGEST_GROUP = 8, 1024
"""The number of deleted ranges in the first group of a document, and in the largest one."""

GROUP_SECONDS = 0.005
"""Intended processor time for a group of deletions, in seconds. It sets the size of the next group.

pycrdt usually needs 2e-6 s for a deleted struct, but 5e-3 s and more if the struct's client has millions of structs.
"""

SECONDS_PER_STRUCT = 20e-6
"""Processor time in seconds that each struct adds to the limit of its edit. pycrdt usually needs 4e-6 s."""

SECONDS_PER_DELETED_CLOCK = 50e-6
"""Seconds of processor time for each deleted clock that do not count as excess (see `_Deleting.excess_seconds`)."""

LOADED_STRUCTS = 256
"""Structs of a journal update that are integrated in one call. pycrdt stops all threads during a call."""

MANY_CLIENTS = 5_000
"""The changes of a document are not observed if at least this many clients have ever edited it.

With an observer, pycrdt compares the state vectors from before and after each transaction: with 50,000 clients, a
transaction takes 9 to 13 ms. Without an observer, a transaction and one reading of the state vector take 5 to 7 ms.
"""

MAX_OTHER_CLIENTS = 10_000
"""The most clients of a peer's state vector that are not in the document. Reading this many takes 5 ms.

A client with more new clients could not send them, because an edit may add at most this many by default.
"""

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
    """The new structs of the edit that wait for nothing."""
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

    The unused seconds of a fast group do not count for a slow group that follows, because a single deleted struct may
    have a billion clocks.
    """


class SharedDocument:
    """A document and its pending updates, made by `load`. After a `Fault` it must not be used.

    `take` checks an update and queues it. `flush` integrates the whole queue in one transaction (see `PycrdtDocument`).

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
        self._pycrdt = PycrdtDocument()
        self._one_by_one = one_by_one
        self.structs = 0
        """The number of structs of the journal and of large edits.

        Short edits count when the document is loaded the next time, because pycrdt unites or removes most of their
        structs, for example those of overwritten values.
        """
        self.version = 0
        """The number of changes of the document and its queue."""
        self.edit_seconds = 0.1
        """Limit of the processor time of one edit, in seconds. Each struct adds `SECONDS_PER_STRUCT`."""
        self.spent: defaultdict[str, float] = defaultdict(float)
        """The measured seconds of processor time by author. The caller may clear the mapping."""
        self._released: deque[ReleasedPiece] = deque()
        """Pieces that are no longer pending, and are not integrated yet."""
        self._deleting: deque[_Deleting] = deque()
        self._group_size = FIRST_GROUP
        """The number of deleted ranges in the next group."""
        self._deletions = KnownDeletions()
        self._may_refresh_at = 0.0
        self._nesting = Nesting()
        self._faulty = faulty
        self._pending = PendingPieces()
        self._max_pending_bytes = max_pending_bytes
        self._is_loaded = False
        """False while the journal is loaded."""

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
                document._is_loaded = True
                document._pycrdt.start_noting_changes()
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

        If there are many deletions or released updates, they are integrated for about `seconds` of processor time. If
        some are left, `is_unfinished` is true, and `resume` must continue the edit before the next edit is taken.

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
    def is_deleting(self) -> bool:
        """Whether `resume` must integrate deletions of the last edit."""
        return any(not each.is_saved for each in self._deleting)

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

        After `load`, the pending updates that this update releases are left for `resume`.
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
        if outlined is None or (self._faulty and update_digest(update) in self._faulty):
            return False
        decoder = Decoder(update)
        decoder.position = outlined.deletions_at
        self._pycrdt.absorb(update, outlined, dict(read_delete_set(decoder)))
        self.structs += outlined.structs
        self._nesting = outlined.nesting
        self.clocks = self._nesting.clocks
        if read_state_vector(self.state_vector()) != self.clocks:
            raise Fault
        return True

    def flush(self) -> list[bytes]:
        """Integrate the queue. Return the changes of the document since the last call, as updates for the clients.

        Raises `Fault`.
        """
        self._pycrdt.integrate()
        self._stop_observing_many()
        return [change for change in self._pycrdt.take_changes() if change != EMPTY_UPDATE]

    def observe_elements(self) -> None:
        """Observe the elements that edits change from now on (see `ObservedElements`)."""
        self._pycrdt.observe_elements()

    def stop_observing_elements(self) -> None:
        """Observe no elements any more."""
        self._pycrdt.stop_observing_elements()

    @property
    def observes_elements(self) -> bool:
        """True while the changed elements are observed."""
        return self._pycrdt.elements is not None

    @property
    def has_changed_elements(self) -> bool:
        """True if `describe_elements` has to be called, because of changed elements or of unread ones."""
        elements = self._pycrdt.elements
        return elements is not None and elements.has_work

    def count_all_elements(self) -> None:
        """Count all observed elements as changed."""
        if self._pycrdt.elements is not None:
            self._pycrdt.elements.add_everything()

    def describe_elements(self) -> str | None:
        """Describe the changed elements (see `ObservedElements.describe`). Call `flush` before. Raises `Fault`."""
        return self._pycrdt.describe_elements()

    def take_transaction_time(self) -> tuple[float, int]:
        """Return the seconds of processor time of the transactions since the last call, and their number of parts.

        A part is an edit or a pending piece.
        """
        pycrdt = self._pycrdt
        seconds, parts = pycrdt.transaction_seconds, pycrdt.transaction_parts
        pycrdt.transaction_seconds, pycrdt.transaction_parts = 0.0, 0
        return seconds, parts

    @property
    def is_measuring(self) -> bool:
        """Whether `take` integrates each edit and measures its time, because transactions were slow."""
        return self._pycrdt.is_measuring

    @property
    def queue_length(self) -> int:
        """The number of parts that wait for their integration."""
        return self._pycrdt.queue_length

    @property
    def has_changes(self) -> bool:
        """True if integrated content is not in the changes that `flush` has returned."""
        return self._pycrdt.has_changes

    @property
    def has_queue(self) -> bool:
        """True while edits wait for `flush`."""
        return self._pycrdt.has_queue

    def state_vector(self, *, with_queue: bool = True) -> bytes:
        """Return the state vector of the document, encoded. Raises `Fault`.

        With `with_queue` false, the vector may lack the edits in the queue.
        """
        if with_queue:
            self._pycrdt.integrate()
        return self._pycrdt.state_vector()

    def missing(self, state_vector: bytes, *, with_queue: bool = True) -> bytes:
        """Return the update that a peer with `state_vector` lacks. Raises `Malformed` and `Fault`.

        With `with_queue` false, the update may lack the edits in the queue. The vector has at most `MAX_OTHER_CLIENTS`
        clients more than the document.
        """
        read_state_vector(state_vector, len(self.clocks) + MAX_OTHER_CLIENTS)
        if with_queue:
            self._pycrdt.integrate()
        return self._pycrdt.missing(state_vector)

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
        the piece is already saved and cannot be refused.
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
        if parts.structs <= self._pycrdt.few_structs:
            return []
        small = [encode_steps(update, [step]) for step in self._short_steps(update, parts)]
        return small if len(small) > 1 else []

    def _delete_in_groups(
        self, author: str, update: bytes, deletions: Ranges, *, is_saved: bool
    ) -> None:
        """Leave deletions of `update` for `resume`. Raises `Fault`."""
        if _count_clocks(deletions) > MANY_CLOCKS:
            started = time.thread_time()
            self._deletions.replace(self._pycrdt.read_deletions())
            deletions = self._deletions.unknown(deletions)
            self.spent[author] += time.thread_time() - started
        if deletions:
            groups = DeletionGroups(deletions, self._nesting.may_cut)
            self._deleting.append(_Deleting(author, update, groups, is_saved))

    def _integrate_group(self, deleting: _Deleting) -> Ranges:
        """Integrate the next group of deletions in a transaction of its own, and return it. Raises `Fault`.

        The transaction ends here, because pycrdt unites deleted structs only at the end of a transaction. The time
        counts for the author, and not for `transaction_seconds`, because it does not depend on the edits in the queue.
        """
        group = deleting.groups.take(self._group_size)
        part = Part(encode_deletions(group), deletions=group)
        seconds = self._pycrdt.integrate_alone(QueuedPart(deleting.update, part, advances=False))
        self._deletions.add(group)
        self.version += 1
        self.spent[deleting.author] += seconds
        allowed = SECONDS_PER_DELETED_CLOCK * _count_clocks(group)
        excess = deleting.excess_seconds + seconds - allowed
        deleting.excess_seconds = max(0.0, excess)
        scale = min(2.0, GROUP_SECONDS / max(seconds, 1e-6))
        self._group_size = min(LARGEST_GROUP, math.ceil(self._group_size * scale))
        if not deleting.groups:
            self._deleting.remove(deleting)
        return group

    def _split(self, update: bytes) -> Split:
        if self._faulty and update_digest(update) in self._faulty:
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
        limit. Without `limit`, the limit of a large edit depends on its structs. Raises `TooSlow` and `Fault`.
        """
        if parts.ready is None:
            return None
        part = Part(parts.ready, parts.runs, parts.deletions)
        structs = parts.structs
        queued = QueuedPart(update, part, advances=bool(parts.clocks))
        pycrdt = self._pycrdt
        if (
            author is None
            and self._is_loaded
            and not parts.clocks
            and not self._deletions.unknown(part.deletions)
        ):
            return None
        if parts.clocks:
            pycrdt.measure_lists(self._nesting, parts.nesting)
        if author is None:
            if parts.steps and structs > LOADED_STRUCTS:
                pycrdt.apply_queue()
                pycrdt.apply_now(queued, [*_groups(parts.steps, LOADED_STRUCTS)])
            elif not structs and _count_ranges(parts.deletions) > FEW_RANGES:
                pycrdt.apply_queue()
                pycrdt.apply_now(queued, [])
            else:
                pycrdt.load(queued)
        elif (
            (structs > 1 and structs > pycrdt.few_structs)
            or limit is not None
            or pycrdt.is_measuring
            or (ranges > 1 and pycrdt.queued_ranges + ranges - 1 > FEW_RANGES)
        ):
            self._apply_measured(queued, parts, author, limit)
        else:
            pycrdt.enqueue(queued, structs, ranges)
        self._note(parts, structs)
        if self._one_by_one:
            pycrdt.integrate()
            pycrdt.require_integrated()
        return part

    def _note(self, parts: Split, structs: int) -> None:
        """Note that the ready part is in the document or in the queue."""
        if not self._is_loaded or structs > FEW_STRUCTS:
            self.structs += structs
        self._pycrdt.structs += structs
        self.clocks.update(parts.clocks)
        self._nesting.update(parts.nesting)
        if parts.deletions and self._is_loaded:
            self._deletions.add(parts.deletions)
        # The version changes last, because `check` reads it first, in another thread.
        self.version += 1

    def _without_known_deletions(self, parts: Split) -> Split:
        """Return the split without the deletions that the document is known to have.

        Each client that joins sends all deletions of its document. Some of them are not in an edit, but made by pycrdt:
        when two values were set at the same time, it deletes one. Only pycrdt has a list of all deletions. Reading this
        list takes time in proportion to the number of deletions and clients, so it is not read again before
        `_may_refresh_at`. Until then, the result may have deletions that the document has. Saving a deletion again is
        harmless.
        """
        known = self._deletions
        unknown = known.unknown(parts.deletions)
        now = time.monotonic()
        if unknown and now >= self._may_refresh_at:
            started = time.thread_time()
            known.replace(self._pycrdt.read_deletions())
            seconds = time.thread_time() - started
            earliest = max(self._may_refresh_at, now - 10.0)
            self._may_refresh_at = earliest + seconds / REFRESH_SHARE
            unknown = known.unknown(unknown)
        return parts if unknown == parts.deletions else _with_deletions(parts, unknown)

    def _apply_measured(
        self, queued: QueuedPart, parts: Split, author: str, limit: float | None
    ) -> None:
        """Integrate an edit step by step, and measure its time. Raises `TooSlow` and `Fault`.

        Without `limit`, the limit depends on the number of structs. The time of the queue does not count, because the
        queue has edits of other authors.
        """
        pycrdt = self._pycrdt
        pycrdt.apply_queue()
        before = pycrdt.applied_seconds
        if limit is None:
            limit = self.edit_seconds + SECONDS_PER_STRUCT * parts.structs
        try:
            groups = [[step] for step in self._short_steps(queued.update, parts)]
            integrated = pycrdt.apply_now(queued, groups, limit=limit)
        finally:
            self.spent[author] += pycrdt.applied_seconds - before
        if integrated is None:
            return
        first = split(encode_steps(queued.update, integrated), self.clocks, self._nesting)
        self._note(first, first.structs)
        assert first.ready is not None, "the document has integrated a step"
        part = Part(first.ready, first.runs)
        pycrdt.note_integrated(QueuedPart(queued.update, part, advances=True))
        raise TooSlow([part])

    def _short_steps(self, update: bytes, parts: Split) -> Sequence[Step]:
        """Return the steps of an update, so short that each of them may be integrated without a measurement."""
        structs = self._pycrdt.few_structs
        return (
            parts.steps if structs >= STEP_STRUCTS else [*cut_steps(update, parts.steps, structs)]
        )

    def _stop_observing_many(self) -> None:
        """Stop observing the changes of a document with at least `MANY_CLIENTS` clients."""
        if len(self.clocks) >= MANY_CLIENTS:
            self._pycrdt.stop_observing()

    def _limit_pending(self) -> None:
        """Forget the oldest pending pieces beyond the limit, unless `_released` has pieces that may release others."""
        if self._max_pending_bytes is not None and not self._released:
            self._pending.limit(self._max_pending_bytes)


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


def _count_clocks(deletions: Ranges) -> int:
    return sum([length for ranges in deletions.values() for _, length in ranges])


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
    return Part(encode_deletions(joined), deletions=joined)


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
