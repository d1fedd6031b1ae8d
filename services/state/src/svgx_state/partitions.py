"""The journal's daily partitions, which are made ahead of time. An append makes a missing partition itself."""

import asyncio

import structlog

from svgx_common.contract.errors import Unavailable
from svgx_common.postgres import Database

log = structlog.get_logger(__name__)

PERIOD_SECONDS = 3600.0
"""Seconds between two checks for missing partitions."""


async def add_partitions(database: Database, days_ahead: int) -> None:
    """Make the missing partitions of today and the next `days_ahead` days."""
    await database.run("add_journal_days", days_ahead + 1)


async def add_partitions_at_start(database: Database, days_ahead: int) -> None:
    """Make the missing partitions. If PostgreSQL does not answer, log a warning: the next appends make them."""
    try:
        await add_partitions(database, days_ahead)
    except Unavailable:
        log.warning("could not make the journal's partitions at the start; appends make them")


async def add_partitions_later(database: Database, days_ahead: int) -> None:
    """Wait `PERIOD_SECONDS`, then make the missing partitions. This is a step to repeat in the background."""
    await asyncio.sleep(PERIOD_SECONDS)
    try:
        await add_partitions(database, days_ahead)
    except Unavailable:
        log.warning("could not make the journal's next partitions; trying again in an hour")
