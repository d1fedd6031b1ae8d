"""Sends the broadcasts of all this replica's canvases together, in flushes. No canvas has a task of its own."""

import contextlib
import time
from collections.abc import Callable

import structlog
from opentelemetry.trace import SpanContext
from prometheus_client import Counter

from svgx_canvas.document.faults import Fault
from svgx_collab.held_canvas import HeldCanvas
from svgx_collab.links.element_broadcasts import ElementBroadcasts
from svgx_collab.links.gateway_links import MAX_PART_BYTES, GatewayLinks
from svgx_common.contract.collab import (
    CANVAS_PRESENCE,
    CANVAS_UPDATE,
    Broadcast,
    LinkBroadcast,
    LinkPresence,
    Presence,
)
from svgx_common.contract.errors import Unavailable
from svgx_common.messaging.bus import Bus
from svgx_common.messaging.spans import Batch, trace_headers
from svgx_common.timing.alarm import Alarm
from svgx_common.tracing import TraceOf
from svgx_yjs.structure import EMPTY_UPDATE

log = structlog.get_logger(__name__)

FLUSH_SECONDS = 0.008
"""Seconds between a flush with many parts (see `gateway_links`) and the next flush.

After a pause, several flushes may follow each other without a wait, for example one for an edit and one for its
receipt. The wait begins when the sum of their intervals (see `SECONDS_PER_PART`) reaches `FLUSH_SECONDS`.
"""

SECONDS_PER_PART = 0.002
"""Seconds that each part of a flush adds to the time until the next flush, up to `FLUSH_SECONDS`.

So a canvas waits for other canvases only if several are edited. Only the parts for the gateway with the most parts
count.
"""

FLUSH_SLACK_SECONDS = 0.008
"""Largest number of seconds by which a flush or a canvas's broadcast may start early when an edit or a receipt arrives.

The interval until the next flush or broadcast is longer by as much, so the rate stays the same. An early flush saves a
wake-up of the process.
"""

FRAME_SECONDS = 0.016
"""Seconds between two broadcasts of a canvas without participants: one display frame."""

FRAME_SECONDS_PER_PARTICIPANT = 0.00005
"""Seconds that each participant adds to `FRAME_SECONDS`. So clients of a large room get fewer, larger broadcasts."""

FRAME_SECONDS_PER_EDIT = 0.0005
"""Seconds that each edit of a broadcast adds to the next frame, so that a busy canvas merges more edits."""

MAX_FRAME_SECONDS_FOR_EDITS = 0.012
"""The most seconds that `FRAME_SECONDS_PER_EDIT` adds to a frame.

With this limit, the frame of a room of 200 editors is a little shorter than the time between two batches. So the
arrival of a batch starts the broadcast, and its edits do not wait for a timer.
"""

FRAME_SECONDS_PER_MERGED_EDIT = 0.00007
"""Seconds that each edit of a broadcast adds to the next frame, in addition to `FRAME_SECONDS_PER_EDIT`.

`MAX_FRAME_SECONDS_FOR_EDITS` does not limit these seconds. The frames of large rooms must be longer, because in a room
of 1,000 editors, sending a broadcast to all clients takes 30 ms.
"""

LONGEST_FRAME_SECONDS = 0.1
"""The longest frame, in seconds. After a long transaction, a canvas may pause for longer (see `Pace`)."""

PRESENCE_FRAMES = 2
"""Frames between two presence broadcasts of a canvas: more than one, because cursors matter less than edits."""

BROADCASTS = Counter("svgx_engine_collab_broadcasts", "Merged updates broadcast.")
BROADCAST_BYTES = Counter("svgx_engine_collab_broadcast_bytes", "Bytes of the updates broadcast.")


