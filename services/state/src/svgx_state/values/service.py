"""The parts that store values, built together."""

import functools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from svgx_common import redis
from svgx_common.background import BackgroundTasks
from svgx_common.postgres import Database
from svgx_common.runtime import Runtime
from svgx_state.canvases import Canvases
from svgx_state.exports import Exports
from svgx_state.settings import StateSettings
from svgx_state.values.canvases import CanvasValues
from svgx_state.values.handlers import Values
from svgx_state.values.stores import Stores


@asynccontextmanager
async def storing_values(
    runtime: Runtime[StateSettings], database: Database, canvases: Canvases, exports: Exports
) -> AsyncIterator[Values]:
    """Answer the operations on values, and delete expired ones, until the block ends."""
    settings, client = runtime.settings, None
    if settings.uses_redis:
        client = redis.connect(settings.redis_url, settings.redis_pool_size)
        runtime.health.watch("redis", functools.partial(redis.check, client))
    background = BackgroundTasks()
    try:
        stores = Stores(runtime.bus, database, client, settings)
        await stores.start()
        values = Values(stores, CanvasValues(canvases, exports))
        values.register(runtime.responder)
        background.repeat("expire values", stores.expire_later)
        yield values
    finally:
        await background.stop()
        if client is not None:
            await client.aclose()
