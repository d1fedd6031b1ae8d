"""One canvas in memory: bytes in; broadcasts, journal entries and answers out. No I/O and no await.

What has arrived is kept in three steps. `fresh` holds what receivers have not been sent yet. `unsaved` holds what no
journal entry carries yet. The entry in flight stays until state has committed it, and is resent as it was. A receipt
names the entry that will save an edit; the edit is saved when that entry, or a later one, is committed.

An edit may depend on one that has not arrived. The document would hold it back by itself, but pycrdt 0.14 loses some of
what it holds back when several such edits meet (a test shows it), so the room parks them and tries again when
something new has been integrated.
"""

from collections import deque
from dataclasses import dataclass
from typing import Any

from pycrdt import Doc, TransactionEvent, merge_updates

from svgx_collab.pending import waits
from svgx_common.wire import EMPTY_UPDATE, Broadcast, Content, Edit, Entry, SyncReply

MAX_PARKED = 1000
"""Edits parked at a time; past it the oldest is forgotten here, not in the journal."""


MAX_NESTING = 1_000_000
"""Objects and arrays inside one another in one edit, at most. Decoding them recurses; the stack that `__main__` asks
for carries so many."""

_OBJECT, _ARRAY = b"\x76", b"\x75"  # lib0, encoding.writeAny


class BadStateVector(ValueError):
    """Bytes that are no Yjs state vector."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """`entry` is the number of the journal entry that saves the batch; `rejected` are indexes of malformed edits."""

    entry: int
    rejected: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What applying an update changed, and whether a part of it still waits for another edit."""

    changes: list[bytes]
    waiting: bool


