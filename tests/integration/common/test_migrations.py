"""The wait for PostgreSQL before migrations has a limit. The migrations themselves have none."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote

import asyncpg
import pytest
from structlog.testing import capture_logs

from svgx_auth.settings import AuthSettings
from svgx_common import logs, postgres
from svgx_common.database import migrations
from svgx_common.database.commands import migrate_command
from svgx_common.database.hosts import Connection, Hosts
from svgx_devstack import DevStack
from tests.blocked import until_blocked, until_statement_blocked
from tests.certificates import write_certificate
from tests.integration.common.test_postgres import Package

WAIT = 2.5
"""The limit of the wait for PostgreSQL in these tests, in seconds. A running server is usable much sooner."""

SHORT_WAIT = 1.0
"""The limit in seconds, in tests in which PostgreSQL does not become usable."""

LONGER = "SELECT pg_sleep(2.6)"
"""A statement that takes longer than `WAIT`."""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Package:
    monkeypatch.syspath_prepend(tmp_path)
    return Package(tmp_path)


@pytest.fixture
async def operator(backing: DevStack) -> AsyncIterator[Connection]:
    connection = await asyncpg.connect(backing.postgres_url)
    yield connection
    await connection.close()


async def test_migrate_continues_a_migration_beyond_its_wait(
    backing: DevStack,
    package: Package,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Proves R-CONFIG-8: `--wait` limits the wait for PostgreSQL, and not the migration."""
    package.write("migrations/0002_long.sql", LONGER)
    monkeypatch.setenv("POSTGRES_URL", backing.postgres_url)
    monkeypatch.setenv("NATS_URL", backing.nats_url("auth"))
    monkeypatch.setenv("JWT_SECRET", "0" * 32)
    monkeypatch.setattr(logs, "configure", lambda *_: None)
    migrate = migrate_command(package.name, AuthSettings, package.name)
    await asyncio.to_thread(migrate, ["--wait", str(WAIT)])
    printed = capsys.readouterr().out
    assert printed.endswith(
        "applied 0001_thing.sql\napplied 0002_long.sql\n"
        f"{package.name}: 2 migrations applied; the schema is at 0002_long.sql\n"
    )


async def test_connect_continues_a_migration_beyond_its_wait(
    backing: DevStack, package: Package
) -> None:
    """Proves R-CONFIG-8: a command that connects to the tables does not cancel a migration either."""
    package.write("migrations/0002_long.sql", LONGER)
    async with postgres.connect(
        backing.postgres_url,
        schema=package.name,
        package=package.name,
        pool_size=1,
        wait_seconds=WAIT,
    ) as database:
        assert await database.rows("names") == []


async def test_migration_of_another_replica_does_not_count_as_wait(
    backing: DevStack, package: Package, operator: Connection
) -> None:
    """Proves R-CONFIG-8: a start waits for the end of another replica's migration, however long it takes."""
    lock = f"svgx.{package.name}"
    await operator.execute("SELECT pg_advisory_lock(hashtext($1))", lock)
    applying = asyncio.create_task(
        migrations.apply_when_usable(
            Hosts(backing.postgres_url), package.name, package.name, wait_seconds=WAIT
        )
    )
    async with asyncio.timeout(20):
        await until_blocked(operator)
    await operator.execute(LONGER)
    assert not applying.done()
    await operator.execute("SELECT pg_advisory_unlock(hashtext($1))", lock)
    assert await applying == ["0001_thing.sql"]


async def test_migration_has_no_time_limit_of_the_server(
    backing: DevStack, package: Package
) -> None:
    """Proves R-CONFIG-8: a `statement_timeout` in the URL cancels no migration."""
    package.write("migrations/0002_long.sql", "SELECT pg_sleep(0.5)")
    url = f"{backing.postgres_url}?statement_timeout={quote('300ms')}"
    async with asyncio.timeout(20):
        applied = await migrations.apply_when_usable(Hosts(url), package.name, package.name)
    assert applied == ["0001_thing.sql", "0002_long.sql"]


async def test_migration_whose_connection_ends_is_applied_again(
    backing: DevStack, package: Package, operator: Connection
) -> None:
    """Proves R-CONFIG-8: the migration was waiting for a lock when PostgreSQL ended its connection."""
    package.write("migrations/0001_thing.sql", "SELECT 1")
    package.write("migrations/0002_held.sql", "LOCK TABLE thing; INSERT INTO thing VALUES ('one')")
    table = f"{package.name}.thing"
    await operator.execute(
        f"CREATE SCHEMA {package.name}; CREATE TABLE {table} (name text PRIMARY KEY)"
    )
    async with operator.transaction():
        await operator.execute(f"LOCK TABLE {table}")
        applying = asyncio.create_task(
            migrations.apply_when_usable(
                Hosts(backing.postgres_url), package.name, package.name, wait_seconds=30
            )
        )
        while not await operator.fetchval(
            "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE NOT granted AND relation = $1::regclass",
            table,
        ):
            pass
    assert await applying == ["0002_held.sql"]
    rows = await operator.fetch(f"SELECT name FROM {table}")
    assert [row["name"] for row in rows] == ["one"]