class Broadcaster:
    """Sends the broadcasts of one replica. `on_fault` is called when a canvas's room failed.

    A broadcast goes to the gateways that have asked the holder for a sync, on their links. A broadcast goes to all
    gateways, on the canvas's own subject, if it is large or traced, or if these gateways are not known.
    """

    def __init__(self, bus: Bus, on_fault: Callable[[HeldCanvas, Fault], None]) -> None:
        self._bus = bus
        self._on_fault = on_fault
        self._changed: set[HeldCanvas] = set()
        self._sent = self._sent_bytes = 0
        """The number of broadcasts since the last flush, and their bytes."""
        self._used_until = 0.0
        """The time at which the intervals of all flushes so far end, in seconds of the monotonic clock."""
        self._alarm = Alarm()
        self.elements = ElementBroadcasts(bus, on_fault)
        self.links = GatewayLinks(
            bus, lambda: self._alarm.ring_at(self._next_flush, slack=FLUSH_SLACK_SECONDS)
        )

    def mark_changed(self, held: HeldCanvas) -> None:
        """Broadcast the canvas's changes with the next flush, but at most once in a frame."""
        self._changed.add(held)
        self._alarm.ring_at(max(held.broadcast_at, self._next_flush), slack=FLUSH_SLACK_SECONDS)

    async def announce(self, held: HeldCanvas) -> None:
        """Tell all gateways that this replica has opened the canvas, so that they ask for a sync."""
        announcement = Broadcast(held.room.epoch, 0, EMPTY_UPDATE)
        with contextlib.suppress(Unavailable):  # the gateways' checkpoints find the new holder too
            await self._bus.broadcast(CANVAS_UPDATE, announcement, canvas_id=held.room.canvas_id)

    async def flush(self) -> None:
        """Wait for changes or receipts, and send everything that is due."""
        await self._alarm.wait()
        now = time.monotonic()
        soon = now + FLUSH_SLACK_SECONDS
        for held in [each for each in self._changed if each.broadcast_at <= soon]:
            if pause := held.room.seconds_until_due:
                held.broadcast_at = now + pause
                continue
            due = max(now, held.broadcast_at)
            frame = _frame(len(held.participants), held.take_unsent_count())
            await self.broadcast_changes(held, presence=held.presence_at <= soon)
            held.broadcast_at = due + max(frame, held.room.seconds_until_due)
            if held.presence_at <= soon:
                # Timers are not exact: the presence must be due at the second frame from now.
                held.presence_at = due + (PRESENCE_FRAMES - 0.5) * frame
            elif held.participants.has_changes and not held.is_released:
                self._changed.add(held)
        parts = await self.links.flush()
        self._used_until = max(self._used_until, now) + min(FLUSH_SECONDS, parts * SECONDS_PER_PART)
        self._count_sent()
        self._set_alarm()

    @property
    def _next_flush(self) -> float:
        """The earliest time of the next flush. Flushes may be ahead of their intervals by `FLUSH_SECONDS` in total."""
        return self._used_until - FLUSH_SECONDS

    def _set_alarm(self) -> None:
        """Set the alarm for the canvases and parts that wait.

        First clear the alarm, because the parts that were just sent have set the alarm to a time that is too early.
        """
        self._alarm.clear()
        if not self.links.is_empty:
            self._alarm.ring_at(self._next_flush)
        elif self._changed:
            due = min(held.broadcast_at for held in self._changed)
            self._alarm.ring_at(max(due, self._next_flush))

    def _count_sent(self) -> None:
        """Add the broadcasts to the metrics, once for each flush, because counting takes almost a microsecond."""
        if self._sent:
            BROADCASTS.inc(self._sent)
            BROADCAST_BYTES.inc(self._sent_bytes)
            self._sent = self._sent_bytes = 0

    async def broadcast_changes(self, held: HeldCanvas, *, presence: bool = True) -> None:
        """Broadcast the canvas's changes: on links with the next flush, on the canvas's own subjects at once."""
        self._changed.discard(held)
        if held.is_released:
            return
        try:
            await self._publish_edits(held)
            if presence:
                await self._publish_presence(held)
        except Unavailable:
            # The gateways notice the gap in the sequence, and ask for the updates that they missed.
            log.warning("a broadcast could not be sent", canvas_id=held.room.canvas_id)
        except Fault as fault:
            self._on_fault(held, fault)
        except Exception:
            log.exception("a broadcast failed", canvas_id=held.room.canvas_id)
        if held.room.observes_elements:
            self.elements.mark_changed(held)

    async def _publish_edits(self, held: HeldCanvas) -> None:
        canvas_id = held.room.canvas_id
        origins = held.take_unsent_origins()
        gateways = held.gateways()
        for broadcast in held.context.run(_take_broadcasts, held):
            self._sent += 1
            self._sent_bytes += len(broadcast.update)
            if origins or gateways is None or len(broadcast.update) > MAX_PART_BYTES:
                if gateways is not None:
                    await self.links.flush()  # the canvas's earlier broadcasts come first
                await self._publish_alone(canvas_id, broadcast, origins)
            else:
                part = LinkBroadcast(
                    canvas_id, broadcast.epoch, broadcast.sequence, broadcast.update
                )
                for gateway in gateways:
                    self.links.broadcast(gateway, part)

    async def _publish_presence(self, held: HeldCanvas) -> None:
        canvas_id, gateways = held.room.canvas_id, held.gateways()
        while (states := held.participants.take_broadcast()) is not None:
            if gateways is None or len(states) > MAX_PART_BYTES:
                presence = Presence(held.room.epoch, states)
                await self._bus.broadcast(CANVAS_PRESENCE, presence, canvas_id=canvas_id)
            else:
                for gateway in gateways:
                    self.links.presence(gateway, LinkPresence(canvas_id, states))

    async def _publish_alone(
        self, canvas_id: str, broadcast: Broadcast, origins: list[SpanContext]
    ) -> None:
        """Broadcast an update on the canvas's own subject, within the trace of the first recorded batch in it."""
        if not origins:
            await self._bus.broadcast(CANVAS_UPDATE, broadcast, canvas_id=canvas_id)
            return
        batch = Batch(None, origins)
        with TraceOf(origins), self._bus.spans.publish(CANVAS_UPDATE, canvas_id, batch):
            headers = trace_headers(first=True)
            await self._bus.broadcast(CANVAS_UPDATE, broadcast, headers, canvas_id=canvas_id)


def _frame(participants: int, edits: int) -> float:
    """Return the seconds from a broadcast with this number of edits until the canvas's next broadcast."""
    for_edits = (
        min(MAX_FRAME_SECONDS_FOR_EDITS, edits * FRAME_SECONDS_PER_EDIT)
        + edits * FRAME_SECONDS_PER_MERGED_EDIT
    )
    return min(
        LONGEST_FRAME_SECONDS,
        FRAME_SECONDS + participants * FRAME_SECONDS_PER_PARTICIPANT + for_edits,
    )


def _take_broadcasts(held: HeldCanvas) -> list[Broadcast]:
    return list(held.room.take_broadcasts())
