"""The tables of the state service in a schema of their own, and the rows of a report."""

import secrets
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import asyncpg

from svgx_common import postgres
from svgx_common.database.migrations import migrations_of
from svgx_common.postgres import Database
from svgx_devstack import DevStack
from svgx_state.journal import Journal
from svgx_state.partitions import add_partitions


@dataclass(frozen=True, slots=True)
class Report:
    """A table of results. The first row has the names of the columns."""

    title: str
    text: str
    rows: Sequence[Sequence[str]]

    def markdown(self) -> str:
        """Return the report as Markdown."""
        head, *rows = ("| " + " | ".join(row) + " |" for row in self.rows)
        line = "|" + "---|" * len(self.rows[0])
        return "\n".join([f"## {self.title}", self.text, "", head, line, *rows, ""])


@dataclass(frozen=True, slots=True)
class Tables:
    """The tables of the state service in one schema.

    `database` and `journal` are those of the service. `connection` is for the statements of the measurement.
    """

    database: Database
    connection: "asyncpg.Connection[asyncpg.Record]"
    journal: Journal

    async def create(self) -> str:
        """Create a canvas, and return its id."""
        canvas_id = str(uuid.uuid4())
        await self.database.row("create_canvas", canvas_id, "canvas", "user")
        return canvas_id


@asynccontextmanager
async def new_tables(stack: DevStack) -> AsyncIterator[Tables]:
    """Create the tables in a new schema, and drop the schema afterwards."""
    schema = f"bench_{secrets.token_hex(4)}"
    url = stack.postgres_url
    async with postgres.connect(url, schema=schema, package="svgx_state", pool_size=8) as database:
        connection = await asyncpg.connect(url, server_settings={"search_path": schema})
        try:
            await add_partitions(database, 2)
            yield Tables(database, connection, Journal(database, lambda *_: None))
        finally:
            await connection.execute(f"DROP SCHEMA {schema} CASCADE")
            await connection.close()


@asynccontextmanager
async def old_tables(
    stack: DevStack, migrations: int
) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    """Create the tables with only the first `migrations` migrations of the service, and drop them afterwards."""
    schema = f"bench_{secrets.token_hex(4)}"
    connection = await asyncpg.connect(stack.postgres_url, server_settings={"search_path": schema})
    try:
        await connection.execute(f"CREATE SCHEMA {schema}")
        for migration in migrations_of("svgx_state")[:migrations]:
            await connection.execute(migration.sql)
        await connection.execute("SELECT add_journal_days((now() AT TIME ZONE 'UTC')::date, 3)")
        yield connection
    finally:
        await connection.execute(f"DROP SCHEMA {schema} CASCADE")
        await connection.close()
