"""A Yjs document that integrates edits from any client, in any order.

pycrdt 0.14 has three weaknesses that a server must not pass on. It loses some pending updates when several updates
depend on missing ones (`test_pycrdt_without_the_split_loses_a_pending_edit`). Every later edit is slowed down by the
pending updates. And an update can make pycrdt fail half-way or panic, which leaves the document unusable. Therefore
each update is checked and split before pycrdt reads it (`svgx_yjs.splitting`): pycrdt gets only the part that it can
integrate at once, and the pending part is kept here as bytes.
"""

import hashlib
import heapq
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

from pycrdt import Doc, Subscription, TransactionEvent, merge_updates

from svgx_yjs.lib0 import Malformed
from svgx_yjs.nesting import Nesting
from svgx_yjs.parts import Part, Split
from svgx_yjs.splitting import check, split
from svgx_yjs.structure import EMPTY_UPDATE, Id, read_state_vector

MAX_PENDING_BYTES = 16 * 1024 * 1024
"""Bytes of pending updates. Beyond this limit the oldest updates are removed from memory; the journal keeps them."""

PIECE_OVERHEAD = 300
"""Bytes of memory that keeping one piece takes, besides its own bytes."""

MAX_FAULTS = 20
"""Updates of one journal that pycrdt may fail on. With one more, loading the document fails."""


class Fault(Exception):
    """A failure of pycrdt on a well-formed update. The document must not be used any more."""

    culprit: bytes | None = None
    """The digest of the update that pycrdt failed on: the edit itself, or a pending update that the edit released.

    None if pycrdt failed on several updates together. A document with `one_by_one` then finds the faulty one.
    """


@dataclass(frozen=True, slots=True)
class _Queued:
    """A part that can be integrated, and the update or pending piece that it comes from."""

    update: bytes
    part: Part
    advances: bool
    """True if the part has new structs, and not only deletions."""


