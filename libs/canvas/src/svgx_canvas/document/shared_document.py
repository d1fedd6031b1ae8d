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
from svgx_yjs.splitting import Split, check, split
from svgx_yjs.structure import EMPTY_UPDATE, Id, read_state_vector

MAX_PENDING_BYTES = 16 * 1024 * 1024
"""Bytes of pending updates. Beyond this limit the oldest are removed from memory; the journal keeps them."""

PIECE_OVERHEAD = 300
"""Bytes of memory that keeping one piece takes, besides its own bytes."""

MAX_FAULTS = 20
"""Updates of one journal that pycrdt may fail on. With one more, loading the document fails."""


class Fault(Exception):
    """A failure of pycrdt on a well-formed update. The document must not be used any more."""

    culprit: bytes | None = None
    """The digest of the update that pycrdt failed on: the edit itself, or a pending update that the edit released."""


@dataclass(frozen=True, slots=True)
class Integrated:
    """The effect of an update."""

    changes: list[bytes]
    """Updates with the changes of the document, for the other clients."""
    new: list[bytes]
    """The parts of the update that the document did not have, pending ones included. They have to be saved."""


class SharedDocument:
    """A document and its pending updates, made by `load`. After a `Fault` it must not be used any more."""

    def __init__(self, faulty: Collection[bytes] = ()) -> None:
        self.left_out = 0
        """Updates of the journal that are not in the document and never will be."""
        self.clocks: dict[int, int] = {}
        """The next clock of each client: the document has all lower ones."""
        self._doc: Doc[Any] = Doc()
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
    def load(cls, updates: Sequence[bytes] = (), *, faulty: Collection[bytes] = ()) -> Self:
        """Return the document of a journal. The order of its updates does not matter.

        Updates that cannot be integrated are left out. `faulty` has digests of updates that are left out now and
        refused later. Raises `Fault` if pycrdt fails on more than `MAX_FAULTS` updates.
        """
        found: set[bytes] = set()
        while True:
            document = cls({*faulty, *found})
            try:
                for update in updates:
                    document.absorb(update)
            except Fault as fault:
                if fault.culprit is None or len(found) == MAX_FAULTS:
                    raise
                found.add(fault.culprit)
            else:
                # Observe from here on, because the loaded content is not a change.
                document._subscription = document._doc.observe(document._on_change)
                return document

    @property
    def pending(self) -> list[bytes]:
        """The pending updates, in small pieces."""
        return list(self._pending)

    def integrate(self, update: bytes) -> Integrated:
        """Integrate an edit, and the pending updates that it releases.

        Raises `Fault`, and `Malformed` if the edit is not an update, can never be integrated or is known to be faulty.
        """
        return self._integrate(update, journal=False)

    def absorb(self, update: bytes) -> list[bytes]:
        """Integrate an update of the journal if it is valid, and return the changes. Raises `Fault`."""
        try:
            return self._integrate(update, journal=True).changes
        except Malformed:
            self.left_out += 1
            return []

    def state_vector(self) -> bytes:
        """Return the document's state vector, encoded."""
        with _pycrdt_faults():
            return self._doc.get_state()

    def missing(self, state_vector: bytes) -> bytes:
        """Return the update that a peer with `state_vector` lacks. Raises `Malformed` and `Fault`."""
        read_state_vector(state_vector)
        with _pycrdt_faults():
            return self._doc.get_update(state_vector)

    def _integrate(self, update: bytes, *, journal: bool) -> Integrated:
        parts = self._split(update)
        if parts.unplaceable and not journal:
            raise Malformed("a struct or deletion has no possible place, or is nested too deep")
        new = []
        if parts.pending is not None and self._keep_pending(parts):
            new.append(parts.pending)
        changes = self._apply(update, parts)
        if parts.ready is not None and changes:
            new.append(parts.ready)
        advanced = [*parts.clocks]
        while advanced and self._pending:
            for piece in self._take_released(advanced.pop()):
                try:
                    parts = self._split(piece)
                except Malformed:
                    self.left_out += 1
                    continue
                self._keep_pending(parts)
                changes += self._apply(piece, parts)
                advanced += parts.clocks
        return Integrated(changes, new)

    def _split(self, update: bytes) -> Split:
        if self._faulty and _digest(update) in self._faulty:
            raise Malformed("the update made the document fail before")
        return split(update, self.clocks, self._nesting)

    def _apply(self, update: bytes, parts: Split) -> list[bytes]:
        """Integrate the ready part of `update` and return the changes."""
        if parts.ready is None:
            return []
        self._changes = []
        try:
            with _pycrdt_faults():
                self._doc.apply_update(parts.ready)
            if parts.clocks and self._subscription is not None and not self._changes:
                # pycrdt ignored the update. Without this check the update would count as saved and be lost.
                raise Fault
        except Fault as fault:
            fault.culprit = _digest(update)
            raise
        changes, self._changes = self._changes, []
        self.clocks.update(parts.clocks)
        self._nesting.update(parts.nesting)
        return [change for change in changes if change != EMPTY_UPDATE]

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
    """Merge updates into one. Return None if pycrdt fails or returns a malformed update."""
    if len(updates) == 1:
        return updates[0]
    try:
        with _pycrdt_faults():
            merged = merge_updates(*updates)
        check(merged)
    except (Fault, Malformed):
        return None
    return merged


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
