"""The composition root: all parts of the collab service are built here."""

import contextlib
import functools
import time
from collections.abc import AsyncIterator

from nats.errors import Error as NatsError
from nats.errors import NoRespondersError

from svgx_collab.balance.busy_canvases import BusyCanvases
from svgx_collab.balance.loads import RETRY_SECONDS, Loads
from svgx_collab.balance.moves import MovesIn, MovesOut
from svgx_collab.bounds import Bounds
from svgx_collab.content.edit_history import EditHistory
from svgx_collab.content.element_changes import ElementChanges
from svgx_collab.content.element_edits import ElementEdits
from svgx_collab.content.imports import Imports
from svgx_collab.content.replacements import Replacements
from svgx_collab.content.ui_events import UiEvents
from svgx_collab.deletions import Deletions
from svgx_collab.leases import Leases
from svgx_collab.object_locks import LockStore
from svgx_collab.rooms import Rooms
from svgx_collab.settings import CollabSettings
from svgx_common import redis
from svgx_common.contract.collab import IMPORT_SVG, OPEN, REPLACE_CONTENT, Opened
from svgx_common.contract.errors import Unavailable
from svgx_common.contract.live.element_changes import CHANGE_ELEMENTS
from svgx_common.contract.live.locks import LOCK_OBJECT, LOCK_STATUS, UNLOCK_OBJECT
from svgx_common.contract.live.ui_events import HANDLE_UI_EVENT
from svgx_common.contract.live.undo import REDO_EDIT, UNDO_EDIT, UNDO_STATUS
from svgx_common.contract.state import CanvasRequest
from svgx_common.contract.transport import replica_subject
from svgx_common.messaging.bus import Bus
from svgx_common.messaging.headers import HEADER_PROBE
from svgx_common.messaging.responder import Call
from svgx_common.observability.confinement import show_confinement
from svgx_common.observability.worker_use import show_use
from svgx_common.runtime import Runtime, Service
from svgx_workers.pool import Workers

ALIVE_TIMEOUT = 2.0
"""Time limit for another replica to answer a probe, in seconds. Beyond it, the replica does not count as alive.

A gateway asks a replica to open a canvas when the holder has not answered the gateway. A holder that answers neither
the gateway nor the probe is frozen, or silent for seconds. If the holder continues later, nothing is lost, because its
edits merge with the edits of the next holder.
"""

LONGEST_DELAY_SECONDS = 0.25
"""The longest delay with which this replica may notice the end of `ALIVE_TIMEOUT`, in seconds.

After a longer delay, the other replica counts as alive, because this replica is overloaded and may read an answer late.
Otherwise, two overloaded replicas would take their canvases from each other.
"""


@contextlib.asynccontextmanager
async def build(runtime: Runtime[CollabSettings]) -> AsyncIterator[Service]:
    """Build the service, and run its background tasks until the block ends.

    A reserved replica answers no requests that any replica may answer. It only takes busy canvases.
    """
    settings, bus = runtime.settings, runtime.bus
    client = redis.connect(settings.redis_url)
    leases = Leases(client, runtime.replica_id, functools.partial(is_alive, bus))
    rooms = Rooms(bus, leases, Bounds(settings.limits()))
    loads = Loads(
        bus, lambda: rooms.count, lambda: rooms.edits_taken, is_reserved=settings.reserved
    )
    busy = BusyCanvases(rooms.paces, settings.busy_canvas_share, settings.canvas_transaction_share)
    balance = MovesIn(bus, rooms, busy) if settings.reserved else MovesOut(bus, rooms, loads, busy)

    async def open_canvas(request: CanvasRequest, _: Call) -> Opened:
        if not rooms.knows(request.canvas_id) and loads.declines(request.canvas_id):
            raise Unavailable("another replica has less to do", retry_after=RETRY_SECONDS)
        return Opened(epoch=await rooms.open(request.canvas_id))

    async def hand_over() -> None:
        # Stop announcing the load before it falls. Otherwise the mean of all loads would fall too, and the other
        # replicas would decline to open the canvases of this replica.
        await loads.stop()
        await balance.stop()
        await rooms.hand_over()

    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(client.aclose)
        if settings.reserved:
            runtime.responder.leave_to_others(OPEN, IMPORT_SVG, REPLACE_CONTENT, CHANGE_ELEMENTS)
            runtime.responder.leave_to_others(HANDLE_UI_EVENT, UNDO_EDIT, REDO_EDIT, UNDO_STATUS)
            runtime.responder.leave_to_others(LOCK_OBJECT, UNLOCK_OBJECT, LOCK_STATUS)
        else:
            await stack.enter_async_context(_edits(runtime, client))
            runtime.responder.answer(OPEN, open_canvas)
            locks = LockStore(client, bus)
            runtime.responder.answer(LOCK_OBJECT, locks.lock)
            runtime.responder.answer(UNLOCK_OBJECT, locks.unlock)
            runtime.responder.answer(LOCK_STATUS, locks.status)
        runtime.health.watch("redis", functools.partial(redis.check, client))
        runtime.health.describe("canvases", rooms.details)
        runtime.health.describe("balance", loads.details)
        await rooms.start()
        stack.push_async_callback(rooms.stop)
        await loads.start()
        stack.push_async_callback(loads.stop)
        await balance.start()
        stack.push_async_callback(balance.stop)
        deletions = Deletions(bus, rooms)
        await deletions.start()
        stack.push_async_callback(deletions.stop)
        yield Service(drain=hand_over)


@contextlib.asynccontextmanager
async def _edits(runtime: Runtime[CollabSettings], client: redis.Redis) -> AsyncIterator[None]:
    """Answer the requests with edits that workers compute. The workers run until the block ends."""
    settings, bus = runtime.settings, runtime.bus
    workers = Workers(
        settings.import_workers, settings.import_memory_bytes, settings.import_timeout_seconds
    )
    await workers.start()
    try:
        runtime.responder.answer(IMPORT_SVG, Imports(bus, workers).import_svg)
        runtime.responder.answer(REPLACE_CONTENT, Replacements(bus, workers).replace_content)
        changes = ElementChanges(ElementEdits(bus, workers), EditHistory(client))
        runtime.responder.answer(CHANGE_ELEMENTS, changes.change_elements)
        runtime.responder.answer(HANDLE_UI_EVENT, UiEvents(changes).handle_event)
        runtime.responder.answer(UNDO_EDIT, changes.undo)
        runtime.responder.answer(REDO_EDIT, changes.redo)
        runtime.responder.answer(UNDO_STATUS, changes.status)
        runtime.health.describe("workers", workers.details)
        show_confinement(workers.confinement)
        show_use(settings.import_workers, lambda: workers.running, lambda: workers.waiting)
        yield
    finally:
        await workers.close()


async def is_alive(bus: Bus, replica_id: str) -> bool:
    """Return whether another collab replica answers a probe.

    The other replica counts as alive while NATS is not reachable, and while this replica is too overloaded to read an
    answer in time. A probe is used instead of a health report, because the report waits for Redis and may take longer
    than `ALIVE_TIMEOUT`.
    """
    subject = replica_subject("collab", replica_id)
    asked_at = time.monotonic()
    try:
        await bus.connection.request(subject, timeout=ALIVE_TIMEOUT, headers={HEADER_PROBE: "1"})
    except NoRespondersError:
        return False
    except TimeoutError:
        late = time.monotonic() - asked_at - ALIVE_TIMEOUT
        return late > LONGEST_DELAY_SECONDS or not bus.reachable
    except NatsError:
        return True
    return True