async def test_migration_that_waits_for_a_dump_lets_other_statements_through(
    backing: DevStack,
    package: Package,
    operator: Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Proves R-CONFIG-8: while a transaction holds a lock as pg_dump does, the services' statements still run."""
    monkeypatch.setattr(migrations, "LOCK_PAUSE_SECONDS", 0.5)
    hosts = Hosts(backing.postgres_url)
    await migrations.apply_when_usable(hosts, package.name, package.name)
    package.write("migrations/0002_note.sql", "ALTER TABLE thing ADD COLUMN note text")
    table = f"{package.name}.thing"
    service = await asyncpg.connect(backing.postgres_url)
    with capture_logs() as lines:
        async with asyncio.timeout(60), operator.transaction():
            await operator.execute(f"LOCK TABLE {table} IN ACCESS SHARE MODE")
            applying = asyncio.create_task(
                migrations.apply_when_usable(hosts, package.name, package.name, wait_seconds=WAIT)
            )
            for name in ("one", "two"):
                await until_statement_blocked(operator, "ADD COLUMN note")
                await service.execute(f"INSERT INTO {table} VALUES ($1)", name)
            assert not applying.done()
        assert await applying == ["0002_note.sql"]
    waits = [each for each in lines if each["event"] == "a migration waits for locks of tables"]
    assert [each["migration"] for each in waits] == ["0002_note.sql"]
    rows = await service.fetch(f"SELECT name, note FROM {table} ORDER BY name")
    assert [tuple(row) for row in rows] == [("one", None), ("two", None)]
    await service.close()


async def test_migration_that_the_server_cannot_carry_out_ends_after_the_wait(
    backing: DevStack, package: Package
) -> None:
    """Proves R-CONFIG-8: a migration that keeps failing, as with a full disk, is not repeated beyond the limit."""
    full = "DO $$ BEGIN RAISE EXCEPTION 'injected' USING ERRCODE = '53100'; END $$"
    package.write("migrations/0002_full.sql", full)
    async with asyncio.timeout(20):
        with pytest.raises(TimeoutError):
            await migrations.apply_when_usable(
                Hosts(backing.postgres_url), package.name, package.name, wait_seconds=SHORT_WAIT
            )


async def test_wait_for_a_server_that_stops_answering_is_bounded(
    backing: DevStack, package: Package
) -> None:
    """Proves R-CONFIG-8: the limit also applies while PostgreSQL accepts a connection and then does not answer."""
    server = backing.process("postgres")
    hosts = Hosts(backing.postgres_url)

    class Pausing(Hosts):
        async def connect(self, *_: object, **options: object) -> Connection:
            connection = await hosts.connect(**options)
            server.pause()
            return connection

    try:
        async with asyncio.timeout(20):
            with pytest.raises(TimeoutError):
                await migrations.apply_when_usable(
                    Pausing(backing.postgres_url),
                    package.name,
                    package.name,
                    wait_seconds=SHORT_WAIT,
                )
    finally:
        server.resume()


async def test_start_waits_while_the_certificate_of_postgresql_is_refused(
    package: Package, tmp_path: Path
) -> None:
    """The log line names the fault of the certificate, which the server may replace. Proves R-STATE-18."""
    certificate, key = tmp_path / "expired.pem", tmp_path / "key.pem"
    write_certificate(certificate, -1, key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Accept TLS as PostgreSQL does: the client asks for it in 8 bytes, and the server answers `S`."""
        await reader.readexactly(8)
        writer.write(b"S")
        try:
            await writer.start_tls(context)
        except OSError:  # the client has refused the certificate
            writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        query = f"sslmode=verify-full&sslrootcert={certificate}"
        hosts = Hosts(f"postgresql://user:hunter2@127.0.0.1:{port}/svgx?{query}")
        with capture_logs() as lines, pytest.raises(TimeoutError):
            await migrations.apply_when_usable(
                hosts, package.name, package.name, wait_seconds=SHORT_WAIT
            )
    assert [(line["event"], line["detail"]) for line in lines] == [
        ("waiting for postgresql", "certificate has expired")
    ]
