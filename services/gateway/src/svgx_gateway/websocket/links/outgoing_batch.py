"""A batch of edits on its way to the holder, and the metrics of batches."""

import asyncio
from dataclasses import dataclass, field

from prometheus_client import Counter, Gauge, Histogram

from svgx_common.contract.collab import Edit
from svgx_gateway.observability.socket_spans import EditSpans
from svgx_gateway.websocket.connection import Connection

MAX_BATCH_BYTES = 160 * 1024
"""Maximum size of a batch on a link, in bytes.

A larger batch is sent in a separate request, to delay no other canvas.
"""

MAX_EDIT_BYTES = 64 * 1024
"""Maximum size of an edit on a link, in bytes. The batch of a larger edit is sent in a separate request.

The holder may need 0.1 s to check a larger edit.
"""

MAX_EDITS = 400
"""Maximum number of edits in a batch on a link. A batch with more edits is sent in a separate request.

The holder needs about 20 µs for each edit.
"""

EDIT_OVERHEAD_BYTES = 64
"""Bytes that are counted for each edit in addition to its update, for the name of its author."""

UNACKED = Gauge("svgx_engine_live_unacked_bytes", "Bytes of edits no holder has acknowledged yet.")
OLDEST_UNSAVED = Gauge(
    "svgx_engine_live_oldest_unsaved_seconds",
    "Age of the oldest edit that is not reported as saved yet; 0 without one.",
)
SAVED_SECONDS = Histogram(
    "svgx_engine_live_saved_seconds",
    "Time from a batch of edits leaving the gateway until it is committed, or has failed for good.",
    buckets=(0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)
EDITS = Counter(
    "svgx_engine_live_edits",
    "Edits received, by outcome: `saved` within a second, saved `late`, `rejected` (by the holder, or because the"
    " canvas is gone), or `failed` (also if the gateway discards the edit).",
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
    "Batches sent again because a new holder may have taken over, or because their link has failed.",
)


@dataclass(slots=True)
class OutgoingBatch:
    """Edits that go to the holder together, on a link or in one request."""

    edits: list[Edit] = field(default_factory=list)
    senders: list[tuple[Connection, int]] = field(default_factory=list)
    """For each edit, the connection and the number of the edit's message on the connection."""
    size: int = 0
    """Bytes of the edits."""
    largest: int = 0
    """Bytes of the largest edit."""
    since: float = 0.0
    """Time of the first edit, in seconds of the monotonic clock."""
    spans: EditSpans | None = None
    """The recorded spans of the edits; None if no edit can be recorded."""
    number: int | None = None
    """The number of the batch on the link. None while the batch does not wait for a receipt of a link."""
    sent_at: float = 0.0
    """Time at which the batch was sent on the link, in seconds of the monotonic clock; 0 if it was not."""
    done: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the batch is committed, or sending it has failed for good."""
    epoch: str = ""
    """The epoch of the holder that committed the batch."""

    def add(self, edit: Edit, connection: Connection, number: int) -> None:
        """Append an edit. `number` is the number of its message on the connection."""
        size = len(edit.update)
        self.edits.append(edit)
        self.senders.append((connection, number))
        self.size += size
        self.largest = max(self.largest, size)

    @property
    def size_on_link(self) -> int:
        """Bytes of the batch in a message of a link."""
        return self.size + len(self.edits) * EDIT_OVERHEAD_BYTES

    @property
    def is_large(self) -> bool:
        """Whether the edits have so many bytes that the holder may take seconds for them."""
        return self.size > MAX_BATCH_BYTES or self.largest > MAX_EDIT_BYTES

    @property
    def fits_link(self) -> bool:
        """Whether the batch may be sent on a link together with the batches of other canvases."""
        return (
            self.largest <= MAX_EDIT_BYTES
            and self.size_on_link <= MAX_BATCH_BYTES
            and len(self.edits) <= MAX_EDITS
        )
