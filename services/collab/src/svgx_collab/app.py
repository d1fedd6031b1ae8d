"""The composition root: everything the collab service is made of is built here."""

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator

from nats.errors import Error as NatsError
from nats.errors import NoRespondersError

from svgx_collab.imports import Imports
from svgx_collab.leases import Leases
from svgx_collab.rooms import Rooms
from svgx_collab.settings import CollabSettings
from svgx_common import redis
from svgx_common.contract.collab import IMPORT_SVG, OPEN, Opened
from svgx_common.contract.state import CanvasRequest
from svgx_common.contract.transport import replica_subject
from svgx_common.messaging.bus import Bus
from svgx_common.messaging.responder import Call
from svgx_common.runtime import Runtime, Service
from svgx_workers.pool import Workers

ALIVE_TIMEOUT = 1.0
"""Seconds another replica has to say that it lives."""


@contextlib.asynccontextmanager
async def build(runtime: Runtime[CollabSettings]) -> AsyncIterator[Service]:
    """Wire the service; what it runs in the background ends with the block."""
    settings, bus = runtime.settings, runtime.bus
    client = redis.connect(settings.redis_url)
    workers = Workers(
        settings.import_workers, settings.import_memory_bytes, settings.import_timeout_seconds
    )
    await workers.start()
    rooms = Rooms(bus, Leases(client, runtime.replica_id, functools.partial(alive, bus)))
    imports = Imports(bus, workers)

    async def open_canvas(request: CanvasRequest, _: Call) -> Opened:
        return Opened(epoch=await rooms.open(request.canvas_id))

    runtime.responder.answer(OPEN, open_canvas)
    runtime.responder.answer(IMPORT_SVG, imports.import_svg)
    runtime.health.describe("canvases", rooms.details)
    background = [asyncio.create_task(rooms.committer.run()), asyncio.create_task(rooms.run())]
    try:
        yield Service(drain=rooms.hand_over)
    finally:
        for task in background:
            task.cancel()
        await asyncio.gather(*background, return_exceptions=True)
        await workers.close()
        await client.aclose()


async def alive(bus: Bus, replica_id: str) -> bool:
    """Whether another collab replica answers."""
    try:
        await bus.connection.request(replica_subject("collab", replica_id), timeout=ALIVE_TIMEOUT)
    except NoRespondersError:
        return False
    except (NatsError, TimeoutError):
        # It may only be slow: the lease's end decides.
        return True
    return True
