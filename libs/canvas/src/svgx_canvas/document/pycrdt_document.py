"""A pycrdt document that integrates checked updates in few transactions, and measures their time."""

import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from pycrdt import Doc, Subscription, Transaction, TransactionEvent

from svgx_canvas.document.faults import PYCRDT_FAULTS, Fault, update_digest
from svgx_canvas.document.outline import Outline
from svgx_canvas.observation.observed_elements import ObservedElements
from svgx_yjs.delete_set import Range, Ranges, encode_delete_set, read_delete_set
from svgx_yjs.joining import join_first
from svgx_yjs.lib0 import Decoder, Encoder
from svgx_yjs.nesting import ListLengths, Nesting, PlacedRange
from svgx_yjs.parts import Part, Step
from svgx_yjs.record import record
from svgx_yjs.splitting import encode_steps

FEW_STRUCTS = 64
"""The most structs of an edit that is integrated together with other edits. The time of larger edits is measured."""

MAX_COMPARISONS = 200_000
"""The most comparisons of two structs in an unmeasured call of pycrdt.

To place a new struct, pycrdt may compare it with each struct of its list, which takes 0.7e-6 s for each of them.
"""

STRUCTS_PER_COMPARISON = 500
"""Structs that pycrdt moves in memory in the time of one comparison.

To split a struct at the place of a new one, pycrdt may move all structs of the document.
"""

MANY_STRUCTS = MAX_COMPARISONS // FEW_STRUCTS
"""The most structs of a document for which the length of its longest list does not matter."""

SLOW_SECONDS = 0.02
"""Limit of a transaction's processor time, in seconds. Each part in the transaction adds `SECONDS_PER_PART`.

After a transaction over this limit, the time of each edit is measured for `MEASURED_SECONDS`.
"""

MEASURED_SECONDS = 10.0
"""Time for which each edit is measured after a transaction over its limit (see `SLOW_SECONDS`), in seconds."""

SECONDS_PER_PART = 20e-6
"""Allowed processor time of a transaction for each of its parts, in seconds.

A short edit in a room of 1,000 editors needs 6 to 12 µs.
"""

RANGES_PER_CALL = 256
"""The most deleted ranges of a large update in one call of pycrdt. pycrdt stops all threads during a call."""

CHANGE_BYTES = 1024 * 1024
"""Largest size of joined changes, in bytes. Changes are joined only in a document that is not observed."""

CHECK_SHARE = 0.02
"""The largest share of time for checks that pycrdt has integrated new structs, in a document without an observer.

The time of a check grows with the number of clients, and is 3 to 7 ms with 50,000 clients. Beyond the share, the next
check is delayed, and then covers several transactions.
"""

MAX_STEPS_TO_CHANGES = 300_000
"""The most steps for which pycrdt may search for the changed elements of an observed transaction.

pycrdt goes through the list around each changed map and text, and needs 0.08e-6 to 0.7e-6 s for each of its structs.
"""


@record
class QueuedPart:
    """A part that can be integrated, and the update or pending piece that it comes from."""

    update: bytes
    part: Part
    advances: bool
    """True if the part has new structs, and not only deletions."""


