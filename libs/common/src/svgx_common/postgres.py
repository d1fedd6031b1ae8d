"""PostgreSQL for the services that own tables: a connection pool, named queries, migrations and spans."""

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import asyncpg
import structlog
from asyncpg.pool import PoolConnectionProxy
from opentelemetry import trace
from prometheus_client import Counter, Gauge, Histogram

from svgx_common.background import BackgroundTasks
from svgx_common.contract.errors import Unavailable
from svgx_common.database import migrations
from svgx_common.database.failures import SILENT, Failure, classify, find_origin, sqlstate
from svgx_common.database.hosts import IDLE_TIMEOUT, SERVER_SETTINGS, Hosts
from svgx_common.database.monitor import DatabaseMonitor
from svgx_common.health import NotUsable
from svgx_common.tracing import client_span

log = structlog.get_logger(__name__)
tracer = trace.get_tracer("svgx.postgres")

Row = asyncpg.Record

COMMAND_SECONDS = 15.0
"""Time limit of one statement, in seconds. Beyond it, the statement is cancelled."""

ACQUIRE_SECONDS = 5.0
"""Time limit of the wait for a free connection of the pool, in seconds. Beyond it, the caller gets `Unavailable`."""

LOG_INTERVAL_SECONDS = 10.0
"""Seconds between two log lines about the same failure. While PostgreSQL is unreachable, every request fails."""

_POOL_EXHAUSTED = Failure("has no free connection for this replica", drop=False)

_CHANGES_ROWS = re.compile(r"\b(INSERT|DELETE|MERGE|(?<!FOR )(?<!FOR NO KEY )UPDATE)\b")
"""Matches the keywords of statements that change rows, and not those of statements that only lock rows."""

_FUNCTION = re.compile(r"^CREATE (?:OR REPLACE )?FUNCTION (\w+)", re.MULTILINE)
"""Matches the definition of a function in a migration, with its name."""

