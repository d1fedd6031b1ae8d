"""Sends the element events of all this replica's canvases to the gateways with JSON clients."""

import asyncio
import time
from collections.abc import Callable

import structlog
from prometheus_client import Counter

from svgx_canvas.document.faults import Fault
from svgx_collab.held_canvas import HeldCanvas
from svgx_common.contract.errors import Unavailable
from svgx_common.contract.live.element_events import CANVAS_ELEMENTS, ElementEvents
from svgx_common.messaging.bus import Bus
from svgx_common.timing.alarm import EARLY_SECONDS, Alarm

log = structlog.get_logger(__name__)

EVENT_SECONDS = 0.05
"""Fewest seconds between two element events of a canvas."""

RELOAD_SECONDS = 1.0
"""Fewest seconds from an event that makes JSON clients load the canvas until the next event of the canvas."""

PAUSE_FACTOR = 20.0
"""The time from one event to the next is at least this multiple of the processor time that the first one took.

So element events take at most a twentieth of a processor core for each canvas.
"""

RETRY_SECONDS = 1.0
"""Seconds until the next attempt after an event that could not be sent or made."""

EVENTS = Counter(
    "svgx_engine_collab_element_events", "Element events broadcast for JSON clients, with reloads."
)
RELOADS = Counter(
    "svgx_engine_collab_element_reloads",
    "Element events without operations. JSON clients load the canvas again, because the changes are too many, take too"
    " long to describe, or may be missing.",
)


class ElementBroadcasts:
    """The canvases with changed elements. `on_fault` is called when a canvas's room failed."""

    def __init__(self, bus: Bus, on_fault: Callable[[HeldCanvas, Fault], None]) -> None:
        self._bus = bus
        self._on_fault = on_fault
        self._changed: set[HeldCanvas] = set()
        self._alarm = Alarm()

    def mark_changed(self, held: HeldCanvas) -> None:
        """Send an event of the canvas as soon as it is due, if elements have changed."""
        if held.room.has_changed_elements:
            self._changed.add(held)
            self._alarm.ring_at(held.elements_at)

    async def flush(self) -> None:
        """Wait until an event is due, and send all that are due."""
        await self._alarm.wait()
        soon = time.monotonic() + EARLY_SECONDS
        for held in [each for each in self._changed if each.elements_at <= soon]:
            self._changed.discard(held)
            if not held.is_released:
                await self._broadcast(held)
                if held.room.has_changed_elements:
                    self._changed.add(held)
                await asyncio.sleep(0)  # let other work run, because an event may take 50 ms
        if self._changed:
            self._alarm.ring_at(min(each.elements_at for each in self._changed))

    async def _broadcast(self, held: HeldCanvas) -> None:
        """Make and send the event of a canvas, and set the time of the next one."""
        canvas_id, now = held.room.canvas_id, time.monotonic()
        held.expire_elements(now)
        if pause := held.room.seconds_until_due:
            held.elements_at = now + pause
            return
        held.elements_at = now + RETRY_SECONDS
        started = time.thread_time()
        try:
            event = held.context.run(held.room.take_element_events)
        except Fault as fault:
            self._on_fault(held, fault)
            return
        except Exception:
            log.exception("changed elements could not be described", canvas_id=canvas_id)
            held.room.lose_element_events()
            return
        seconds = time.thread_time() - started
        held.elements_at = now + PAUSE_FACTOR * seconds
        if event is not None:
            shortest = EVENT_SECONDS if event.operations else RELOAD_SECONDS
            held.elements_at = max(held.elements_at, now + shortest)
            await self._send(held, event)

    async def _send(self, held: HeldCanvas, event: ElementEvents) -> None:
        """Send an event. If NATS is not reachable, everything counts as changed, and is sent again later."""
        canvas_id = held.room.canvas_id
        try:
            await self._bus.broadcast(CANVAS_ELEMENTS, event, canvas_id=canvas_id)
        except Unavailable:
            log.warning("an element event could not be sent", canvas_id=canvas_id)
            held.room.lose_element_events()
            held.elements_at = time.monotonic() + RETRY_SECONDS
            return
        EVENTS.inc()
        if not event.operations:
            RELOADS.inc()