class PycrdtDocument:
    """A pycrdt document with a queue of parts. After a `Fault` it must not be used.

    One transaction integrates the whole queue, because pycrdt needs longer for a transaction than for an update in it:
    two to three times as long with 100 clients, and more than ten times as long with 1,000 clients. The parts of large
    edits skip the queue, and are integrated immediately in the same transaction.
    """

    def __init__(self) -> None:
        self.structs = 0
        """The number of all structs that the document has got so far, including overwritten values."""
        self._lists: ListLengths | None = None
        """The lengths of the document's lists; None until they are counted (see `measure_lists`)."""
        self._comparisons = 0
        """The most comparisons that pycrdt makes to place one struct."""
        self.applied_seconds = 0.0
        """Seconds of processor time that the open transaction has taken so far."""
        self.transaction_seconds = 0.0
        """Seconds of processor time that the transactions have taken. The caller may reset it."""
        self.transaction_parts = 0
        """The number of parts that the transactions have integrated. The caller may reset it."""
        self._doc: Doc[Any] = Doc()
        self._queue: list[QueuedPart] = []
        self.queued_ranges = 0
        """The number of deleted ranges in the queue, without the first one of each part."""
        self._queued_structs = 0
        """The number of structs in the queue."""
        self._transaction: Transaction | None = None
        self._in_transaction: list[QueuedPart] = []
        """The parts that are integrated in the open transaction."""
        self._measured_until = 0.0
        self._fault: Fault | None = None
        self._vector: bytes | None = None
        """The encoded state vector of the integrated content; None while it is not known."""
        self._unchecked: bytes | None = None
        """The state vector before the transactions that are not checked yet; None without such transactions."""
        self._unchecked_parts: list[QueuedPart] = []
        """The parts of these transactions."""
        self._may_check_at = 0.0
        """The earliest time of the next check, in seconds of the monotonic clock."""
        self._changes: list[bytes] = []
        self._notes_changes = False
        """False until the whole journal is loaded. The loaded content is not a change."""
        self._subscription: Subscription | None = None
        """The observer of the changes; None until the whole journal is loaded, and after `stop_observing`."""
        self._elements: ObservedElements | None = None
        """The changed elements; None while they are not observed."""
        self._structs_before = 0
        """The number of structs before the open transaction. It is counted while elements are observed."""

    def start_noting_changes(self) -> None:
        """Note the changes from now on. Called when the whole journal is loaded.

        A slow load does not cause a measurement of the next edits.
        """
        self._measured_until = 0.0
        self._notes_changes = True
        self._subscription = self._doc.observe(self._on_change)

    def stop_observing(self) -> None:
        """From now on, note the changes without an observer. Called between two transactions."""
        if self._subscription is not None:
            self._doc.unobserve(self._subscription)
            self._subscription = None
            self.state_vector()

    def observe_elements(self) -> None:
        """Observe the elements that transactions change. Nothing is described before the next change.

        All changes of an open transaction count as a change of everything.
        """
        self._elements = ObservedElements(self._doc)
        if self._transaction is not None:
            self._elements.add_everything()
        else:
            self._attach_elements(self._elements)
            self.describe_elements()

    def stop_observing_elements(self) -> None:
        """Forget the changed elements, and observe them no more."""
        if self._elements is not None:
            self._elements.detach()
            self._elements = None

    @property
    def elements(self) -> ObservedElements | None:
        """The changed elements, or None while they are not observed."""
        return self._elements

    def describe_elements(self) -> str | None:
        """Describe the changed elements (see `ObservedElements.describe`). Raises `Fault`.

        Return None during a transaction, and while no elements are observed.
        """
        if self._elements is None or self._transaction is not None:
            return None
        return self._elements.describe()

    @property
    def has_queue(self) -> bool:
        """True while parts wait for the end of the transaction."""
        return bool(self._queue) or self._transaction is not None

    @property
    def has_changes(self) -> bool:
        """True if content was integrated that `take_changes` has not returned yet."""
        return bool(self._changes) or self._transaction is not None

    @property
    def queue_length(self) -> int:
        """The number of parts that wait for their integration."""
        return len(self._queue)

    @property
    def is_measuring(self) -> bool:
        """Whether the time of each edit has to be measured, because transactions were slow."""
        return time.monotonic() < self._measured_until

    @property
    def few_structs(self) -> int:
        """The most structs that one call of pycrdt may integrate without a measurement, at least 1."""
        return max(1, min(FEW_STRUCTS, MAX_COMPARISONS // max(1, self._comparisons)))

    def measure_lists(self, document: Nesting, update: Nesting | PlacedRange) -> None:
        """Count the structs of the document's lists, and those of an update. Call this before the update is queued.

        The count begins when the document has more than `MANY_STRUCTS` structs, or when its elements are observed.
        After `absorb`, it has begun already.
        """
        if self._lists is None:
            if self.structs <= MANY_STRUCTS and self._elements is None:
                self._comparisons = self.structs
                return
            self._lists = ListLengths()
            self._lists.add(document)
        self._lists.add(update)
        self._set_comparisons(self._lists)

    def _set_comparisons(self, lists: ListLengths) -> None:
        moved = self.structs // STRUCTS_PER_COMPARISON
        self._comparisons = min(self.structs, lists.longest + moved)

    def enqueue(self, queued: QueuedPart, structs: int, ranges: int = 0) -> None:
        """Queue a part with this number of structs and deleted ranges. Raises `Fault`."""
        self._queue.append(queued)
        if ranges > 1:
            self.queued_ranges += ranges - 1
        self._queued_structs += structs
        if self._queued_structs * self._comparisons > MAX_COMPARISONS:
            self.apply_queue()

    def load(self, queued: QueuedPart) -> None:
        """Queue a part of the journal, which may have many structs."""
        self._queue.append(queued)

    def apply_queue(self) -> None:
        """Integrate the queue in the open transaction, and measure the time. Raises `Fault`."""
        parts = len(self._queue)
        started = time.thread_time()
        try:
            self._apply_all_queued()
        except Fault as fault:
            self._note_fault(fault, self._in_transaction)
            raise
        seconds = time.thread_time() - started
        self.applied_seconds += seconds
        self._note_speed(seconds, parts)

    def apply_now(
        self, queued: QueuedPart, groups: Sequence[Sequence[Step]], *, limit: float | None = None
    ) -> list[Step] | None:
        """Integrate a part in the open transaction. The queue must be empty. Raises `Fault`.

        `groups` has the steps of each call of pycrdt. Without steps, one call integrates all structs. When the groups
        take more than `limit` seconds of processor time, return the integrated steps. The caller must then pass a part
        with these steps to `note_integrated`. Return None if the part is integrated completely.
        """
        integrated: list[Step] = []
        started = time.thread_time()
        try:
            for group in groups:
                self._apply(encode_steps(queued.update, group))
                integrated += group
                seconds = time.thread_time() - started
                if limit is not None and seconds > limit and group is not groups[-1]:
                    return integrated
            if not groups and queued.advances:
                self._apply(queued.part.update)
            else:
                self._apply_deletions(queued.part.deletions)
        except Fault as fault:
            self._note_fault(fault, [queued])
            raise
        finally:
            self.applied_seconds += time.thread_time() - started
        self.note_integrated(queued)
        return None

    def note_integrated(self, queued: QueuedPart) -> None:
        """Record that a part is in the open transaction."""
        self._in_transaction.append(queued)

    def integrate_alone(self, queued: QueuedPart) -> float:
        """Integrate a part in a transaction of its own, after the queue. Return its seconds of processor time.

        This time is not in `transaction_seconds`. Raises `Fault`.
        """
        self.integrate()
        self._queue.append(queued)
        return self._integrate_transaction()

    def integrate(self) -> None:
        """Integrate the queue, and end the transaction. After an earlier `Fault`, raise the same `Fault` again."""
        if self._fault is not None:
            raise self._fault
        if not self.has_queue:
            return
        parts = len(self._queue) + len(self._in_transaction)
        seconds = self._integrate_transaction()
        self.transaction_seconds += seconds
        self.transaction_parts += parts
        self._note_speed(seconds, parts)

    def absorb(self, update: bytes, outline: Outline, deletions: Ranges) -> None:
        """Integrate the journal's first update, in the steps of `outline` and in one transaction. Raises `Fault`."""
        self.structs = outline.structs
        self._lists = ListLengths(outline.longest_list)
        self._set_comparisons(self._lists)
        for step in outline.steps:
            self._apply(encode_steps(update, [step]))
        self._apply_deletions(deletions)
        self._commit()

    def take_changes(self) -> list[bytes]:
        """Return the changes since the last call, as updates for the clients."""
        changes, self._changes = self._changes, []
        return changes

    def state_vector(self) -> bytes:
        """Return the state vector of the integrated content, encoded. Raises `Fault`.

        The encoded vector is kept until the next change, because the time to encode it grows with the number of clients
        that ever edited the document. Reading the vector also checks the new structs of a document without an observer.
        """
        if self._vector is None:
            started = time.monotonic()
            with PYCRDT_FAULTS:
                self._vector = self._doc.get_state()
            now = time.monotonic()
            self._may_check_at = now + (now - started) / CHECK_SHARE
            if self._vector == self._unchecked:
                fault = Fault()
                self._note_fault(fault, self._unchecked_parts)
                raise fault
            self._unchecked, self._unchecked_parts = None, []
        return self._vector

    def require_integrated(self) -> None:
        """Raise `Fault` if pycrdt has ignored new structs of a transaction that is not checked yet."""
        if self._unchecked is not None:
            self.state_vector()

    def missing(self, state_vector: bytes) -> bytes:
        """Return the integrated content that a peer with `state_vector` lacks, as an update. Raises `Fault`."""
        with PYCRDT_FAULTS:
            return self._doc.get_update(state_vector)

    def read_deletions(self) -> list[tuple[int, list[Range]]]:
        """Integrate the queue, and return all deletions. They are the update for a peer that has all structs."""
        self.integrate()
        decoder = Decoder(self.missing(self.state_vector()))
        if decoder.uint():  # pycrdt sends no structs to a peer that has all of them
            return []
        return list(read_delete_set(decoder))

    def _apply(self, update: bytes) -> None:
        """Integrate an update in the open transaction."""
        if self._transaction is None:
            transaction = self._doc.transaction()
            transaction.__enter__()
            self._transaction = transaction
        with PYCRDT_FAULTS:
            self._doc.apply_update(update)

    def _apply_deletions(self, deletions: Ranges) -> None:
        """Integrate deletions in the open transaction, in calls of `RANGES_PER_CALL`, the last clocks first."""
        for client, ranges in deletions.items():
            for end in range(len(ranges), 0, -RANGES_PER_CALL):
                some = ranges[max(0, end - RANGES_PER_CALL) : end]
                self._apply(encode_deletions({client: some}))

    def _apply_all_queued(self) -> None:
        queue, self._queue = self._queue, []
        self._queued_structs = self.queued_ranges = 0
        self._in_transaction += queue
        for queued in queue:
            self._apply(queued.part.update)

    def _integrate_transaction(self) -> float:
        """Integrate the queue, and end the transaction. Return its seconds of processor time. Raises `Fault`."""
        before, self._vector = self._vector, None
        changes = len(self._changes)
        try:
            started = time.thread_time()
            self._apply_all_queued()
            if self._elements is None:
                self._commit()
            else:
                self._commit_observed(self._elements)
            seconds = self.applied_seconds + time.thread_time() - started
            self.applied_seconds = 0.0
            if self._subscription is not None:
                if len(self._changes) == changes:
                    self._require_no_structs()
            elif self._notes_changes:
                self._note_changes(before)
        except Fault as fault:
            if self._fault is None:
                self._note_fault(fault, self._in_transaction)
            raise
        self._in_transaction = []
        return seconds

    def _require_no_structs(self) -> None:
        """Raise `Fault` if a part in the transaction has new structs. Called after a transaction that changed nothing.

        pycrdt has then ignored the updates. Without this check, the updates would count as saved and be lost.
        """
        if any(each.advances for each in self._in_transaction):
            raise Fault

    def _note_changes(self, before: bytes | None) -> None:
        """Note the changes of a transaction that was not observed, and check its new structs if a check is due.

        `before` is the state vector before the transaction, if it is known.
        """
        if any(each.advances for each in self._in_transaction):
            if self._unchecked is None:
                self._unchecked = before
            self._unchecked_parts += self._in_transaction
            if time.monotonic() >= self._may_check_at:
                self.state_vector()
        else:
            self._vector = before
        parts = [each.part for each in self._in_transaction]
        while parts:
            change, count = join_first(parts, CHANGE_BYTES)
            self._changes.append(change)
            del parts[:count]

    def _note_speed(self, seconds: float, parts: int) -> None:
        """Measure the next edits if this number of parts took too many seconds."""
        if seconds > SLOW_SECONDS + SECONDS_PER_PART * parts:
            self._measured_until = time.monotonic() + MEASURED_SECONDS

    def _note_fault(self, fault: Fault, suspects: Sequence[QueuedPart]) -> None:
        """Note a `Fault`, and end the transaction. One of `suspects` is at fault.

        If there is only one suspect, the fault gets the digest of its update.
        """
        if len(suspects) == 1:
            fault.update_digest = update_digest(suspects[0].update)
        self._fault = fault
        with suppress(Fault):
            self._commit()

    def _commit(self) -> None:
        transaction, self._transaction = self._transaction, None
        if transaction is not None:
            with PYCRDT_FAULTS:
                transaction.__exit__(None, None, None)

    def _commit_observed(self, elements: ObservedElements) -> None:
        """End the transaction, and note the changed elements. If the search for them may take long, skip it."""
        structs = self.structs - self._structs_before
        deleted = sum(
            length
            for each in self._in_transaction
            for ranges in each.part.deletions.values()
            for _, length in ranges
        )
        longest = self._lists.longest if self._lists is not None else self.structs
        if (structs + deleted) * longest > MAX_STEPS_TO_CHANGES:
            elements.detach()
        self._commit()
        self._attach_elements(elements)

    def _attach_elements(self, elements: ObservedElements) -> None:
        """Observe the transactions from now on. A root map that this creates is not a change."""
        changes = len(self._changes)
        elements.attach()
        del self._changes[changes:]
        self._structs_before = self.structs

    def _on_change(self, event: TransactionEvent) -> None:
        self._changes.append(event.update)


def encode_deletions(deletions: Ranges) -> bytes:
    """Encode an update without structs."""
    return encode_delete_set(Encoder().uint(0), deletions).finish()
