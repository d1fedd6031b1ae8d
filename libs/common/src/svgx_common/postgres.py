"""PostgreSQL for the services that own tables: a connection pool, named queries, migrations and spans."""

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import asyncpg
import structlog
from asyncpg.pool import PoolConnectionProxy
from opentelemetry import trace
from prometheus_client import Gauge

from svgx_common.contract.errors import Unavailable
from svgx_common.settings import WrongSetting
from svgx_common.tracing import client_span

log = structlog.get_logger(__name__)
tracer = trace.get_tracer("svgx.postgres")

Row = asyncpg.Record

COMMAND_TIMEOUT = 15.0
"""Seconds one statement may take before it is cancelled."""

_URL_VARIABLE = "POSTGRES_URL"

ACQUIRE_TIMEOUT = 5.0
"""Seconds to wait for a free connection of the pool before the caller gets `Unavailable`."""

CONNECTIONS = Gauge(
    "svgx_engine_database_connections",
    "Connections of the pool to PostgreSQL, by state: in_use or idle.",
    ["state"],
)
MAX_CONNECTIONS = Gauge(
    "svgx_engine_database_connections_max", "The largest number of connections of the pool."
)

_TEMPORARY_ERRORS = (
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    # After a crash of the server, the pool's reset of the connection raises this and hides the first error.
    asyncpg.InternalClientError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.TooManyConnectionsError,
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
    OSError,
    EOFError,
    TimeoutError,
)
"""Errors that become `Unavailable`, because the same request may succeed later."""


@dataclass(frozen=True, slots=True)
class Query:
    """A named statement of a `queries.sql`."""

    name: str
    sql: str


def load_queries(package: str) -> Mapping[str, Query]:
    """Return the statements of `<package>/sql/queries.sql` by name.

    Each statement starts with a line `-- name: <name>`. Raise `ValueError` when two have the same name.
    """
    text = files(package).joinpath("sql/queries.sql").read_text()
    parts = re.split(r"(?m)^-- name: (\w+)$", text)
    names, statements = parts[1::2], parts[2::2]
    queries = {
        name: Query(name, statement.strip())
        for name, statement in zip(names, statements, strict=True)
    }
    if len(queries) != len(names):
        raise ValueError(f"{package}: two queries have the same name")
    return queries


class Session:
    """A connection that runs named queries."""

    def __init__(
        self, connection: "PoolConnectionProxy[Row]", queries: Mapping[str, Query]
    ) -> None:
        self._connection = connection
        self._queries = queries

    async def rows(self, name: str, *args: Any) -> list[Row]:
        """Run a query and return all rows."""
        with _span(name):
            return await self._connection.fetch(self._queries[name].sql, *args)

    async def row(self, name: str, *args: Any) -> Row | None:
        """Run a query and return the first row, or None without rows."""
        with _span(name):
            return await self._connection.fetchrow(self._queries[name].sql, *args)

    async def run(self, name: str, *args: Any) -> None:
        """Run a query without a result."""
        with _span(name):
            await self._connection.execute(self._queries[name].sql, *args)


class Database:
    """A connection pool on one schema.

    Its methods raise `Unavailable` when PostgreSQL is not reachable or no connection becomes free in time.
    """

    def __init__(self, pool: "asyncpg.Pool[Row]", queries: Mapping[str, Query]) -> None:
        self._pool = pool
        self._queries = queries

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Session]:
        """Open a transaction. It is committed at the end of the block and rolled back when the block raises."""
        try:
            async with (
                self._pool.acquire(timeout=ACQUIRE_TIMEOUT) as connection,
                connection.transaction(),
            ):
                yield Session(connection, self._queries)
        except _TEMPORARY_ERRORS as error:
            raise _unavailable(error) from error

    @asynccontextmanager
    async def session(self) -> AsyncIterator[Session]:
        """Take a connection without a transaction: each query commits by itself."""
        try:
            async with self._pool.acquire(timeout=ACQUIRE_TIMEOUT) as connection:
                yield Session(connection, self._queries)
        except _TEMPORARY_ERRORS as error:
            raise _unavailable(error) from error

    async def rows(self, name: str, *args: Any) -> list[Row]:
        """Run one query and return all rows."""
        async with self.session() as session:
            return await session.rows(name, *args)

    async def row(self, name: str, *args: Any) -> Row | None:
        """Run one query and return the first row, or None without rows."""
        async with self.session() as session:
            return await session.row(name, *args)

    async def run(self, name: str, *args: Any) -> None:
        """Run one query without a result."""
        async with self.session() as session:
            await session.run(name, *args)

    async def check(self) -> None:
        """Return when PostgreSQL answers. Raise asyncpg's error otherwise, because the health report names it."""
        async with self._pool.acquire(timeout=ACQUIRE_TIMEOUT) as connection:
            await connection.execute("SELECT 1")

    def usage(self) -> dict[str, Any]:
        """Return the pool's connections: `size` open, `in_use`, and `max`."""
        size, idle = self._pool.get_size(), self._pool.get_idle_size()
        return {"size": size, "in_use": size - idle, "max": self._pool.get_max_size()}


