"""The journal's daily partitions are made ahead of time. Should one be missing, the append that needs it makes it."""

import asyncio

import structlog

from svgx_common.contract.errors import Unavailable
from svgx_common.postgres import Database

log = structlog.get_logger(__name__)

PERIOD = 3600.0
"""Seconds from one look to the next."""


async def add_partitions(database: Database, days_ahead: int) -> None:
    """Make the partitions of today and the next `days_ahead` days."""
    await database.run("add_journal_days", days_ahead + 1)


async def keep_adding(database: Database, days_ahead: int) -> None:
    """Make them again and again; never returns."""
    while True:
        await asyncio.sleep(PERIOD)
        try:
            await add_partitions(database, days_ahead)
        except Unavailable:
            log.warning("could not make the journal's next partitions; trying again in an hour")
