"""The outbox of one canvas: it sends the clients' edits to the holder in batches, and repeats uncommitted batches."""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog
from prometheus_client import Counter, Gauge, Histogram

from svgx_common import metrics
from svgx_common.background import BackgroundTasks
from svgx_common.contract.close_codes import Close, close_code_of_canvas
from svgx_common.contract.collab import CANVAS_EDIT, Edit, EditBatch, Saved
from svgx_common.contract.errors import NotFound, SvgxError
from svgx_common.contract.live.rejections import Rejection
from svgx_common.messaging.bus import Bus
from svgx_common.messaging.holder import Holder
from svgx_common.messaging.spans import Batch
from svgx_common.messaging.wire import decode, encode
from svgx_common.tracing import TraceOf, UnrecordedTraces, may_record_roots
from svgx_gateway.observability.socket_spans import EditSpans
from svgx_gateway.websocket.connection import Connection
from svgx_yjs.lib0 import Malformed

log = structlog.get_logger(__name__)

BATCH_INTERVAL = 0.004
"""Seconds between two batches of one canvas. The first batch after a pause is sent at once."""

PROMPT_BATCHES = 8
"""Number of uncommitted batches up to which the interval stays `BATCH_INTERVAL`.

With more uncommitted batches the interval grows in proportion. While nothing is committed, edits then still reach the
holder and the other clients, but in fewer and larger requests.
"""

MAX_BYTES = 32 * 1024 * 1024
"""Bytes of uncommitted edits of one canvas. Beyond this limit no further edit is read from its clients."""

SAVED_OBJECTIVE = 1.0
"""Seconds within which an edit is saved, from its arrival at the gateway: the objective for 99.9 % of the edits."""

PATIENCE = 60.0
"""Seconds for which an unacknowledged batch is resent. Then the canvas's connections are closed with `OVERLOADED`."""

ATTEMPT = 3.0
"""Seconds to wait for one acknowledgement, plus one second for each MiB, before the batch is sent again."""

UNACKED = Gauge("svgx_engine_live_unacked_bytes", "Bytes of edits no holder has acknowledged yet.")
OLDEST_UNSAVED = Gauge(
    "svgx_engine_live_oldest_unsaved_seconds",
    "Age of the oldest edit that is not reported as saved yet; 0 without one.",
)
SAVED_SECONDS = Histogram(
    "svgx_engine_live_saved_seconds",
    "Time from a batch of edits leaving the gateway until it is committed.",
    buckets=(0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)
EDITS = Counter(
    "svgx_engine_live_edits",
    "Edits received, by outcome: `saved` within a second, saved `late`, `rejected` (malformed, or the canvas is gone),"
    " or `failed`.",
    ["outcome"],
)
SAVED, LATE, REJECTED, FAILED = map(EDITS.labels, ("saved", "late", "rejected", "failed"))
BATCH_EDITS = Histogram(
    "svgx_engine_live_batch_edits",
    "Edits in one batch to the holder.",
    buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500, 1000),
)
RESENT = Counter(
    "svgx_engine_live_resent_batches",
    "Batches sent again because a new holder may have taken over.",
)