@asynccontextmanager
async def connect(
    url: str, *, schema: str, package: str, pool_size: int
) -> AsyncIterator[Database]:
    """Wait for PostgreSQL, apply the missing migrations and open a pool on the schema.

    `package` contains `sql/queries.sql` and `sql/migrations/NNNN_*.sql`.
    """
    await _migrate(url, schema, package)
    pool = await asyncpg.create_pool(
        url,
        min_size=1,
        max_size=pool_size,
        command_timeout=COMMAND_TIMEOUT,
        server_settings={"search_path": schema, "application_name": f"svgx-{schema}"},
    )
    CONNECTIONS.labels("in_use").set_function(lambda: pool.get_size() - pool.get_idle_size())
    CONNECTIONS.labels("idle").set_function(pool.get_idle_size)
    MAX_CONNECTIONS.set(pool_size)
    try:
        yield Database(pool, load_queries(package))
    finally:
        try:
            async with asyncio.timeout(5):
                await pool.close()
        except (TimeoutError, *_TEMPORARY_ERRORS):
            pool.terminate()


async def _migrate(url: str, schema: str, package: str) -> None:
    folder = files(package).joinpath("sql/migrations")
    migrations = sorted(
        (file for file in folder.iterdir() if file.name.endswith(".sql")),
        key=lambda file: file.name,
    )
    connection = await _first_connection(url)
    try:
        # Only one replica migrates at a time. The others wait for the lock and then find no missing migration.
        await connection.execute("SELECT pg_advisory_lock(hashtext($1))", f"svgx.{schema}")
        await connection.execute(f'CREATE SCHEMA IF NOT EXISTS "{schema}"')
        await connection.execute(f'SET search_path TO "{schema}"')
        await connection.execute(
            "CREATE TABLE IF NOT EXISTS migration (name text PRIMARY KEY, at timestamptz NOT NULL DEFAULT now())"
        )
        done = {row["name"] for row in await connection.fetch("SELECT name FROM migration")}
        for migration in migrations:
            if migration.name not in done:
                async with connection.transaction():
                    await connection.execute(migration.read_text())
                    await connection.execute(
                        "INSERT INTO migration (name) VALUES ($1)", migration.name
                    )
                log.info("migrated", schema=schema, migration=migration.name)
    finally:
        await connection.close()


async def _first_connection(url: str) -> "asyncpg.Connection[Row]":
    """Connect, and retry until PostgreSQL is up. Raise `WrongSetting` for a wrong URL, password or database name."""
    waiting = False
    while True:
        try:
            return await asyncpg.connect(url, timeout=5, command_timeout=300)
        except asyncpg.InvalidAuthorizationSpecificationError:
            raise WrongSetting(_URL_VARIABLE, "the server refuses its user or password") from None
        except asyncpg.InvalidCatalogNameError:
            raise WrongSetting(_URL_VARIABLE, "the server does not have its database") from None
        except ValueError:
            raise WrongSetting(_URL_VARIABLE, "asyncpg cannot read it") from None
        except (asyncpg.PostgresError, OSError, EOFError, TimeoutError) as error:
            if not waiting:
                log.warning("waiting for postgresql", error=type(error).__name__)
            waiting = True
            await asyncio.sleep(0.2)


def _unavailable(error: BaseException) -> Unavailable:
    log.warning("postgresql failed", error=type(error).__name__)
    return Unavailable("the database is not reachable at the moment; try again", retry_after=1.0)


def _span(name: str) -> AbstractContextManager[object]:
    return client_span(
        tracer, f"sql {name}", {"db.system.name": "postgresql", "db.query.summary": name}
    )
