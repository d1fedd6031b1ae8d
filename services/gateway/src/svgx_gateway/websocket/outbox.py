"""The outbox of one canvas: it sends the clients' edits to the holder in batches, and resends uncommitted batches."""

import asyncio
import functools
import time
from collections import deque
from collections.abc import Callable

import structlog

from svgx_common import metrics
from svgx_common.background import BackgroundTasks
from svgx_common.contract.close_codes import Close, close_code_of_canvas
from svgx_common.contract.collab import (
    CANVAS_EDIT,
    AuthoredState,
    Edit,
    EditBatch,
    LinkReceipt,
    Saved,
    replica_of,
)
from svgx_common.contract.errors import DeadlineExceeded, NotFound, SvgxError, TemporaryError
from svgx_common.contract.live.rejections import Rejection
from svgx_common.messaging.bus import Bus
from svgx_common.messaging.holder import Holder
from svgx_common.messaging.spans import Batch
from svgx_common.messaging.wire import decode, encode
from svgx_common.timing.bounded_wait import wait_at_most
from svgx_common.tracing import TraceOf, UnrecordedTraces, may_record_roots
from svgx_gateway.observability.socket_spans import EditSpans
from svgx_gateway.websocket.connection import Connection
from svgx_gateway.websocket.links.canvas_interval import CanvasInterval
from svgx_gateway.websocket.links.outgoing_batch import (
    BATCH_EDITS,
    FAILED,
    LATE,
    REJECTED,
    RESENT,
    SAVED,
    SAVED_SECONDS,
    OutgoingBatch,
)
from svgx_gateway.websocket.links.replica_link import (
    FLUSH_SLACK_SECONDS,
    NextBatch,
    Outcome,
    ReplicaLink,
)
from svgx_gateway.websocket.links.replica_links import ReplicaLinks
from svgx_yjs.lib0 import Malformed

log = structlog.get_logger(__name__)

BATCH_INTERVAL_SECONDS = 0.004
"""Seconds between two batches that a canvas sends in requests. The first batch after a pause is sent at once.

On a link, `CanvasInterval` demands a longer time.
"""

PROMPT_BATCHES = 8
"""Number of uncommitted batches up to which the interval stays `BATCH_INTERVAL_SECONDS`.

With more uncommitted batches the interval grows in proportion. So while nothing is committed, edits still reach the
holder and the other clients, but in fewer and larger requests.
"""

MAX_BYTES = 32 * 1024 * 1024
"""Maximum size of one canvas's uncommitted edits, in bytes. Beyond it, no further edit is read from the clients."""

BATCH_BYTES = 1024 * 1024
"""Maximum size of the next batch, in bytes. Beyond it, no edit is read from the clients until the batch is sent."""

SAVED_OBJECTIVE_SECONDS = 1.0
"""Objective for 99.9 % of the edits: maximum time from an edit's arrival at the gateway to its commit, in seconds."""

RETRY_SECONDS = 60.0
"""Time limit for all attempts to send a batch, in seconds. Beyond it, the connections are closed (`OVERLOADED`).

The time begins anew with each call of `resend`.
"""

ATTEMPT_SECONDS = 3.0
"""Time limit for one attempt to send a batch, in seconds. `SECONDS_PER_MIB` is added for each MiB of the batch."""

SECONDS_PER_MIB = 4.0
"""Seconds for each MiB of a batch. A holder with a core of its own needs one second for a MiB of many small structs."""

LINK_PAUSE_SECONDS = 10.0
"""Seconds for which a link is not used after a receipt did not arrive in time. Batches are then sent in requests."""

UNSAVED = "edits cannot be saved at the moment"
"""The close reason while no holder commits edits."""

CloseAll = Callable[[Close, str], None]
AskAgain = Callable[[Connection], None]
SendSaved = Callable[[Connection, int, str], None]