@dataclass(slots=True)
class _Batch:
    """Edits that go to the holder in one request."""

    edits: list[Edit] = field(default_factory=list)
    senders: list[tuple[Connection, int]] = field(default_factory=list)
    """For each edit, the connection and the number of the edit's message on the connection."""
    size: int = 0
    """Bytes of the edits."""
    since: float = 0.0
    """Time of the first edit, in seconds of the monotonic clock."""
    spans: EditSpans | None = None
    """The recorded spans of the edits; None if no edit may be recorded."""
    done: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the batch is committed, or sending it has failed for good."""
    epoch: str = ""
    """The epoch of the holder that committed the batch."""


UNSAVED = "edits cannot be saved at the moment"
"""The close reason while no holder commits edits."""

CloseAll = Callable[[Close, str], None]


class Outbox:
    """The outbox of one canvas. It calls `close_all` to close the connections when a batch cannot be committed."""

    def __init__(self, bus: Bus, canvas_id: str, close_all: CloseAll) -> None:
        # The outbox has its own `Holder`, because edits wait for PostgreSQL and must not delay other requests.
        self._holder = Holder(bus, canvas_id)
        self.canvas_id = canvas_id
        self._bus = bus
        self._may_record_edits = may_record_roots()
        self._unrecorded = UnrecordedTraces()
        self._close_all = close_all
        self._failing = False
        """True from the first batch that could not be saved to the next one that was saved."""
        self._next = _Batch()
        self._sent: deque[_Batch] = deque()
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

    async def wait_for_capacity(self) -> None:
        """Wait until at most `MAX_BYTES` are uncommitted."""
        await self._has_capacity.wait()

    def add(self, connection: Connection, update: bytes, number: int) -> asyncio.Event:
        """Add one edit to the next batch. `number` is the number of its message on the connection.

        Return an event that is set when the edit is committed, or has failed for good.
        """
        if not self._next.edits:
            self._next.since = time.monotonic()
        if self._may_record_edits:
            self._begin_span(connection, len(update))
        self._next.edits.append(Edit(connection.caller.user_id, update))
        self._next.senders.append((connection, number))
        self._next.size += len(update)
        self._change_size(len(update))
        self._edit_added.set()
        return self._next.done

    def _begin_span(self, connection: Connection, size: int) -> None:
        """Begin the trace of the next edit."""
        if self._next.spans is None:
            self._next.spans = EditSpans()
        self._next.spans.begin(
            len(self._next.edits),
            canvas_id=self.canvas_id,
            user_id=connection.caller.user_id,
            handshake=connection.handshake,
            size=size,
        )

    @property
    def unsaved_since(self) -> float | None:
        """The time of the oldest uncommitted edit, in seconds of the monotonic clock; None without one."""
        oldest = self._sent[0] if self._sent else self._next
        return oldest.since if oldest.edits else None

    def resend(self) -> None:
        """Send every uncommitted batch again at once, because a new holder may have taken over."""
        changed, self._holder_changed = self._holder_changed, asyncio.Event()
        changed.set()

    async def wait_until_empty(self) -> None:
        """Wait until every edit is committed, or has failed for good."""
        await self._empty.wait()

    async def stop(self) -> None:
        """Discard all edits, and wait until the background tasks have ended."""
        await self._sender.stop()
        await self._commits.stop()
        UNACKED.dec(self._size)

    def _change_size(self, size: int) -> None:
        self._size += size
        UNACKED.inc(size)
        if self._size > MAX_BYTES:
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
        batch, self._next = self._next, _Batch()
        self._sent.append(batch)
        self._commits.start("commit edits", self._commit(batch), context=self._unrecorded.context())
        await asyncio.sleep(BATCH_INTERVAL * max(1.0, len(self._commits) / PROMPT_BATCHES))

    async def _commit(self, batch: _Batch) -> None:
        """Commit a batch within the trace of its first recorded edit, then report it."""
        if batch.spans is None or not (origins := batch.spans.contexts()):
            await self._save(batch)
        else:
            with TraceOf(origins):
                await self._save(batch)
        batch.done.set()
        self._report_saved()

    async def _save(self, batch: _Batch) -> None:
        """Send a batch until it is committed. Close the senders of rejected edits."""
        BATCH_EDITS.observe(len(batch.edits))
        try:
            saved = await self._send_timed(batch)
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
            self._failing = False
            batch.epoch = saved.epoch
            in_time = time.monotonic() - batch.since <= SAVED_OBJECTIVE
            (SAVED if in_time else LATE).inc(len(batch.edits) - len(saved.rejected))
            if saved.rejected:
                REJECTED.inc(len(saved.rejected))
            for rejection in map(Rejection.unpack, saved.rejected):
                batch.senders[rejection.index][0].close(rejection.code, rejection.text)

    async def _send_timed(self, batch: _Batch) -> Saved:
        """Send a batch until it is acknowledged, and measure the time."""
        content = encode(EditBatch(tuple(batch.edits)))
        started = time.perf_counter()
        try:
            if batch.spans is None:
                return await self._send(content)
            return await self._send_with_spans(content, len(batch.edits), batch.spans)
        finally:
            exemplar = None if batch.spans is None else metrics.exemplar()
            SAVED_SECONDS.observe(time.perf_counter() - started, exemplar)

    async def _send_with_spans(self, content: bytes, count: int, edits: EditSpans) -> Saved:
        """Send a batch with recorded edits within the span of the request, and end the spans of the edits."""
        batch = Batch(count, edits.contexts())
        try:
            with self._bus.spans.ask_holder(CANVAS_EDIT, self.canvas_id, batch) as request:
                edits.link(request)
                saved = await self._send(content)
        except BaseException as error:
            edits.fail(error)
            raise
        edits.end([Rejection.unpack(each).index for each in saved.rejected])
        return saved

    async def _send(self, content: bytes) -> Saved:
        """Send a batch until it is acknowledged. Send it again at once when `resend` is called."""
        attempt = ATTEMPT + len(content) / (1024 * 1024)
        while True:
            changed = asyncio.create_task(self._holder_changed.wait())
            asking = asyncio.create_task(
                self._holder.ask(CANVAS_EDIT, content, patience=PATIENCE, attempt=attempt)
            )
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
                _send_saved(numbers, epoch)
                numbers, epoch = {}, batch.epoch
            numbers.update(batch.senders)
            self._change_size(-batch.size)
        _send_saved(numbers, epoch)


def _send_saved(numbers: dict[Connection, int], epoch: str) -> None:
    """Report that the holder of this epoch has committed each connection's messages up to a number."""
    for connection, number in numbers.items():
        # An edit of a closing connection may have been rejected, or may not have been committed.
        if not connection.closing.done():
            connection.send_saved(number, epoch)
