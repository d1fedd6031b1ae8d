"""The composition root: all parts of the state service are built here."""

import functools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from svgx_common import postgres, redis
from svgx_common.background import BackgroundTasks
from svgx_common.observability.confinement import show_confinement
from svgx_common.observability.worker_use import show_use
from svgx_common.runtime import Runtime, Service
from svgx_state.accounts import Accounts
from svgx_state.administration.canvases import CanvasAdministration
from svgx_state.canvases import Canvases
from svgx_state.exports import Exports
from svgx_state.handlers import Handlers
from svgx_state.journal import Journal
from svgx_state.members import Members
from svgx_state.partitions import add_partitions, add_partitions_later
from svgx_state.ratelimits import StoredRateLimits
from svgx_state.settings import StateSettings
from svgx_state.snapshots import Compactor
from svgx_state.values.canvases import CanvasValues
from svgx_state.values.handlers import Values
from svgx_state.values.stores import Stores
from svgx_workers.pool import Workers


@asynccontextmanager
async def build(runtime: Runtime[StateSettings]) -> AsyncIterator[Service]:
    """Build the service, connect it to its database, and answer all its operations until the block ends."""
    settings = runtime.settings
    async with (
        postgres.connect(
            settings.postgres_url,
            schema="state",
            package="svgx_state",
            pool_size=settings.database_connections,
        ) as database,
        Workers(
            settings.worker_count,
            settings.worker_memory_mb * 1024 * 1024,
            settings.worker_timeout_seconds,
        ) as workers,
    ):
        await add_partitions(database, settings.journal_days_ahead)
        compactor = Compactor(
            database,
            workers,
            max_tail_entries=settings.compact_after_entries,
            max_tail_bytes=settings.compact_after_bytes,
            concurrency=settings.compact_concurrency,
        )
        journal = Journal(database, compactor.note_tail)
        accounts = Accounts(runtime.bus)
        canvases, exports = Canvases(database), Exports(journal, workers)
        handlers = Handlers(runtime.bus, canvases, Members(database, accounts), journal, exports)
        handlers.register(runtime.responder)
        CanvasAdministration(database).register(runtime.responder)
        StoredRateLimits(runtime.bus, database, accounts).register(runtime.responder)
        client = None
        if settings.uses_redis:
            client = redis.connect(settings.redis_url, settings.redis_pool_size)
            runtime.health.watch("redis", functools.partial(redis.check, client))
        stores = Stores(runtime.bus, database, client, settings)
        await stores.start()
        Values(stores, CanvasValues(canvases, exports)).register(runtime.responder)
        runtime.health.require("postgresql", database.check)
        runtime.health.describe("database_pool", database.usage)
        runtime.health.describe("workers", workers.details)
        show_confinement(workers.confinement)
        show_use(settings.worker_count, lambda: workers.running, lambda: workers.waiting)
        runtime.health.describe("compaction", lambda: {"backlog": compactor.backlog})
        background = BackgroundTasks()
        background.repeat(
            "partitions",
            functools.partial(add_partitions_later, database, settings.journal_days_ahead),
        )
        background.repeat("expire values", stores.expire_later)
        try:
            yield Service(drain=compactor.close)
        finally:
            await background.stop()
            await compactor.close()
            if client is not None:
                await client.aclose()