class SharedDocument:
    """A document and its pending updates, made by `load`. After a `Fault` it must not be used any more.

    `take` checks an update and queues it. `flush` integrates everything in the queue in one transaction, because
    pycrdt needs ten times as long for a transaction as for an update in it.

    A document with `one_by_one` integrates each update in a transaction of its own. So it can name the update that
    pycrdt fails on.
    """

    def __init__(self, faulty: Collection[bytes] = (), *, one_by_one: bool = False) -> None:
        self.left_out = 0
        """Updates of the journal that are not in the document and never will be."""
        self.clocks: dict[int, int] = {}
        """The next clock of each client. All lower clocks are in the document or in the queue."""
        self._doc: Doc[Any] = Doc()
        self._one_by_one = one_by_one
        self._queue: list[_Queued] = []
        self._fault: Fault | None = None
        self._vector: bytes | None = None
        self._changes: list[bytes] = []
        self._nesting = Nesting()
        self._faulty = faulty
        # The pending pieces, oldest first, each with the struct that it waits for. The heaps have the same pieces,
        # grouped by the client of that struct, lowest clock first.
        self._pending: dict[bytes, Id] = {}
        self._pending_by_client: dict[int, list[tuple[int, bytes]]] = defaultdict(list)
        self._pending_bytes = 0
        self._subscription: Subscription | None = None

    @classmethod
    def load(
        cls,
        updates: Sequence[bytes] = (),
        *,
        faulty: Collection[bytes] = (),
        one_by_one: bool = False,
    ) -> Self:
        """Return the document of a journal. The order of its updates does not matter.

        Updates that cannot be integrated are left out. `faulty` has digests of updates that are left out now and
        refused later. Raises `Fault` if pycrdt fails on more than `MAX_FAULTS` updates.
        """
        found: set[bytes] = set()
        loads_one_by_one = False
        while True:
            document = cls({*faulty, *found}, one_by_one=loads_one_by_one)
            try:
                for update in updates:
                    document.absorb(update)
                document.flush()
            except Fault as fault:
                if fault.culprit is not None:
                    found.add(fault.culprit)
                if len(found) > MAX_FAULTS or (fault.culprit is None and loads_one_by_one):
                    raise
                loads_one_by_one = True
            else:
                document._one_by_one = one_by_one
                # Observe from here on, because the loaded content is not a change.
                document._subscription = document._doc.observe(document._on_change)
                return document

    @property
    def pending(self) -> list[bytes]:
        """The pending updates, in small pieces."""
        return list(self._pending)

    def take(self, update: bytes) -> list[Part]:
        """Queue an edit, and the pending updates that it releases. Return its new parts, which have to be saved.

        Raises `Malformed` if the edit is not an update, can never be integrated or is known to be faulty. Raises
        `Fault`, because some edits are integrated at once.
        """
        return self._take(update, journal=False)

    def absorb(self, update: bytes) -> None:
        """Queue an update of the journal if it is valid. Raises `Fault`."""
        try:
            self._take(update, journal=True)
        except Malformed:
            self.left_out += 1

    def flush(self) -> list[bytes]:
        """Integrate the queue. Return the changes of the document since the last call, as updates for the clients.

        Raises `Fault`.
        """
        self._integrate_queue()
        changes, self._changes = self._changes, []
        return [change for change in changes if change != EMPTY_UPDATE]

    def state_vector(self) -> bytes:
        """Return the state vector of the document, encoded. Raises `Fault`.

        The encoded vector is kept until the next change, because the time to encode it grows with the number of clients
        that ever edited the document.
        """
        self._integrate_queue()
        if self._vector is None:
            with _pycrdt_faults():
                self._vector = self._doc.get_state()
        return self._vector

    def missing(self, state_vector: bytes) -> bytes:
        """Return the update that a peer with `state_vector` lacks. Raises `Malformed` and `Fault`."""
        read_state_vector(state_vector)
        self._integrate_queue()
        with _pycrdt_faults():
            return self._doc.get_update(state_vector)

    def _take(self, update: bytes, *, journal: bool) -> list[Part]:
        parts = self._split(update)
        if parts.unplaceable and not journal:
            raise Malformed("a struct or deletion has no possible place, or is nested too deep")
        new = []
        if parts.pending is not None and self._keep_pending(parts):
            new.append(Part(parts.pending))
        ready = self._enqueue(update, parts)
        if ready is not None:
            new.append(ready)
        if self._pending:
            self._release_pending(parts)
        return new

    def _release_pending(self, parts: Split) -> None:
        """Queue the pending pieces that waited for the structs of `parts`, and those that waited for these pieces."""
        advanced = [*parts.clocks]
        while advanced and self._pending:
            for piece in self._take_released(advanced.pop()):
                try:
                    parts = self._split(piece)
                except Malformed:
                    self.left_out += 1
                    continue
                self._keep_pending(parts)
                self._enqueue(piece, parts)
                advanced += parts.clocks

    def _split(self, update: bytes) -> Split:
        if self._faulty and _digest(update) in self._faulty:
            raise Malformed("the update made the document fail before")
        return split(update, self.clocks, self._nesting)

    def _enqueue(self, update: bytes, parts: Split) -> Part | None:
        """Queue the ready part of `update`. Return it if the document does not have it yet."""
        if parts.ready is None:
            return None
        part = Part(parts.ready, parts.runs, parts.deletions)
        self.clocks.update(parts.clocks)
        self._nesting.update(parts.nesting)
        if not parts.clocks and self._subscription is not None:
            return self._delete(update, part)
        self._queue.append(_Queued(update, part, advances=bool(parts.clocks)))
        if self._one_by_one:
            self._integrate_queue()
        return part

    def _delete(self, update: bytes, part: Part) -> Part | None:
        """Integrate a part that only deletes. Return it if it changes the document.

        Only pycrdt can tell whether the part changes the document, because overwriting a value deletes too. Unchanged
        documents are frequent: each client that joins sends all deletions that it has.
        """
        self._integrate_queue()
        before = len(self._changes)
        self._queue.append(_Queued(update, part, advances=False))
        self._integrate_queue()
        return part if any(each != EMPTY_UPDATE for each in self._changes[before:]) else None

    def _integrate_queue(self) -> None:
        """Integrate the queue in one transaction. After a `Fault`, raise it again."""
        if self._fault is not None:
            raise self._fault
        queue, self._queue = self._queue, []
        if not queue:
            return
        self._vector = None
        before = len(self._changes)
        try:
            with _pycrdt_faults(), self._doc.transaction():
                for queued in queue:
                    self._doc.apply_update(queued.part.update)
            advances = any(each.advances for each in queue)
            if advances and self._subscription is not None and len(self._changes) == before:
                # pycrdt ignored the updates. Without this check they would count as saved and be lost.
                raise Fault
        except Fault as fault:
            if len(queue) == 1:
                fault.culprit = _digest(queue[0].update)
            self._fault = fault
            raise

    def _keep_pending(self, parts: Split) -> bool:
        """Keep the pending pieces. Return whether any of them is new."""
        new = [piece for piece in parts.pieces if piece[0] not in self._pending]
        for piece, missing in new:
            self._pending[piece] = missing
            self._pending_bytes += len(piece) + PIECE_OVERHEAD
            heapq.heappush(self._pending_by_client[missing[0]], (missing[1], piece))
        if self._pending_bytes > MAX_PENDING_BYTES:
            self._forget_oldest()
        return bool(new)

    def _take_released(self, client: int) -> Iterator[bytes]:
        """Remove and yield the pieces that waited for structs of this client that are integrated now."""
        heap = self._pending_by_client.get(client, [])
        while heap and heap[0][0] < self.clocks.get(client, 0):
            piece = heapq.heappop(heap)[1]
            self._forget(piece)
            yield piece
        if not heap:
            self._pending_by_client.pop(client, None)

    def _forget_oldest(self) -> None:
        """Forget the oldest pieces, down to half of the limit.

        The heaps are built anew afterwards. Half of the limit leaves room, so that this is not repeated at each edit.
        """
        while self._pending_bytes > MAX_PENDING_BYTES // 2:
            self._forget(next(iter(self._pending)))
        self._pending_by_client.clear()
        for piece, (client, clock) in self._pending.items():
            heapq.heappush(self._pending_by_client[client], (clock, piece))

    def _forget(self, piece: bytes) -> None:
        del self._pending[piece]
        self._pending_bytes -= len(piece) + PIECE_OVERHEAD

    def _on_change(self, event: TransactionEvent) -> None:
        self._changes.append(event.update)


def merge(updates: Sequence[bytes]) -> bytes | None:
    """Merge updates of any origin into one. Return None if pycrdt fails or returns a malformed update."""
    merged = merge_changes(updates)
    if merged is None or len(updates) == 1:
        return merged
    try:
        check(merged)
    except Malformed:
        return None
    return merged


def merge_changes(changes: Sequence[bytes]) -> bytes | None:
    """Merge changes of one document. Return None if pycrdt fails.

    The result is not checked, because changes of one document do not contradict each other.
    """
    if len(changes) == 1:
        return changes[0]
    try:
        with _pycrdt_faults():
            return merge_updates(*changes)
    except Fault:
        return None


def _digest(update: bytes) -> bytes:
    return hashlib.sha256(update).digest()


@contextmanager
def _pycrdt_faults() -> Iterator[None]:
    """Raise the exceptions of pycrdt as `Fault`."""
    try:
        yield
    except (ValueError, RuntimeError) as error:
        raise Fault from error
    except BaseException as error:
        # pyo3 raises PanicException when Rust code panics. The class cannot be imported.
        if type(error).__name__ != "PanicException":
            raise
        raise Fault from error
