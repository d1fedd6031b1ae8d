"""The parts that count and show the use of quotas, built together."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from svgx_common.background import BackgroundTasks
from svgx_common.postgres import Database
from svgx_common.runtime import Runtime
from svgx_state.accounts import Accounts
from svgx_state.quotas.bounds import StoredQuotas, default_quotas
from svgx_state.quotas.counter import UsageCounter
from svgx_state.quotas.operations import QuotaOperations
from svgx_state.settings import StateSettings


@dataclass(frozen=True, slots=True)
class QuotaParts:
    """The quotas in force, and the counter of their use."""

    stored: StoredQuotas
    usage: UsageCounter


@asynccontextmanager
async def quota_counting(
    runtime: Runtime[StateSettings], database: Database
) -> AsyncIterator[QuotaParts]:
    """Store counts, and answer the operations on quotas, until the block ends."""
    bus, settings = runtime.bus, runtime.settings
    stored = StoredQuotas(database, default_quotas(settings))
    usage = UsageCounter(bus, database, stored, flush_seconds=settings.quota_flush_seconds)
    operations = QuotaOperations(bus, database, Accounts(bus), stored, usage)
    operations.register(runtime.responder)
    tasks = BackgroundTasks()
    tasks.repeat("store usage", usage.flush_later)
    try:
        yield QuotaParts(stored, usage)
    finally:
        await tasks.stop()
        await usage.close()
