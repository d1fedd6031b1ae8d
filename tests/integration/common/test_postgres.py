"""PostgreSQL for services: migrations, named queries, and which errors become `Unavailable`."""

import asyncio
import secrets
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import asyncpg
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from svgx_common import postgres
from svgx_common.contract.errors import Unavailable
from svgx_common.settings import WrongSetting
from svgx_common.tracing import CurrentSpan
from svgx_devstack import DevStack, ports

QUERIES = """
-- name: add
INSERT INTO thing (name) VALUES ($1)

-- name: names
SELECT name FROM thing ORDER BY name

-- name: sleep
SELECT pg_sleep(3600)

-- name: double
SELECT $1::integer * 2 AS twice
"""


class Package:
    """The SQL of a service, in a new package and a new schema."""

    def __init__(self, folder: Path) -> None:
        self.name = f"sql_{secrets.token_hex(4)}"
        self._sql = folder / self.name / "sql"
        (self._sql / "migrations").mkdir(parents=True)
        (folder / self.name / "__init__.py").write_text("")
        self.write("queries.sql", QUERIES)
        self.write("migrations/0001_thing.sql", "CREATE TABLE thing (name text PRIMARY KEY)")

    def write(self, name: str, sql: str) -> None:
        (self._sql / name).write_text(sql)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Package:
    monkeypatch.syspath_prepend(tmp_path)
    return Package(tmp_path)


def connect(backing: DevStack, package: Package) -> AbstractAsyncContextManager[postgres.Database]:
    return postgres.connect(
        backing.postgres_url, schema=package.name, package=package.name, pool_size=2
    )


async def test_concurrent_starts_apply_each_migration_once(
    backing: DevStack, package: Package
) -> None:
    """Proves R-CONFIG-8: only one start migrates, and later migrations follow in order."""
    package.write("migrations/0002_rows.sql", "INSERT INTO thing VALUES ('first')")

    async def start() -> list[str]:
        async with connect(backing, package) as database:
            return [row["name"] for row in await database.rows("names")]

    assert await asyncio.gather(*(start() for _ in range(5))) == [["first"]] * 5
    package.write("migrations/0003_more.sql", "INSERT INTO thing VALUES ('second')")
    assert await start() == ["first", "second"]


async def test_failed_migration_is_rolled_back_and_stops_the_start(
    backing: DevStack, package: Package
) -> None:
    """Proves R-CONFIG-8: a failed migration leaves no row, and is applied after its correction."""
    package.write("migrations/0002_bad.sql", "INSERT INTO thing VALUES ('half'); SELECT 1/0")
    with pytest.raises(asyncpg.DivisionByZeroError):
        async with connect(backing, package):
            raise AssertionError
    package.write("migrations/0002_bad.sql", "INSERT INTO thing VALUES ('whole')")
    async with connect(backing, package) as database:
        assert [row["name"] for row in await database.rows("names")] == ["whole"]


async def test_failed_transaction_is_rolled_back(backing: DevStack, package: Package) -> None:
    """Proves R-STATE-1: a transaction is stored as a whole or not at all."""
    async with connect(backing, package) as database:

        async def fail_half_way() -> None:
            async with database.transaction() as session:
                await session.run("add", "a")
                raise RuntimeError("stop")

        with pytest.raises(RuntimeError, match="stop"):
            await fail_half_way()
        async with database.transaction() as session:
            await session.run("add", "b")
            await session.run("add", "c")
        assert [row["name"] for row in await database.rows("names")] == ["b", "c"]
        with pytest.raises(asyncpg.UniqueViolationError):
            await database.run("add", "b")


async def test_released_connection_needs_no_reset_statement(
    backing: DevStack, package: Package
) -> None:
    """Proves R-STATE-1: the pool sends no reset statement when a connection is released.

    Even after a cancelled transaction, the next caller gets a connection with no open transaction.
    """
    async with connect(backing, package) as database:
        await database.run("add", "a")
        operator = await asyncpg.connect(backing.postgres_url)
        statements = await operator.fetch(
            "SELECT query FROM pg_stat_activity WHERE application_name = $1", f"svgx-{package.name}"
        )
        await operator.close()
        assert [row["query"] for row in statements] == ["INSERT INTO thing (name) VALUES ($1)"]

        async def wait_in_a_transaction() -> None:
            async with asyncio.timeout(0.1), database.transaction() as session:
                await session.run("add", "b")
                await session.run("sleep")

        with pytest.raises(TimeoutError):
            await wait_in_a_transaction()
        assert [row["name"] for row in await database.rows("names")] == ["a"]


