"""A Yjs document that takes edits from anybody, in any order.

pycrdt 0.14 has three weaknesses that a server must not pass on. It loses some of what it holds back when several edits
wait for others (a test shows it); every later edit pays for what it holds back; and an update can make it fail half-way
or panic, which leaves the document unusable. So every update is checked and split before pycrdt sees it (`structure`):
it gets only what it can integrate at once, and what has to wait is kept here, as bytes.
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
from svgx_yjs.structure import EMPTY_UPDATE, Id, Split, check, read_state_vector, split

MAX_WAITING_BYTES = 16 * 1024 * 1024
"""Bytes that may wait; past it what has waited longest is forgotten here (not in the journal)."""

PIECE_OVERHEAD = 300
"""Bytes that keeping a piece takes besides its own."""

MAX_FAULTS = 20
"""Updates of one journal that pycrdt cannot integrate, before loading is given up."""


class Fault(Exception):
    """pycrdt failed on an update that is well formed. The document must not be used any more.

    `culprit` is the digest of what it failed on: the edit, or one that had waited for it.
    """

    culprit: bytes | None = None


@dataclass(frozen=True, slots=True)
class Integrated:
    """What an update did: `changes` to tell others about, and what of it is `new` and has to be kept."""

    changes: list[bytes]
    new: list[bytes]


class SharedDocument:
    """The document, and what waits; made by `load`. After a `Fault` it must not be used any more."""

    def __init__(self, faulty: Collection[bytes] = ()) -> None:
        self.left_out = 0
        """Updates of the journal that are not in the document, and never will be."""
        self._doc: Doc[Any] = Doc()
        self._changes: list[bytes] = []
        self.clocks: dict[int, int] = {}
        """Of each client, those below this one are in the document."""
        self._nesting = Nesting()
        self._faulty = faulty
        # Pieces with what they wait for; and by the client they wait for, nearest clock first.
        self._waiting: dict[bytes, Id] = {}
        self._lacking: dict[int, list[tuple[int, bytes]]] = defaultdict(list)
        self._waiting_bytes = 0
        self._subscription: Subscription | None = None

    @classmethod
    def load(cls, updates: Sequence[bytes] = (), *, faulty: Collection[bytes] = ()) -> Self:
        """The document of a journal, in any order; what cannot be integrated is left out, and what has its digest in
        `faulty`, at any time. Raises `Fault` when that is too much."""
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
                # Not before: what is loaded is no change.
                document._subscription = document._doc.observe(document._changed)
                return document

    @property
    def waiting(self) -> list[bytes]:
        """Updates that wait for something, each small."""
        return list(self._waiting)

    def integrate(self, update: bytes) -> Integrated:
        """Take in an edit, and what it makes possible.

        Raises `Malformed` for what is none, could never be integrated or is known to be faulty, and `Fault`.
        """
        return self._take(update, journal=False)

    def absorb(self, update: bytes) -> list[bytes]:
        """Take in what is in the journal, whatever it is; the changes. Raises `Fault`."""
        try:
            return self._take(update, journal=True).changes
        except Malformed:
            self.left_out += 1
            return []

    def state_vector(self) -> bytes:
        """What the document has, as Yjs encodes it."""
        with faults():
            return self._doc.get_state()

    def missing(self, state_vector: bytes) -> bytes:
        """The update with all that a peer with `state_vector` lacks. Raises `Malformed`, `Fault`."""
        read_state_vector(state_vector)
        with faults():
            return self._doc.get_update(state_vector)

    def _take(self, update: bytes, *, journal: bool) -> Integrated:
        parts = self._split(update)
        if parts.hopeless and not journal:
            raise Malformed("something has no place: not in a type, or too deep")
        new = []
        if parts.waiting is not None and self._wait(parts):
            new.append(parts.waiting)
        changes = self._apply(update, parts)
        if parts.ready is not None and changes:
            new.append(parts.ready)
        advanced = [*parts.clocks]
        while advanced and self._waiting:
            for waiting in self._no_longer_lacking(advanced.pop()):
                try:
                    parts = self._split(waiting)
                except Malformed:
                    self.left_out += 1
                    continue
                self._wait(parts)
                changes += self._apply(waiting, parts)
                advanced += parts.clocks
        return Integrated(changes, new)

    def _split(self, update: bytes) -> Split:
        if self._faulty and _digest(update) in self._faulty:
            raise Malformed("it made the document fail before")
        return split(update, self.clocks, self._nesting)

    def _apply(self, update: bytes, parts: Split) -> list[bytes]:
        """Integrate what of `update` is ready; the changes."""
        if parts.ready is None:
            return []
        self._changes = []
        try:
            with faults():
                self._doc.apply_update(parts.ready)
            if parts.clocks and self._subscription is not None and not self._changes:
                # It would be called saved, and be lost.
                raise Fault
        except Fault as fault:
            fault.culprit = _digest(update)
            raise
        changes, self._changes = self._changes, []
        self.clocks.update(parts.clocks)
        self._nesting.update(parts.nesting)
        return [change for change in changes if change != EMPTY_UPDATE]

    def _wait(self, parts: Split) -> bool:
        """Keep what has to wait; whether anything of it did not do so before."""
        new = [piece for piece in parts.pieces if piece[0] not in self._waiting]
        for piece, lacking in new:
            self._waiting[piece] = lacking
            self._waiting_bytes += len(piece) + PIECE_OVERHEAD
            heapq.heappush(self._lacking[lacking[0]], (lacking[1], piece))
        if self._waiting_bytes > MAX_WAITING_BYTES:
            self._forget_oldest()
        return bool(new)

    def _no_longer_lacking(self, client: int) -> Iterator[bytes]:
        """Take out what waited for structs of this client that are there now."""
        heap = self._lacking.get(client, [])
        while heap and heap[0][0] < self.clocks.get(client, 0):
            piece = heapq.heappop(heap)[1]
            self._forget(piece)
            yield piece
        if not heap:
            self._lacking.pop(client, None)

    def _forget_oldest(self) -> None:
        """Down to half: what then waits is put in order anew, which must not be paid for each."""
        while self._waiting_bytes > MAX_WAITING_BYTES // 2:
            self._forget(next(iter(self._waiting)))
        self._lacking.clear()
        for piece, (client, clock) in self._waiting.items():
            heapq.heappush(self._lacking[client], (clock, piece))

    def _forget(self, piece: bytes) -> None:
        del self._waiting[piece]
        self._waiting_bytes -= len(piece) + PIECE_OVERHEAD

    def _changed(self, event: TransactionEvent) -> None:
        self._changes.append(event.update)


def merge(updates: Sequence[bytes]) -> bytes | None:
    """One update with everything of several, or None when pycrdt makes something of them that cannot be read: it does
    of updates that contradict each other."""
    if len(updates) == 1:
        return updates[0]
    try:
        with faults():
            merged = merge_updates(*updates)
        check(merged)
    except (Fault, Malformed):
        return None
    return merged


def _digest(update: bytes) -> bytes:
    return hashlib.sha256(update).digest()


@contextmanager
def faults() -> Iterator[None]:
    """What pycrdt raises becomes a `Fault`."""
    try:
        yield
    except (ValueError, RuntimeError) as error:
        raise Fault from error
    except BaseException as error:
        # pyo3's, of Rust code that panics; it cannot be imported.
        if type(error).__name__ != "PanicException":
            raise
        raise Fault from error