CONNECTIONS = Gauge(
    "svgx_engine_database_connections",
    "Connections of the pool to PostgreSQL, by state: in_use or idle.",
    ["state"],
)
MAX_CONNECTIONS = Gauge(
    "svgx_engine_database_connections_max", "The largest number of connections of the pool."
)
WAIT_SECONDS = Histogram(
    "svgx_engine_database_wait_seconds",
    "Time that a caller waits for a connection to PostgreSQL.",
    buckets=(0.0005, 0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
)
FAILURES = Counter(
    "svgx_engine_database_failures",
    "Statements and connections that failed for a temporary reason, such as a conflict. The log has the reason.",
)


@dataclass(frozen=True, slots=True)
class Query:
    """A named statement of a service."""

    name: str
    sql: str
    writes: bool
    """Whether the statement changes rows, itself or by a call of a function that the service's migrations define."""


def load_queries(package: str) -> Mapping[str, Query]:
    """Return the statements of all files `<package>/sql/*.sql` by name.

    Each statement starts with a line `-- name: <name>`. Raise `ValueError` when two have the same name.
    """
    queries: dict[str, Query] = {}
    functions = {
        name for each in migrations.migrations_of(package) for name in _FUNCTION.findall(each.sql)
    }
    for file in files(package).joinpath("sql").iterdir():
        if not file.name.endswith(".sql"):
            continue
        _, *parts = re.split(r"(?m)^-- name: (\w+)$", file.read_text())
        for name, statement in zip(parts[::2], parts[1::2], strict=True):
            if name in queries:
                raise ValueError(f"{package}: two queries have the name {name}")
            calls_function = not functions.isdisjoint(re.findall(r"\b(\w+)\(", statement))
            changes_rows = _CHANGES_ROWS.search(statement) is not None
            queries[name] = Query(name, statement.strip(), changes_rows or calls_function)
    return queries


class Session:
    """A connection that runs named queries."""

    def __init__(
        self,
        connection: "PoolConnectionProxy[Row]",
        queries: Mapping[str, Query],
        on_write: Callable[[], None],
        seconds: float | None = None,
    ) -> None:
        self._connection = connection
        self._queries = queries
        self._on_write = on_write
        self._seconds = seconds
        """Time limit of each statement, in seconds. None stands for `COMMAND_SECONDS`."""

    async def rows(self, name: str, *args: Any) -> list[Row]:
        """Run a query and return all rows."""
        rows: list[Row] = await self._run(self._connection.fetch, name, args)
        return rows

    async def row(self, name: str, *args: Any) -> Row | None:
        """Run a query and return the first row, or None without rows."""
        row: Row | None = await self._run(self._connection.fetchrow, name, args)
        return row

    async def run(self, name: str, *args: Any) -> None:
        """Run a query without a result."""
        await self._run(self._connection.execute, name, args)

    @asynccontextmanager
    async def discarded(self) -> AsyncIterator[None]:
        """Roll back the statements of the block at its end, which releases their locks.

        A long transaction reads in such blocks, because a change of the schema would otherwise wait for
        the end of the transaction.
        """
        savepoint = self._connection.transaction()
        await savepoint.start()
        try:
            yield
        finally:
            await savepoint.rollback()

    async def limit_idle_time(self) -> None:
        """End this transaction after 10 s without a statement, instead of after its `idle_seconds`."""
        await self._connection.execute(f"SET LOCAL {IDLE_TIMEOUT} = DEFAULT")

    async def _run(
        self, method: Callable[..., Awaitable[Any]], name: str, args: tuple[Any, ...]
    ) -> Any:
        query = self._queries[name]
        with _span(name):
            result = await method(query.sql, *args, timeout=self._seconds)
        if query.writes:
            self._on_write()
        return result


class Database:
    """A connection pool on one schema.

    Its methods raise `Unavailable` for every temporary error (see `database.failures`), and when no connection becomes
    free in time. A connection is closed after a failure that would repeat in its later statements.
    While PostgreSQL does not answer, no statement is sent, and the connections in use are closed.
    """

    def __init__(
        self, pool: "asyncpg.Pool[Row]", hosts: Hosts, schema: str, queries: Mapping[str, Query]
    ) -> None:
        self._pool = pool
        self._queries = queries
        self._in_use: set[PoolConnectionProxy[Row]] = set()
        self._logged: dict[str, float] = {}
        """The time of the last log line about each failure."""
        self._monitor = DatabaseMonitor(
            hosts.connect,
            schema,
            on_silent=self._drop_connections,
            on_usable=self._replace_connections,
        )
        self._background = BackgroundTasks()
        self._background.repeat("watch postgresql", self._monitor.watch)

    @asynccontextmanager
    async def transaction(
        self, *, idle_seconds: float | None = None, statement_seconds: float | None = None
    ) -> AsyncIterator[Session]:
        """Open a transaction. It is committed at the end of the block and rolled back when the block raises.

        PostgreSQL ends a transaction in which no statement arrives for 10 s, or for `idle_seconds` if given. The time
        limit of each statement is `COMMAND_SECONDS`, or `statement_seconds` if given.
        """
        limits = {
            IDLE_TIMEOUT: idle_seconds,
            "statement_timeout": statement_seconds,
        }
        async with self._connection() as connection, connection.transaction():
            for name, seconds in limits.items():
                if seconds is not None:
                    await connection.execute(f"SET LOCAL {name} = {round(seconds * 1000)}")
            yield Session(connection, self._queries, self._monitor.note_write, statement_seconds)

    @asynccontextmanager
    async def session(self) -> AsyncIterator[Session]:
        """Take a connection without a transaction: each query commits by itself."""
        async with self._connection() as connection:
            yield Session(connection, self._queries, self._monitor.note_write)

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
        """Return when PostgreSQL answers, accepts writes and allows use of the tables. Raise `NotUsable` otherwise."""
        if (reason := await self._monitor.check()) is not None:
            raise NotUsable(reason)

    def usage(self) -> dict[str, Any]:
        """Return the pool's connections: `size` open, `in_use`, and `max`."""
        size, idle = self._pool.get_size(), self._pool.get_idle_size()
        return {"size": size, "in_use": size - idle, "max": self._pool.get_max_size()}

    async def close(self) -> None:
        """Stop the monitor, and close all connections."""
        await self._background.stop()
        await self._monitor.close()
        try:
            async with asyncio.timeout(5):
                await self._pool.close()
        except (TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            self._pool.terminate()

    @asynccontextmanager
    async def _connection(self) -> "AsyncIterator[PoolConnectionProxy[Row]]":
        """Take a connection from the pool. Close it when a statement shows that it cannot be used any more."""
        if self._monitor.silent:
            raise _unavailable(SILENT)
        acquired = False
        started = time.perf_counter()
        try:
            async with self._pool.acquire(timeout=ACQUIRE_SECONDS) as connection:
                acquired = True
                WAIT_SECONDS.observe(time.perf_counter() - started)
                self._in_use.add(connection)
                try:
                    yield connection
                except Exception as error:
                    failure = classify(error)
                    if failure is not None and failure.drop:
                        _terminate(connection)
                    raise
                finally:
                    self._in_use.discard(connection)
        except Exception as error:
            origin = find_origin(error)
            failure = classify(origin, connecting=not acquired)
            if failure is None:
                raise
            if not acquired and isinstance(error, TimeoutError) and not self._pool.get_idle_size():
                failure = _POOL_EXHAUSTED
            raise self._note(origin, failure) from error

    def _note(self, error: Exception, failure: Failure) -> Unavailable:
        """Pass the failure to the monitor, log the failure, and return the error for the caller."""
        self._monitor.note_failure(failure)
        FAILURES.inc()
        now = time.monotonic()
        if now - self._logged.get(failure.reason, -LOG_INTERVAL_SECONDS) >= LOG_INTERVAL_SECONDS:
            self._logged[failure.reason] = now
            log.warning(
                "postgresql failed",
                reason=f"the database {failure.reason}",
                error=type(error).__name__,
                sqlstate=sqlstate(error),
            )
        return _unavailable(SILENT if self._monitor.silent else failure.reason)

    async def _drop_connections(self) -> None:
        """Close the connections in use, and replace the others before their next use.

        A server that does not answer may never answer on these connections.
        """
        for connection in list(self._in_use):
            _terminate(connection)
        await self._pool.expire_connections()

    async def _replace_connections(self) -> None:
        """Replace all connections before their next use, because some may still be read-only."""
        self._logged.clear()
        await self._pool.expire_connections()


@asynccontextmanager
async def connect(
    url: str, *, schema: str, package: str, pool_size: int, wait_seconds: float | None = None
) -> AsyncIterator[Database]:
    """Wait for PostgreSQL, apply the missing migrations and open a pool on the schema.

    `package` contains `sql/*.sql` with queries, and `sql/migrations/NNNN_*.sql`. Raise `TimeoutError` when PostgreSQL
    cannot be used within `wait_seconds`. Migrations have no time limit.
    """
    hosts = Hosts(url)
    await migrations.apply_when_usable(hosts, schema, package, wait_seconds=wait_seconds)
    pool = await asyncpg.create_pool(
        connect=hosts.connect,
        reset=_keep_session,
        min_size=0,  # asyncpg would log a traceback for each failed attempt to keep connections open
        max_size=pool_size,
        command_timeout=COMMAND_SECONDS,
        server_settings={
            "search_path": schema,
            "application_name": f"svgx-{schema}",
            **SERVER_SETTINGS,
        },
    )
    CONNECTIONS.labels("in_use").set_function(lambda: pool.get_size() - pool.get_idle_size())
    CONNECTIONS.labels("idle").set_function(pool.get_idle_size)
    MAX_CONNECTIONS.set(pool_size)
    database = Database(pool, hosts, schema, load_queries(package))
    try:
        yield database
    finally:
        await database.close()


def _terminate(connection: "PoolConnectionProxy[Row]") -> None:
    """Close a connection, unless it is closed already: the pool has then taken it back, and asyncpg raises an error."""
    with contextlib.suppress(asyncpg.InterfaceError):
        connection.terminate()


async def _keep_session(_: "asyncpg.Connection[Row]") -> None:
    """Do nothing, in place of the statements with which asyncpg resets a session before its return to the pool.

    asyncpg itself ends an open transaction. No statement changes the session beyond its transaction: there are no
    cursors, no listeners, and settings and advisory locks belong to transactions. Resetting would take a round trip
    for each use of a connection.
    """


def _unavailable(reason: str) -> Unavailable:
    return Unavailable(f"the database {reason}; try again", retry_after=1.0)


def _span(name: str) -> AbstractContextManager[object]:
    return client_span(
        tracer, f"sql {name}", {"db.system.name": "postgresql", "db.query.summary": name}
    )