class Room:
    """The document of one canvas, and what still has to be broadcast and saved.

    `epoch` names this holding of the canvas and is the writer of its journal entries.
    """

    def __init__(self, canvas_id: str, epoch: str, content: Content) -> None:
        self.canvas_id = canvas_id
        self.epoch = epoch
        self.revision = content.revision
        self.broadcast_sequence = 0
        self._doc: Doc[Any] = Doc()
        self._changes: list[bytes] = []
        self._fresh: list[bytes] = []
        self._unsaved: list[bytes] = []
        self._authors: set[str] = set()
        self._in_flight: Entry | None = None
        self._entries = 0
        self._committed = 0
        self.unsaved_bytes = 0
        self._parked: deque[bytes] = deque(maxlen=MAX_PARKED)
        if content.updates:
            # One merged update has no order to get wrong.
            merged = _merge(list(content.updates))
            self._doc.apply_update(merged)
            if waits(merged, self._doc):
                self._parked.append(merged)
        self._subscription = self._doc.observe(self._changed)

    def receive(self, edits: list[Edit]) -> Receipt:
        """Apply a batch. An edit that was applied before changes nothing, so resending is safe."""
        rejected = []
        for index, edit in enumerate(edits):
            if not self._apply(edit.update):
                rejected.append(index)
            elif self._unsaved:
                self._authors.add(edit.author)
        return Receipt(self._entry_that_saves_all(), tuple(rejected))

    def absorb(self, content: Content) -> None:
        """Take in what another writer committed, and broadcast it; it needs no saving."""
        for update in content.updates:
            outcome = self._integrate(update)
            self._fresh += outcome.changes
            if outcome.waiting:
                self._parked.append(update)
        self._retry_parked()
        self.revision = max(self.revision, content.revision)

    def take_broadcast(self) -> Broadcast | None:
        """Everything new since the last one, merged, or None."""
        if not self._fresh:
            return None
        update = _merge(self._fresh)
        self._fresh = []
        self.broadcast_sequence += 1
        return Broadcast(self.epoch, self.broadcast_sequence, update)

    def take_entry(self) -> Entry | None:
        """Everything unsaved, merged into the next journal entry, or None while one is in flight."""
        if self._in_flight is not None or not self._unsaved:
            return None
        self._entries += 1
        self._in_flight = Entry(
            self.canvas_id,
            self.epoch,
            self._entries,
            tuple(sorted(self._authors)),
            _merge(self._unsaved),
        )
        self._unsaved = []
        self._authors = set()
        return self._in_flight

    def committed(self, revision: int) -> bool:
        """The entry in flight is committed at `revision`. False: another writer committed before it; `absorb` that."""
        assert self._in_flight is not None
        self._committed = self._in_flight.sequence
        self._in_flight = None
        self.unsaved_bytes = sum(map(len, self._unsaved))
        alone = revision <= self.revision + 1
        if alone:
            self.revision = max(self.revision, revision)
        return alone

    def saved(self, receipt: Receipt) -> bool:
        """Whether everything of the batch is committed."""
        return self._committed >= receipt.entry

    @property
    def dirty(self) -> bool:
        """Whether anything is not committed yet."""
        return self._in_flight is not None or bool(self._unsaved)

    def sync(self, state_vector: bytes, awareness: bytes) -> SyncReply:
        """All that a peer with `state_vector` lacks. Raises `BadStateVector`."""
        try:
            update = self._doc.get_update(state_vector)
        except (ValueError, RuntimeError) as error:
            raise BadStateVector from error
        return SyncReply(
            self.epoch, self.broadcast_sequence, self._doc.get_state(), update, awareness
        )

    def checkpoint(self, awareness: bytes) -> SyncReply:
        """The state vector without content, for peers that have everything."""
        return SyncReply(self.epoch, self.broadcast_sequence, self._doc.get_state(), b"", awareness)

    def _changed(self, event: TransactionEvent) -> None:
        self._changes.append(event.update)

    def _apply(self, update: bytes) -> bool:
        if update == EMPTY_UPDATE:
            return True
        if update.count(_OBJECT) + update.count(_ARRAY) > MAX_NESTING:
            return False
        vector = self._doc.get_state()
        try:
            outcome = self._integrate(update)
        except ValueError:
            return False
        except RuntimeError:
            # Part of it may have been integrated. What is in the document must reach everyone and the journal, or
            # later edits would depend on something that nobody else has.
            partial = self._doc.get_update(vector)
            if partial != EMPTY_UPDATE:
                self._fresh.append(partial)
                self._keep(partial)
            return False
        self._fresh += outcome.changes
        if outcome.changes or outcome.waiting:
            # As it came: what waits for another edit is in no change.
            self._keep(update)
        if outcome.waiting:
            self._parked.append(update)
        if outcome.changes:
            self._retry_parked()
        return True

    def _integrate(self, update: bytes) -> _Outcome:
        """Apply an update. Raises `ValueError` (not an update) or `RuntimeError` (cannot be integrated)."""
        self._changes = []
        self._doc.apply_update(update)
        changes = [change for change in self._changes if change != EMPTY_UPDATE]
        self._changes = []
        # When the change is the update, all of it is in the document.
        return _Outcome(changes, waiting=changes != [update] and waits(update, self._doc))

    def _retry_parked(self) -> None:
        progress = True
        while progress and self._parked:
            progress = False
            for _ in range(len(self._parked)):
                update = self._parked.popleft()
                outcome = self._integrate(update)
                self._fresh += outcome.changes
                # Not by its changes: an edit can be made to change something each time, and for ever.
                progress = progress or not outcome.waiting
                if outcome.waiting:
                    self._parked.append(update)

    def _keep(self, update: bytes) -> None:
        self._unsaved.append(update)
        self.unsaved_bytes += len(update)

    def _entry_that_saves_all(self) -> int:
        if self._unsaved:
            return self._entries + 1
        if self._in_flight is not None:
            return self._in_flight.sequence
        return self._committed


def _merge(updates: list[bytes]) -> bytes:
    return updates[0] if len(updates) == 1 else merge_updates(*updates)
