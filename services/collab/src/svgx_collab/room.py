"""The room: a canvas in memory. It takes edits, and gives broadcasts, journal entries and answers. No I/O, no await.

Each edit goes to the clients and to the journal. The document integrates all edits since the last broadcast or journal
entry in one transaction. `_unsent` holds the changes of the transactions that were not broadcast yet. `_unsaved` holds
the parts of edits that are in no journal entry yet. These parts are joined into as few entries as possible, in their
order. An entry in flight is resent unchanged until the state service has committed it. A receipt names the number of
parts that must be committed before its batch is saved.
"""

import math
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import takewhile

from svgx_canvas.document.shared_document import (
    CheckedEdit,
    Growth,
    SharedDocument,
    TooSlow,
    merge_changes,
)
from svgx_collab.bounds import REFUSED, Bounds, EditRefused, Pace
from svgx_collab.content.whole_updates import WholeUpdates
from svgx_common.contract.collab import Broadcast, Edit, SyncReply
from svgx_common.contract.live.element_events import ElementEvents
from svgx_common.contract.live.rejections import Reason, Rejection
from svgx_common.contract.state import Content, Entry
from svgx_yjs.joining import join_edit, join_first, join_waiting
from svgx_yjs.lib0 import Malformed
from svgx_yjs.parts import Part
from svgx_yjs.record import record
from svgx_yjs.structure import EMPTY_STATE_VECTOR, EMPTY_UPDATE

MERGE_BYTES = 1024 * 1024
"""Largest number of bytes that are merged into one broadcast or journal entry.

A larger edit is not merged, because merging reads all of it.
"""

MAX_IN_FLIGHT = 32
"""Largest number of journal entries of one canvas in flight. Each entry takes the state service 0.1 to 0.3 ms.

Usually one entry is in flight. Edits that arrive before the edits that they depend on need several entries (see
`join_first`).
"""

EDITS_BETWEEN_TIME_READINGS = 8
"""Edits between two readings of the processor time. A reading takes half a microsecond."""

LARGE_EDIT_BYTES = 4 * 1024
"""Size of an edit, in bytes, beyond which the processor time is read right after it. Its check may take 5 ms."""

LONG_TRANSACTION_SECONDS = 0.02
"""Time of a transaction, in seconds, beyond which it is long.

During a pause, edits wait at their gateway if the next transaction is expected to be long.
"""

NEW_SECONDS = 30.0
"""Age of a room, in seconds, up to which it counts as new.

A new room does not refuse an edit that has only structs of other users (see `Room._others`), because clients may pass
on edits that the new room lacks.
"""


@record
class Receipt:
    """The receipt of a batch of edits. The batch is saved when the room's first `position` parts are committed.

    `rejected` has the rejected edits of the batch, packed (see `Rejection`). A malformed edit is packed as its index.
    `taken` is the number of edits that the room has taken or rejected. The batch's other edits must be passed to
    `receive` again.
    """

    position: int
    rejected: tuple[int, ...]
    taken: int


@record
class _UnsavedPart:
    """A part of an edit that is in no journal entry yet. `arrived_at` is in seconds of the monotonic clock."""

    part: Part
    author: str
    arrived_at: float


@record
class _EntryInFlight:
    """A journal entry in flight."""

    parts: int
    """The number of parts of edits in the entry."""
    size: int
    """The bytes of the parts."""
    arrived_at: float
    """The arrival of the oldest part, in seconds of the monotonic clock."""


