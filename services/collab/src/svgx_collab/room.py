"""One canvas in memory: bytes in; broadcasts, journal entries and answers out. No I/O and no await.

What has arrived is kept in three steps. `fresh` holds what receivers have not been sent yet. `unsaved` holds what no
journal entry carries yet. The entry in flight stays until state has committed it, and is resent as it was. A receipt
says how many edits had been kept by then: they are saved when so many are committed.
"""

from collections import deque
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from svgx_canvas.document.shared_document import SharedDocument, merge
from svgx_common.messaging.wire import Broadcast, Content, Edit, Entry, SyncReply
from svgx_yjs.lib0 import Malformed
from svgx_yjs.structure import EMPTY_UPDATE

MERGE_BYTES = 1024 * 1024
"""What is merged into one message or entry, at most; a larger edit goes alone. Merging reads all of it."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """`position` counts the edits kept so far, by which this batch is saved; `rejected` are indexes of bad edits."""

    position: int
    rejected: tuple[int, ...]


class Room:
    """The document of one canvas, and what still has to be broadcast and saved.

    `epoch` names this holding of the canvas and is the writer of its journal entries. A
    `Fault` ends the room: it must be opened anew from the journal. Edits whose digests are
    in `faulty`, as faults name them, are rejected, and left out where they wait.
    """

    def __init__(
        self, canvas_id: str, epoch: str, content: Content, *, faulty: Collection[bytes] = ()
    ) -> None:
        self.canvas_id = canvas_id
        self.epoch = epoch
        self.revision = content.revision
        self.broadcast_sequence = 0
        self.unsaved_bytes = 0
        self._document = SharedDocument.load(content.updates, faulty=faulty)
        self._merger = _Merger()
        self._fresh: deque[bytes] = deque()
        self._unsaved: deque[Edit] = deque()
        self._kept = 0
        self._in_flight: Entry | None = None
        self._in_flight_edits = 0
        self._entries = 0
        self._committed = 0

    @property
    def left_out(self) -> int:
        """Updates of the journal that cannot be integrated."""
        return self._document.left_out

    def receive(self, edits: list[Edit]) -> Receipt:
        """Apply a batch. An edit that was applied before changes nothing, so resending is safe. Raises `Fault`."""
        rejected = [index for index, edit in enumerate(edits) if not self._apply(edit)]
        return Receipt(self._kept, tuple(rejected))

    def absorb(self, content: Content) -> None:
        """Take in what another writer committed, and broadcast it; it needs no saving. Raises `Fault`."""
        for update in content.updates:
            self._fresh += self._document.absorb(update)
        self.revision = max(self.revision, content.revision)

    def take_broadcasts(self) -> Iterator[Broadcast]:
        """Everything new since the last time, merged: as a rule one."""
        while self._fresh:
            update, count = self._merger.first(self._fresh)
            for _ in range(count):
                self._fresh.popleft()
            self.broadcast_sequence += 1
            yield Broadcast(self.epoch, self.broadcast_sequence, update)

    def take_entry(self) -> Entry | None:
        """What is unsaved, merged into the next journal entry, or None while one is in flight."""
        if self._in_flight is not None or not self._unsaved:
            return None
        update, count = self._merger.first(edit.update for edit in self._unsaved)
        authors = {self._unsaved.popleft().author for _ in range(count)}
        self._entries += 1
        self._in_flight = Entry(
            self.canvas_id, self.epoch, self._entries, tuple(sorted(authors)), update
        )
        self._in_flight_edits = count
        return self._in_flight

    def committed(self, revision: int) -> bool:
        """The entry in flight is committed at `revision`. False: another writer committed before it; `absorb` that."""
        assert self._in_flight is not None
        self._committed += self._in_flight_edits
        self._in_flight = None
        self.unsaved_bytes = sum(len(edit.update) for edit in self._unsaved)
        alone = revision <= self.revision + 1
        if alone:
            self.revision = max(self.revision, revision)
        return alone

    def saved(self, receipt: Receipt) -> bool:
        """Whether everything of the batch is committed."""
        return self._committed >= receipt.position

    @property
    def dirty(self) -> bool:
        """Whether anything is not committed yet."""
        return self._in_flight is not None or bool(self._unsaved)

    def sync(self, state_vector: bytes, awareness: bytes) -> SyncReply:
        """All that a peer with `state_vector` lacks. Raises `svgx_yjs.lib0.Malformed` and `Fault`."""
        return self._reply(self._document.missing(state_vector), awareness)

    def checkpoint(self, awareness: bytes) -> SyncReply:
        """The state vector without content, for peers that have everything."""
        return self._reply(b"", awareness)

    def _reply(self, update: bytes, awareness: bytes) -> SyncReply:
        vector = self._document.state_vector()
        return SyncReply(self.epoch, self.broadcast_sequence, vector, update, awareness)

    def _apply(self, edit: Edit) -> bool:
        if edit.update == EMPTY_UPDATE:
            return True
        try:
            outcome = self._document.integrate(edit.update)
        except Malformed:
            return False
        self._fresh += outcome.changes
        # Not the changes: what waits for another edit is in none.
        for update in outcome.new:
            self._unsaved.append(Edit(edit.author, update))
            self._kept += 1
            self.unsaved_bytes += len(update)
        return True


class _Merger:
    """Merges what comes first: as much as belongs into one message.

    What contradicts itself cannot be merged. Then less is tried, and afterwards more again: each call costs little
    more than reading what it returns.
    """

    def __init__(self) -> None:
        self._bytes = MERGE_BYTES

    def first(self, updates: Iterable[bytes]) -> tuple[bytes, int]:
        """As many of the first as can be merged, merged, and how many those are."""
        first = [*self._first(updates)]
        limit = min(MERGE_BYTES, self._bytes * 2)
        while (merged := merge(first)) is None:
            first = first[: len(first) // 2]
            limit = sum(map(len, first))
        self._bytes = limit
        return merged, len(first)

    def _first(self, updates: Iterable[bytes]) -> Iterator[bytes]:
        size = 0
        for update in updates:
            size += len(update)
            if size > self._bytes and size > len(update):
                return
            yield update