async def test_invalid_argument_is_not_reported_as_unavailable(
    backing: DevStack, package: Package
) -> None:
    """Proves R-STATE-18: `unavailable` asks the caller to try again, which would not help here."""
    async with connect(backing, package) as database:
        row = await database.row("double", 4)
        assert row is not None
        assert row["twice"] == 8
        with pytest.raises(asyncpg.DataError):
            await database.row("double", "four")
        with pytest.raises(asyncpg.DataError):
            await database.row("double", 2**40)


async def test_killed_connection_raises_unavailable_and_is_replaced(
    backing: DevStack, package: Package
) -> None:
    """Proves R-STATE-18: the pool opens a new connection for the next query."""
    async with connect(backing, package) as database:
        sleeping = asyncio.create_task(database.row("sleep"))
        operator = await asyncpg.connect(backing.postgres_url)
        killed = 0
        while not killed:
            killed = await operator.fetchval(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
                "WHERE application_name = $1 AND query LIKE '%pg_sleep(3600)%' AND state = 'active'",
                f"svgx-{package.name}",
            )
        with pytest.raises(Unavailable):
            await sleeping
        await database.check()
        assert await database.rows("names") == []
        await operator.close()


async def test_exhausted_pool_raises_unavailable(
    backing: DevStack, package: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves R-STATE-18: the wait for a connection is bounded."""
    async with connect(backing, package) as database, database.session(), database.session():
        # Shorten the wait only after both connections are open, because a busy machine may open them more slowly.
        monkeypatch.setattr(postgres, "ACQUIRE_SECONDS", 0.05)
        assert database.usage() == {"size": 2, "in_use": 2, "max": 2}
        with pytest.raises(Unavailable):
            await database.rows("names")


async def test_start_waits_for_postgresql(package: Package) -> None:
    """Proves R-STATE-18: the start retries until it is cancelled."""
    url = f"postgresql://user:password@127.0.0.1:{ports.choose()}/svgx"

    async def start() -> None:
        async with postgres.connect(url, schema=package.name, package=package.name, pool_size=1):
            raise AssertionError

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await start()


async def test_wrong_password_stops_the_start_at_once(backing: DevStack, package: Package) -> None:
    """Proves R-CONFIG-2: the start does not retry, because the password would stay wrong."""
    up_to_password, at, server = backing.postgres_url.rpartition("@")
    url = f"{up_to_password}wrong{at}{server}"
    with pytest.raises(WrongSetting, match="POSTGRES_URL: the server refuses its user or password"):
        async with postgres.connect(url, schema=package.name, package=package.name, pool_size=1):
            raise AssertionError


async def test_each_query_has_a_span_with_its_name(
    backing: DevStack, package: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves R-OBS-4: the span does not contain the arguments."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("test")
    monkeypatch.setattr(postgres, "tracer", tracer)
    async with connect(backing, package) as database:
        await database.run("add", "a statement without a trace")
        with CurrentSpan(tracer, "request", SpanKind.CONSUMER):
            await database.run("add", "hunter2")
            await database.rows("names")
    spans = exporter.get_finished_spans()
    assert [span.name for span in spans] == ["sql add", "sql names", "request"]
    assert [span.parent for span in spans[:2]] == [spans[2].context] * 2
    assert dict(spans[0].attributes or {}) == {
        "db.system.name": "postgresql",
        "db.query.summary": "add",
    }


@pytest.mark.parametrize(
    ("file", "sql"),
    [
        ("queries.sql", QUERIES + "\n-- name: add\nSELECT 1\n"),
        ("more.sql", "-- name: add\nSELECT 1\n"),
    ],
)
def test_queries_with_the_same_name_are_refused(package: Package, file: str, sql: str) -> None:
    """Proves R-STATE-19: one of two queries with the same name would be unreachable."""
    package.write(file, sql)
    with pytest.raises(ValueError, match="two queries have the name add"):
        postgres.load_queries(package.name)