class Room:
    """The document of one canvas, with the edits that are not broadcast or not saved yet.

    `epoch` identifies this room among all rooms of the canvas, and is the `writer` of the room's journal entries.
    The constructor and all methods that read or change the document may raise `Fault` (see `SharedDocument`). After a
    `Fault`, the room must not be used any more, and a new room has to be made from the journal. `faulty` has the
    digests of updates that caused a `Fault`: such edits are rejected, and such updates of the journal are left out. In
    a room that is made with `one_by_one`, a `Fault` names the update that caused it.

    `bounds` are the bounds of the replica, and `whole_updates` keeps the encoded contents of the replica's rooms.
    `pace` tells when the room may integrate changes, and when it may take edits. While the room may not integrate, it
    gives no journal entries, and its broadcasts and its answers to a sync lack the newest edits.
    """

    def __init__(
        self,
        canvas_id: str,
        epoch: str,
        content: Content,
        *,
        faulty: Collection[bytes] = (),
        one_by_one: bool = False,
        clock: Callable[[], float] = time.monotonic,
        bounds: Bounds | None = None,
        whole_updates: WholeUpdates | None = None,
    ) -> None:
        self._clock = clock
        self._bounds = bounds or Bounds()
        self._whole_updates = whole_updates or WholeUpdates()
        self.pace = Pace(self._bounds.limits)
        self.canvas_id = canvas_id
        self.epoch = epoch
        self.owner_of: Callable[[int], str | None] = lambda _: None
        """Returns the user of a Yjs client that is present on the canvas, or None."""
        self._loaded_at = time.monotonic()
        self.revision = content.revision
        self.last_commit = 0
        """The revision of the last entry that this room has committed, or 0."""
        self.broadcast_sequence = 0
        self._element_sequence = 0
        self.unsaved_bytes = 0
        self._document = SharedDocument.load(
            content.updates, outline=content.outline, faulty=faulty, one_by_one=one_by_one
        )
        self._document.edit_seconds = self._bounds.limits.edit_seconds
        self._last_author = ""
        """The author of the last edit."""
        self._first_authors: dict[int, str] = {}
        """The author of the first structs of each Yjs client that is new since the room was loaded."""
        self._new_clients: list[int] = []
        """The Yjs clients of the current edit that the document does not know yet."""
        self._merger = _Merger()
        self._unsent: deque[bytes] = deque()
        self._broadcast_vector = self._document.state_vector()
        """The state vector of the last checkpoint. It counts only edits that were broadcast."""
        self._unsaved: deque[_UnsavedPart] = deque()
        self._incomplete: list[Part] = []
        """The parts of the last edit, while some of its deletions are not integrated yet."""
        self._parts_taken = 0
        self._parts_committed = 0
        self._entries_made = 0
        self._in_flight: deque[_EntryInFlight] = deque()
        self._seconds_per_part = 0.0
        """Seconds of processor time for each part of the last transaction."""

    @property
    def left_out(self) -> int:
        """The number of updates of the journal that cannot be integrated."""
        return self._document.left_out

    @property
    def is_unfinished(self) -> bool:
        """Whether `receive` must continue the last edit. `receive([])` does so."""
        return self._document.is_unfinished

    def check(self, update: bytes) -> CheckedEdit | None:
        """Check a large edit for `receive`, without changing the room. The method may run in a thread.

        Return None if the check fails; `receive` then checks the edit again.
        """
        return self._document.check(update)

    def receive(
        self,
        edits: Sequence[Edit],
        checked: CheckedEdit | None = None,
        *,
        first: int = 0,
        seconds: float = math.inf,
    ) -> Receipt:
        """Take edits of a batch. Resending a batch is safe, because an edit that was taken before changes nothing.

        `checked` is the result of `check` for a single edit. `first` is the index of the first edit in the batch. After
        `seconds` of processor time, at most `EDITS_BETWEEN_TIME_READINGS` more edits are taken. An edit may remain
        unfinished. It must be continued before the next edit is taken.
        """
        started = time.thread_time()
        rejected = []
        taken = 0
        is_reading_due = False
        if self._document.is_unfinished:
            reason, amount = self._resume(seconds)
            if reason is not None and first:
                rejected.append(Rejection(first - 1, reason, amount).pack())
            is_reading_due = True
        for edit in edits:
            if self._document.is_unfinished:
                break
            if is_reading_due and time.thread_time() - started >= seconds:
                break
            reason, amount = self._take(edit, checked, seconds)
            if reason is not None:
                rejected.append(Rejection(first + taken, reason, amount).pack())
            taken += 1
            is_reading_due = (
                taken % EDITS_BETWEEN_TIME_READINGS == 0
                or len(edit.update) > LARGE_EDIT_BYTES
                or bool(self._document.spent)
            )
        now = time.monotonic()
        out_of_time = (
            bool(self._document.spent) and self._charge(now) and self._document.is_releasing
        )
        self.pace.note_edits(time.thread_time() - started, now, out_of_time=out_of_time)
        return Receipt(self._parts_taken, tuple(rejected), taken)

    def load_content(self, content: Content) -> None:
        """Take the commits of another writer. They are broadcast, but not saved again.

        They may release waiting edits, which `receive` continues (see `is_unfinished`).
        """
        for update in content.updates:
            self._document.load_update(update)
        self.revision = max(self.revision, content.revision)

    def take_broadcasts(self) -> Iterator[Broadcast]:
        """Yield all changes that were not broadcast yet, merged. There is usually one broadcast.

        While `seconds_until_due` is not 0, the newest edits wait.
        """
        self._flush()
        while self._unsent:
            update, count = self._merger.merge_first(self._unsent)
            for _ in range(count):
                self._unsent.popleft()
            self.broadcast_sequence += 1
            yield Broadcast(self.epoch, self.broadcast_sequence, update)

    def observe_elements(self) -> None:
        """Observe the elements that edits change, for `take_element_events`. Does nothing while they are observed."""
        if not self._document.observes_elements:
            self._flush()  # Otherwise, an open transaction would count as a change of everything.
            self._document.observe_elements()
            self._element_sequence += 1

    def stop_observing_elements(self) -> None:
        """Observe no elements any more."""
        self._document.stop_observing_elements()

    @property
    def observes_elements(self) -> bool:
        """True while the changed elements are observed."""
        return self._document.observes_elements

    @property
    def has_changed_elements(self) -> bool:
        """True if `take_element_events` has to be called, because of changed elements or of unread ones."""
        return self._document.has_changed_elements

    def take_element_events(self) -> ElementEvents | None:
        """Return the changes of observed elements since the last call.

        Return None if there are none, and during a pause. Also return None while the elements of the document have to
        be read first; `has_changed_elements` is then still true.
        """
        if not self._document.observes_elements or not self._flush():
            return None
        operations = self._document.describe_elements()
        if operations is None:
            return None
        self._element_sequence += 1
        return ElementEvents(self.epoch, self._element_sequence, operations)

    def lose_element_events(self) -> None:
        """Note that changes of elements could not be sent. The next events count everything as changed."""
        self._document.count_all_elements()
        self._element_sequence += 1

    def take_entry(self) -> Entry | None:
        """Merge edits into the next journal entry, and return the entry.

        Return None when no edit waits, during a pause, and while `MAX_IN_FLIGHT` entries or `MERGE_BYTES` bytes are in
        flight.
        """
        size_in_flight = sum(each.size for each in self._in_flight)
        is_full = len(self._in_flight) >= MAX_IN_FLIGHT or size_in_flight >= MERGE_BYTES
        if is_full or not self._unsaved:
            return None
        # Integrate the edits first, because an entry must not have an update on which pycrdt fails.
        if not self._flush():
            return None
        update, count = self._next_entry()
        arrived_at = self._unsaved[0].arrived_at
        sent: dict[str, int] = {}
        for _ in range(count):
            unsaved = self._unsaved.popleft()
            sent[unsaved.author] = sent.get(unsaved.author, 0) + len(unsaved.part.update)
        authors = tuple(sorted(sent))
        self._entries_made += 1
        self._in_flight.append(_EntryInFlight(count, sum(sent.values()), arrived_at))
        return Entry(
            self.canvas_id,
            self.epoch,
            self._entries_made,
            authors,
            update,
            tuple(sent[each] for each in authors),
        )

    def mark_committed(self, revision: int) -> bool:
        """Note that the first entry in flight was committed at `revision`.

        Return False when another writer has committed since the room's revision. The caller must then load those
        commits and pass them to `load_content`.
        """
        self.last_commit = revision
        committed = self._in_flight.popleft()
        self._parts_committed += committed.parts
        self.unsaved_bytes -= committed.size
        follows = revision <= self.revision + 1
        if follows:
            self.revision = max(self.revision, revision)
        return follows

    @property
    def oldest_in_flight(self) -> int:
        """The sequence of the oldest entry in flight, or of the next entry if none is in flight."""
        return self._entries_made - len(self._in_flight) + 1

    @property
    def position_in_flight(self) -> int:
        """The number of parts of edits that are committed, or are in an entry in flight."""
        return self._parts_committed + sum(each.parts for each in self._in_flight)

    def is_saved(self, receipt: Receipt) -> bool:
        """Return whether all edits of the batch are committed."""
        return self._parts_committed >= receipt.position

    @property
    def has_unsaved_edits(self) -> bool:
        """True while any edit is not committed yet."""
        return bool(self._in_flight or self._unsaved)

    @property
    def lacks_entry(self) -> bool:
        """True while edits wait for a journal entry and none is in flight, for example during a pause."""
        return not self._in_flight and bool(self._unsaved)

    @property
    def unsaved_since(self) -> float | None:
        """The arrival of the oldest uncommitted edit, in seconds of the monotonic clock; None without any."""
        if self._in_flight:
            return self._in_flight[0].arrived_at
        return self._unsaved[0].arrived_at if self._unsaved else None

    def sync(self, state_vector: bytes, awareness: bytes) -> SyncReply:
        """Return the content that a peer with `state_vector` lacks. Raises `svgx_yjs.lib0.Malformed`.

        Edits that are not integrated yet come in later broadcasts, and not in the reply.
        """
        self._flush()
        missing = self._missing(state_vector)
        return self._reply(self._document.state_vector(with_queue=False), missing, awareness)

    def checkpoint(self, awareness: bytes) -> SyncReply:
        """Return a state vector without content, for a peer that has all content.

        The vector counts no edit that comes in a later broadcast. It may lack the newest edits.
        """
        if not self._unsent and not self._document.has_changes:
            self._broadcast_vector = self._document.state_vector(with_queue=False)
        return self._reply(self._broadcast_vector, b"", awareness)

    @property
    def seconds_until_due(self) -> float:
        """The seconds until the room may integrate the edits that wait, or 0."""
        return self.pace.seconds_until_due(time.monotonic()) if self._document.has_queue else 0.0

    @property
    def seconds_until_edits(self) -> float:
        """The seconds until the room may take edits, or 0.

        During a pause, edits wait if the transaction after the pause would take long. They also wait during a pause in
        which the time of each edit is measured, because the document then integrates each edit at once.
        """
        now = time.monotonic()
        seconds = self.pace.seconds_until_edits(now)
        pause = self.pace.seconds_until_due(now)
        document = self._document
        if pause:
            expected = document.queue_length * self._seconds_per_part
            if document.is_measuring or expected > LONG_TRANSACTION_SECONDS:
                return max(seconds, pause)
        return seconds

    def _missing(self, state_vector: bytes) -> bytes:
        """Return the integrated content that a peer with `state_vector` lacks. Raises `svgx_yjs.lib0.Malformed`."""
        document = self._document
        if state_vector != EMPTY_STATE_VECTOR or document.has_queue:
            return document.missing(state_vector, with_queue=False)
        whole = self._whole_updates.find(self.epoch, document.version)
        if whole is None:
            whole = document.missing(state_vector, with_queue=False)
            self._whole_updates.keep(self.epoch, document.version, whole)
        return whole

    def _flush(self) -> bool:
        """Integrate all edits, and note the time that this took. During a pause, do nothing and return False."""
        if self.seconds_until_due:
            return False
        started = time.thread_time()
        document = self._document
        self._unsent += document.flush()
        now = time.monotonic()
        # The numbers may include an earlier transaction, which a lookup of known deletions has ended.
        seconds, parts = document.take_transaction_time()
        self.pace.note_transaction(seconds, parts, now)
        if seconds:
            self._seconds_per_part = seconds / max(1, parts)
        self._charge(now)
        # Count only the time of this flush, because `seconds` includes edits that `receive` has integrated and counted.
        self.pace.note_flush(time.thread_time() - started)
        return True

    def _charge(self, now: float) -> bool:
        """Count the processor time of measured edits. Return whether any of their authors has used up its time."""
        spent, bounds = self._document.spent, self._bounds
        exceeding = [author for author in spent if bounds.spend(author, spent[author], now)]
        spent.clear()
        return bool(exceeding)

    def _reply(self, vector: bytes, update: bytes, awareness: bytes) -> SyncReply:
        return SyncReply(self.epoch, self.broadcast_sequence, vector, update, awareness)

    def _take(
        self, edit: Edit, checked: CheckedEdit | None, seconds: float
    ) -> tuple[Reason | None, int]:
        """Take one edit. Return the reason and the amount of its rejection, or no reason."""
        if edit.update == EMPTY_UPDATE:
            return None, 0
        self._last_author = edit.author
        self._new_clients.clear()
        try:
            parts = self._document.take(
                edit.update,
                author=edit.author,
                admit=self._admit,
                select=self._others,
                checked=checked,
                seconds=seconds,
            )
        except Malformed:
            return Reason.MALFORMED, 0
        except EditRefused as refused:
            return _rejection(refused.reason, refused.amount)
        except TooSlow as slow:
            self._note_first_author(edit.author)
            self._keep(slow.parts)
            return _rejection(Reason.TOO_SLOW, round(1000 * self._bounds.limits.edit_seconds))
        self._note_first_author(edit.author)
        self._keep(parts)
        return None, 0

    def _note_first_author(self, author: str) -> None:
        """Note the author of the first structs of the current edit's new Yjs clients."""
        for client in self._new_clients:
            self._first_authors.setdefault(client, author)

    def _resume(self, seconds: float) -> tuple[Reason | None, int]:
        """Continue the last edit. If its rest is rejected, return the reason and the amount."""
        try:
            self._keep(self._document.resume(seconds=seconds, admit=self._admit))
        except EditRefused as refused:
            self._keep(())
            return _rejection(refused.reason, refused.amount)
        return None, 0

    def _keep(self, parts: Iterable[Part]) -> None:
        """Keep parts of the last edit for the next journal entry.

        While some deletions of the edit are not integrated yet, the parts are in no entry, because an entry must have
        the edit as a whole: the content of a canvas would otherwise be a mixture after a crash.
        """
        self._incomplete += parts
        if self._document.is_deleting:
            return
        complete, self._incomplete = self._incomplete, []
        for part in join_edit(complete):
            self._unsaved.append(_UnsavedPart(part, self._last_author, self._clock()))
            self._parts_taken += 1
            self.unsaved_bytes += len(part.update)

    def _others(self, author: str, clients: Collection[int]) -> Collection[int]:
        """Return the Yjs clients in an edit that belong to connected users other than the author.

        A client may pass on the edits of other users, for example to a new holder. These users' clients also send
        these edits, so the author's edit is taken without them. Raises `EditRefused` when nothing of the edit is left,
        unless the room is new.
        """
        others = [each for each in clients if self._is_others(author, each)]
        clocks = self._document.clocks
        self._new_clients += [each for each in clients if each not in clocks and each not in others]
        if others:
            is_new = time.monotonic() - self._loaded_at < NEW_SECONDS
            if len(others) == len(clients) and not is_new:
                raise EditRefused(Reason.OTHERS_CLIENT, 0)
            REFUSED.labels(Reason.OTHERS_CLIENT.name.lower()).inc()
        return others

    def _is_others(self, author: str, client: int) -> bool:
        """Return whether a Yjs client belongs to a present user other than the author of an edit.

        The author of the client's first structs may use the client too, whichever user is present with it. Otherwise,
        an editor could claim the client of another editor with a broken connection, and block the edits that this
        editor sends afterwards.
        """
        owner = self.owner_of(client)
        return owner is not None and author not in (owner, self._first_authors.get(client))

    def _admit(self, author: str, growth: Growth) -> None:
        document = self._document
        clients, structs = len(document.clocks), document.structs
        waiting_bytes = document.pending_bytes
        self._bounds.admit(
            author, growth, clients, structs, time.monotonic(), waiting_bytes=waiting_bytes
        )

    def _next_entry(self) -> tuple[bytes, int]:
        """Return the update of the next journal entry, and the number of unsaved parts in it."""
        parts = (each.part for each in self._unsaved)
        if self._unsaved[0].part.can_be_joined:
            return join_first(parts, MERGE_BYTES)
        waiting = takewhile(lambda part: not part.can_be_joined, parts)
        return join_waiting((part.update for part in waiting), MERGE_BYTES)


