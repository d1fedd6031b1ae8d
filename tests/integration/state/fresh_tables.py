"""The service's tables in a new schema, for tests of a table without the rest of the service."""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from svgx_common import postgres
from svgx_common.contract.policy import Role
from svgx_common.messaging.caller import Caller
from svgx_common.postgres import Database
from svgx_devstack import DevStack
from svgx_state.canvases import Canvases
from svgx_state.history.past import Past
from svgx_state.history.versions import Bounds, Versions
from svgx_state.journal import Journal
from svgx_state.snapshots import Compactor
from svgx_workers.pool import Workers
from tests.integration.state.service import Tables

ME = Caller("me", "me", Role.EDITOR, "session")

_PAST = """
    WITH base AS (
        SELECT through_revision, update FROM snapshot WHERE canvas_id = $1 AND through_revision <= $2
        ORDER BY through_revision DESC LIMIT 1
    )
    SELECT true AS is_snapshot, through_revision AS revision, update FROM base
    UNION ALL
    SELECT false, revision, update FROM journal
    WHERE canvas_id = $1 AND revision <= $2 AND revision > coalesce((SELECT through_revision FROM base), 0)
    ORDER BY revision
"""
_ADD_PARTITIONS_OF_THE_DAYS_BEFORE = """
    SELECT add_journal_days((at AT TIME ZONE 'UTC')::date - 1, 1)
    FROM (SELECT DISTINCT date_trunc('day', at AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' AS at FROM journal) days
"""
_PASS_A_DAY = tuple(
    f"UPDATE {table} SET {column} = {column} - interval '1 day'"
    for table, column in (
        ("journal", "at"),
        ("snapshot", "through_at"),
        ("journal_writer", "at"),
        ("canvas", "created_at"),
        ("canvas", "updated_at"),
    )
)


async def no_quota(_: postgres.Session, __: Caller) -> None:
    """Allow each new canvas."""


class FreshTables:
    """The tables of one test, without partitions at first. `tables` is a connection to their schema."""

    def __init__(self, database: Database, tables: Tables) -> None:
        self.database = database
        self.tables = tables
        self.journal = Journal(database, lambda *_: None)

    def compactor(
        self, workers: Workers, keep_after_bytes: int = 10**9, max_tail_entries: int = 10**9
    ) -> Compactor:
        """Return a compactor that compacts by default only when it is called.

        The compactor keeps a new snapshot for reads of the past after at least `keep_after_bytes` bytes of journal.
        """
        return Compactor(
            self.database,
            workers,
            max_tail_entries=max_tail_entries,
            max_tail_bytes=10**9,
            concurrency=1,
            keep_after_bytes=keep_after_bytes,
        )

    def versions(self) -> Versions:
        """Return the versions of all canvases, with the default bounds."""
        bounds = Bounds(all_hours=1, hourly_hours=24, unnamed=300, named=300)
        return Versions(self.database, Past(self.database), bounds)

    async def clear(self) -> None:
        """Delete all canvases with their rows, and drop all partitions."""
        for day in await self.days():
            await self.tables.execute(f"DROP TABLE journal_{day}")
        await self.tables.execute(
            "TRUNCATE canvas, canvas_member, snapshot, journal_writer, quarantine CASCADE"
        )

    async def create(self) -> str:
        """Create a canvas, and return its id."""
        return (await Canvases(self.database, no_quota).create(ME, "canvas")).id

    async def pass_days(self, days: int = 1) -> None:
        """Let days pass: the times of canvases, entries, snapshots and writers become earlier.

        For the service, this is the same as a later clock.
        """
        for _ in range(days):
            async with self.tables.transaction():
                await self.tables.execute(_ADD_PARTITIONS_OF_THE_DAYS_BEFORE)
                for statement in _PASS_A_DAY:
                    await self.tables.execute(statement)

    async def days(self) -> list[str]:
        """Return the days of the journal's partitions, oldest first."""
        rows = await self.tables.fetch(
            "SELECT substr(relid::text, 9) AS day FROM pg_partition_tree('journal') WHERE isleaf ORDER BY 1"
        )
        return [row["day"] for row in rows]

    async def past(self, canvas_id: str, revision: int) -> list[bytes]:
        """Return the newest snapshot up to a past revision, and the updates from the snapshot to the revision."""
        rows = await self.tables.fetch(_PAST, canvas_id, revision)
        base = rows[0]["revision"] if rows and rows[0]["is_snapshot"] else 0
        entries = [row["revision"] for row in rows if not row["is_snapshot"]]
        assert entries == list(range(base + 1, revision + 1))
        return [row["update"] for row in rows]


@asynccontextmanager
async def new_schema(backing: DevStack) -> AsyncIterator[FreshTables]:
    """Create the tables in a new schema, and drop it afterwards."""
    schema = f"state_{secrets.token_hex(4)}"
    url = backing.postgres_url
    async with postgres.connect(url, schema=schema, package="svgx_state", pool_size=4) as database:
        tables: Tables = await asyncpg.connect(url, server_settings={"search_path": schema})
        try:
            yield FreshTables(database, tables)
        finally:
            await tables.execute(f"DROP SCHEMA {schema} CASCADE")
            await tables.close()