class Outbox:
    """The outbox of one canvas. It calls `close_all` to close the connections when a batch cannot be committed.

    It calls `ask_again` for each connection with a gap in its saved counter that no answer of the client will fill.

    It calls `send_saved` for each connection with committed messages, with the number of the last committed message
    and the epoch of the holder that has committed it.

    While the holder's replica is known, batches are sent on the link to this replica, without a task for each batch.
    Otherwise, and after the link has failed, each batch is sent in a separate request. The request opens the canvas,
    and is repeated until it is acknowledged (see `RETRY_SECONDS`). Large and traced batches always go in separate
    requests.
    """

    def __init__(
        self,
        bus: Bus,
        canvas_id: str,
        close_all: CloseAll,
        links: ReplicaLinks | None = None,
        ask_again: AskAgain = lambda _: None,
        *,
        send_saved: SendSaved = lambda connection, *saved: connection.send_saved(*saved),
    ) -> None:
        # The outbox has its own `Holder`, because edits wait for PostgreSQL and must not delay other requests.
        self._holder = Holder(bus, canvas_id)
        self.canvas_id = canvas_id
        self._links = links
        self._link: ReplicaLink | None = None
        """The link to the holder's replica; None while the replica is not known, or after the link has failed."""
        self._epoch: str | None = None
        self._requests_until = 0.0
        """Time until which the link is not used again in the same epoch, in seconds of the monotonic clock."""
        self.paced_until = 0.0
        """Time of the next batch on the link, in seconds of the monotonic clock.

        The batch may be sent earlier by `FLUSH_SLACK_SECONDS`.
        """
        self._canvas_interval = CanvasInterval()
        self._bus = bus
        self._may_record_edits = may_record_roots()
        self._unrecorded = UnrecordedTraces()
        self._close_all = close_all
        self._ask_again = ask_again
        self._send_saved = send_saved
        self._failing = False
        """True from the first batch that could not be saved until the next batch is saved."""
        self._next = OutgoingBatch()
        self._sent: deque[OutgoingBatch] = deque()
        self._large: OutgoingBatch | None = None
        """The last large batch. The next large batch waits for the end of this batch (`_wait_for_large_batch`)."""
        self._large_until = 0.0
        """Time until which the next large batch waits, in seconds of the monotonic clock."""
        self._size = 0
        """Bytes of the edits in `_next` and `_sent`."""
        self._edit_added = asyncio.Event()
        self._has_capacity = asyncio.Event()
        self._has_capacity.set()
        self._empty = asyncio.Event()
        self._empty.set()
        self._holder_changed = asyncio.Event()
        self._commits = BackgroundTasks()
        self._sender = BackgroundTasks()
        self._sender.repeat("send edits", self._send_next)

    @property
    def has_capacity(self) -> bool:
        """Whether at most `MAX_BYTES` are uncommitted, and the next batch has at most `BATCH_BYTES`."""
        return self._has_capacity.is_set()

    async def wait_for_capacity(self) -> None:
        """Wait until at most `MAX_BYTES` are uncommitted, and the next batch has at most `BATCH_BYTES`."""
        await self._has_capacity.wait()

    def add(self, connection: Connection, update: bytes, number: int) -> asyncio.Event:
        """Add one edit to the next batch. `number` is the number of its message on the connection.

        Return an event that is set when the edit is committed, or has failed for good.
        """
        if not self._next.edits:
            self._next.since = time.monotonic()
        if self._may_record_edits:
            self._begin_span(connection, len(update))
        self._next.add(Edit(connection.caller.user_id, update), connection, number)
        self._change_size(len(update))
        done = self._next.done
        if self._link is not None and self._link.is_open:
            self._link.request(self)
        else:
            self._edit_added.set()
        return done

    def locate(self, epoch: str) -> None:
        """Send the next batches on the link to the replica that holds the canvas in this epoch.

        The caller has just received a message with this epoch.
        """
        if self._link is not None and self._link.is_open and epoch == self._epoch:
            return
        if epoch == self._epoch and time.monotonic() < self._requests_until:
            return
        replica_id = replica_of(epoch)
        if self._links is not None and replica_id is not None:
            self._epoch = epoch
            self._link = self._links.to(replica_id)
            if self._next.edits:
                self._link.request(self)

    @property
    def link(self) -> ReplicaLink | None:
        """The link on which the next batch is sent; None if the next batch is sent in a separate request."""
        return self._link

    def send_state(self, state: AuthoredState) -> bool:
        """Send a client's awareness state on the link. Return False without a link, and for a large state."""
        link = self._link
        return link is not None and link.is_open and link.add_state(self.canvas_id, state)

    @property
    def waits(self) -> bool:
        """Whether edits wait to be sent."""
        return bool(self._next.edits)

    def take_batch(self, now: float) -> NextBatch | None:
        """Return the next batch for the link, or None if no batch is sent on the link now.

        No batch is sent if there are no edits, before `paced_until`, or while a large batch waits for the previous
        large batch. A large or traced batch is sent in a separate request, and the result is None.
        """
        if (
            not self._next.edits
            or now < self.paced_until - FLUSH_SLACK_SECONDS
            or self._seconds_until_large(now)
        ):
            return None
        unsaved_for = self._unsaved_for(now)
        batch = self._take_next()
        interval = self._canvas_interval.after(len(batch.edits), batch.size, now, unsaved_for)
        self.paced_until = now + max(interval, self._interval())
        is_traced = batch.spans is not None and bool(batch.spans.contexts())
        if self._links is None or is_traced or not batch.fits_link:
            self._start_commit(batch)
            return None
        batch.number, batch.sent_at = self._links.next_number(), now
        settle = functools.partial(self._settle, batch, self._link)
        return NextBatch(batch.number, tuple(batch.edits), batch.size_on_link, settle)

    def lose_link(self) -> None:
        """Stop using the link, and send the waiting edits in requests."""
        self._link = None
        if self._next.edits:
            self._edit_added.set()

    def _settle(self, batch: OutgoingBatch, link: ReplicaLink | None, outcome: Outcome) -> None:
        """Report the batch as saved if the outcome is a receipt. Otherwise, send the batch again in a request."""
        batch.number = None
        if isinstance(outcome, LinkReceipt):
            SAVED_SECONDS.observe(time.monotonic() - batch.sent_at)
            self._note_saved(batch, outcome.rejected, outcome.epoch)
            batch.done.set()
            self._report_saved()
            return
        RESENT.inc()
        if self._link in (link, None):  # otherwise the canvas has another holder now
            if isinstance(outcome, DeadlineExceeded):
                self._requests_until = time.monotonic() + LINK_PAUSE_SECONDS
            self.lose_link()
        self._start_commit(batch, outcome)

    def _begin_span(self, connection: Connection, size: int) -> None:
        """Begin the trace of the next edit."""
        if self._next.spans is None:
            self._next.spans = EditSpans()
        self._next.spans.begin(
            len(self._next.edits),
            route=connection.route,
            canvas_id=self.canvas_id,
            user_id=connection.caller.user_id,
            handshake=connection.handshake,
            size=size,
        )

    @property
    def unsaved_bytes(self) -> int:
        """The bytes of the uncommitted edits."""
        return self._size

    @property
    def unsaved_since(self) -> float | None:
        """The time of the oldest uncommitted edit, in seconds of the monotonic clock; None without one."""
        oldest = self._sent[0] if self._sent else self._next
        return oldest.since if oldest.edits else None

    def resend(self) -> None:
        """Send every uncommitted batch again without delay, because a new holder may have taken over."""
        changed, self._holder_changed = self._holder_changed, asyncio.Event()
        changed.set()
        for batch in self._forget_receipts():
            RESENT.inc()
            self._start_commit(batch)

    def _forget_receipts(self) -> list[OutgoingBatch]:
        """Ignore all receipts that arrive on links later. Return the batches that waited for these receipts."""
        waiting = []
        for batch in self._sent:
            if batch.number is not None and self._links is not None:
                self._links.forget(batch.number)
                batch.number = None
                waiting.append(batch)
        return waiting

    async def wait_until_empty(self) -> None:
        """Wait until every edit is committed, or has failed for good."""
        await self._empty.wait()

    async def stop(self) -> None:
        """Discard all edits, and wait until the background tasks have ended. Discarded edits count as failed."""
        self._forget_receipts()
        self._link = self._links = None
        await self._sender.stop()
        await self._commits.stop()
        self._note_discarded()

    def _note_discarded(self) -> None:
        """Count and log the edits that are not committed, and end their spans."""
        batches = [batch for batch in (*self._sent, self._next) if not batch.done.is_set()]
        edits = sum(len(batch.edits) for batch in batches)
        if not edits:
            return
        FAILED.inc(edits)
        for batch in batches:
            if batch.spans is not None:
                batch.spans.fail(asyncio.CancelledError())
        log.warning("unsaved edits were discarded", canvas_id=self.canvas_id, edits=edits)

    def _change_size(self, size: int) -> None:
        self._size += size
        if self._size > MAX_BYTES or self._next.size > BATCH_BYTES:
            self._has_capacity.clear()
        else:
            self._has_capacity.set()
        if self._next.edits or self._sent:
            self._empty.clear()
        else:
            self._empty.set()

    async def _send_next(self) -> None:
        await self._edit_added.wait()
        self._edit_added.clear()
        await self._wait_for_large_batch()
        if self._next.edits:
            self._start_commit(self._take_next())
            await asyncio.sleep(self._interval())

    def _take_next(self) -> OutgoingBatch:
        batch, self._next = self._next, OutgoingBatch()
        self._sent.append(batch)
        BATCH_EDITS.observe(len(batch.edits))
        self._change_size(0)  # the next batch has capacity again
        return batch

    def _seconds_until_large(self, now: float) -> float:
        """Return the seconds that the next batch still has to wait for the last large batch, or 0."""
        if self._large is None or not self._next.is_large or self._large.done.is_set():
            return 0.0
        return max(0.0, self._large_until - now)

    async def _wait_for_large_batch(self) -> None:
        """Wait until the next batch may be sent. Large batches are sent one after the other.

        The holder takes seconds for each large batch. If several waited at the holder, the attempts of the later ones
        would time out. The repeated attempts would then delay later edits. While nothing is committed, a large batch
        waits for the previous large batch as long as one attempt may take.
        """
        while (seconds := self._seconds_until_large(time.monotonic())) and self._large is not None:
            await wait_at_most(self._large.done, seconds)

    def _unsaved_for(self, now: float) -> float:
        """Return the seconds for which the oldest batch has waited for its commit, or 0 if it was never on a link."""
        return now - self._sent[0].sent_at if self._sent and self._sent[0].sent_at else 0.0

    def _interval(self) -> float:
        """Return the seconds until the next batch may be sent."""
        return BATCH_INTERVAL_SECONDS * max(1.0, len(self._sent) / PROMPT_BATCHES)

    def _start_commit(self, batch: OutgoingBatch, after: TemporaryError | None = None) -> None:
        """Send a batch in a separate request. `after` is the reason why the batch failed on the link."""
        if batch.is_large:
            self._large = batch
            self._large_until = time.monotonic() + _attempt_seconds(batch.size)
        context = self._unrecorded.context()
        self._commits.start("commit edits", self._commit(batch, after), context=context)

    async def _commit(self, batch: OutgoingBatch, after: TemporaryError | None) -> None:
        """Commit a batch within the trace of its first recorded edit, then report it."""
        if batch.spans is None or not (origins := batch.spans.contexts()):
            await self._save(batch, after)
        else:
            with TraceOf(origins):
                await self._save(batch, after)
        batch.done.set()
        self._report_saved()

    async def _save(self, batch: OutgoingBatch, after: TemporaryError | None) -> None:
        """Send a batch until it is committed. Close the connections that sent rejected edits."""
        try:
            saved = await self._send_timed(batch, after)
        except (SvgxError, Malformed) as error:
            if not self._failing:  # once for all batches of an outage
                log.warning(
                    "edits could not be saved",
                    canvas_id=self.canvas_id,
                    error=type(error).__name__,
                )
            self._failing = True
            (REJECTED if isinstance(error, NotFound) else FAILED).inc(len(batch.edits))
            code = close_code_of_canvas(error)
            self._close_all(code, NotFound.title() if code.is_final else UNSAVED)
        else:
            self._note_saved(batch, saved.rejected, saved.epoch)

    def _note_saved(self, batch: OutgoingBatch, rejected: tuple[int, ...], epoch: str) -> None:
        """Note that the holder of this epoch has committed a batch. Close the connections that sent rejected edits."""
        self._failing = False
        batch.epoch = epoch
        in_time = time.monotonic() - batch.since <= SAVED_OBJECTIVE_SECONDS
        (SAVED if in_time else LATE).inc(len(batch.edits) - len(rejected))
        if rejected:
            REJECTED.inc(len(rejected))
        for rejection in map(Rejection.unpack, rejected):
            if rejection.index < len(batch.senders):
                batch.senders[rejection.index][0].close(rejection.code, rejection.text)

    async def _send_timed(self, batch: OutgoingBatch, after: TemporaryError | None) -> Saved:
        """Send a batch until it is acknowledged, and measure the time."""
        content = encode(EditBatch(tuple(batch.edits)))
        started = batch.sent_at or time.monotonic()
        try:
            if batch.spans is None:
                return await self._send(content, after)
            return await self._send_with_spans(content, len(batch.edits), batch.spans, after)
        finally:
            exemplar = None if batch.spans is None else metrics.exemplar()
            SAVED_SECONDS.observe(time.monotonic() - started, exemplar)

    async def _send_with_spans(
        self, content: bytes, count: int, edits: EditSpans, after: TemporaryError | None
    ) -> Saved:
        """Send a batch with recorded edits within the span of the request, and end the spans of the edits."""
        batch = Batch(count, edits.contexts())
        try:
            with self._bus.spans.ask_holder(CANVAS_EDIT, self.canvas_id, batch) as request:
                edits.link(request)
                saved = await self._send(content, after)
        except BaseException as error:
            edits.fail(error)
            raise
        edits.end([Rejection.unpack(each).index for each in saved.rejected])
        return saved

    async def _send(self, content: bytes, after: TemporaryError | None = None) -> Saved:
        """Send a batch until it is acknowledged. Send it again at once when `resend` is called."""
        attempt = _attempt_seconds(len(content))
        while True:
            changed = asyncio.create_task(self._holder_changed.wait())
            asking = asyncio.create_task(
                self._holder.ask(
                    CANVAS_EDIT,
                    content,
                    retry_seconds=RETRY_SECONDS,
                    attempt_seconds=attempt,
                    after=after,
                )
            )
            after = None
            try:
                await asyncio.wait({asking, changed}, return_when=asyncio.FIRST_COMPLETED)
                if asking.done():
                    return decode(Saved, await asking)
                RESENT.inc()
            finally:
                asking.cancel()
                changed.cancel()
                await asyncio.gather(asking, changed, return_exceptions=True)

    def _report_saved(self) -> None:
        """Report batches as saved in the order in which they were sent, up to the first batch that is not done."""
        numbers: dict[Connection, int] = {}
        epoch = ""
        while self._sent and self._sent[0].done.is_set():
            batch = self._sent.popleft()
            if batch.epoch != epoch:
                self._send_all_saved(numbers, epoch)
                numbers, epoch = {}, batch.epoch
            numbers.update(batch.senders)
            self._change_size(-batch.size)
        self._send_all_saved(numbers, epoch)

    def _send_all_saved(self, numbers: dict[Connection, int], epoch: str) -> None:
        """Report that the holder of this epoch has committed each connection's messages up to a number."""
        for connection, number in numbers.items():
            # An edit of a closing connection may have been rejected, or may not have been committed.
            if connection.closing.done():
                continue
            self._send_saved(connection, number, epoch)
            if connection.saved_counter.is_unasked:
                self._ask_again(connection)


def _attempt_seconds(size: int) -> float:
    """Return the seconds to wait for the acknowledgement of a batch of `size` bytes."""
    return ATTEMPT_SECONDS + SECONDS_PER_MIB * size / (1024 * 1024)