def _rejection(reason: Reason, amount: int) -> tuple[Reason, int]:
    """Count a rejection, and return it."""
    REFUSED.labels(reason.name.lower()).inc()
    return reason, amount


class _Merger:
    """Merges a document's changes into updates of at most `MERGE_BYTES`. A larger change is not merged.

    When merging fails, `merge_first` tries the first half of the updates, then the first quarter, and so on. After a
    failure, the next call tries as many bytes as were merged, and each later call twice as many as the call before it.
    Therefore a call reads only a few bytes more than it merges.
    """

    def __init__(self) -> None:
        self._limit = MERGE_BYTES

    def merge_first(self, updates: Iterable[bytes]) -> tuple[bytes, int]:
        """Merge as many of the first updates as possible. Return the merged update, and the number of updates in it."""
        first = [*self._within_limit(updates)]
        next_limit = min(MERGE_BYTES, self._limit * 2)
        while (merged := merge_changes(first)) is None:
            first = first[: len(first) // 2]
            next_limit = sum(map(len, first))
        self._limit = next_limit
        return merged, len(first)

    def _within_limit(self, updates: Iterable[bytes]) -> Iterator[bytes]:
        """Yield the first updates up to the limit, and at least one."""
        size = 0
        for update in updates:
            size += len(update)
            if size > self._limit and size > len(update):
                return
            yield update
