"""A PostgreSQL server that is read-only, full or paused, or refuses the role, and URLs with several hosts."""

import asyncio
import contextlib
import secrets
import socket
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import asyncpg
import pytest

from svgx_common import postgres
from svgx_common.contract.errors import Unavailable
from svgx_common.database import hosts, monitor
from svgx_common.database.failures import classify
from svgx_common.database.hosts import Connection, Hosts
from svgx_common.health import NotUsable
from svgx_devstack import DevStack, ports
from tests.integration.common.test_postgres import Package
from tests.polling import pause

QUERIES = """
-- name: add
INSERT INTO thing (name) VALUES ($1)

-- name: names
SELECT name FROM thing ORDER BY name

-- name: pid
SELECT pg_backend_pid() AS pid

-- name: sleep
SELECT pg_sleep(60)

-- name: add_by_function
SELECT add_thing($1)

-- name: lock
SELECT name FROM thing FOR UPDATE

-- name: setting
SELECT current_setting($1) AS value
"""

Operator: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Package:
    monkeypatch.syspath_prepend(tmp_path)
    package = Package(tmp_path)
    package.write("queries.sql", QUERIES)
    return package


@pytest.fixture
async def database(backing: DevStack, package: Package) -> AsyncIterator[postgres.Database]:
    async with connect(backing.postgres_url, package) as database:
        yield database


@pytest.fixture
async def operator(backing: DevStack) -> AsyncIterator[Operator]:
    """Yield a connection of the tables' owner. The connection may write while the database is read-only."""
    connection = await asyncpg.connect(
        backing.postgres_url, server_settings={"default_transaction_read_only": "off"}
    )
    yield connection
    await connection.close()


def connect(
    url: str, package: Package, pool_size: int = 3
) -> contextlib.AbstractAsyncContextManager[postgres.Database]:
    return postgres.connect(url, schema=package.name, package=package.name, pool_size=pool_size)


async def backend_pid(database: postgres.Database) -> int:
    """Return PostgreSQL's process id for the connection that the pool gives out next."""
    row = await database.row("pid")
    assert row is not None
    return int(row["pid"])


async def until_usable(database: postgres.Database) -> None:
    """Wait until the check passes. The time limit is far below the intervals at which a pool replaces connections."""
    async with asyncio.timeout(10):
        while True:
            with contextlib.suppress(NotUsable):
                return await database.check()
            await asyncio.sleep(0)


@dataclass(frozen=True)
class Case:
    """An SQLSTATE, a part of the error's detail, and whether the connection is replaced and the service stays ready."""

    sqlstate: str
    detail: str
    replaced: bool
    ready: bool


@pytest.mark.parametrize(
    "case",
    [
        Case("25006", "is read-only", replaced=True, ready=True),
        Case("40001", "conflict", replaced=False, ready=True),
        Case("42501", "refuses the service's role", replaced=True, ready=False),
        Case("53100", "has no disk space left", replaced=True, ready=False),
        Case("53200", "resources", replaced=True, ready=False),
        Case("55P03", "conflict", replaced=False, ready=True),
        Case("57014", "cancelled a statement", replaced=True, ready=True),
        Case("58030", "disk or operating system", replaced=True, ready=False),
    ],
    ids=lambda case: case.sqlstate,
)
async def test_failed_write_is_unavailable_until_the_cause_is_removed(
    database: postgres.Database, package: Package, operator: Operator, case: Case
) -> None:
    """PostgreSQL itself raises the error. Proves R-FAIL-18 and R-FAIL-19."""
    await operator.execute(
        f"""SET search_path TO {package.name};
        CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN RAISE EXCEPTION 'injected' USING ERRCODE = '{case.sqlstate}'; END $$;
        CREATE TRIGGER fail BEFORE INSERT ON thing EXECUTE FUNCTION fail()"""
    )
    before = await backend_pid(database)
    with pytest.raises(Unavailable, match=case.detail) as failure:
        await database.run("add", "a")
    assert failure.value.retry_after == 1.0
    assert (await backend_pid(database) != before) is case.replaced
    with pytest.raises(Unavailable, match=case.detail):
        async with database.transaction() as session:
            await session.run("add", "a")
    if case.ready:
        await database.check()
    else:
        with pytest.raises(NotUsable, match=case.detail):
            await database.check()
    assert await database.rows("names") == []  # reads still work
    await operator.execute("DROP TRIGGER fail ON thing")
    await database.run("add", "a")
    await database.check()


async def test_write_by_a_function_ends_an_outage_and_a_lock_does_not(
    package: Package, backing: DevStack, operator: Operator
) -> None:
    """The calls of functions are state's most frequent writes. Proves R-FAIL-19."""
    package.write(
        "migrations/0002_function.sql",
        """CREATE FUNCTION add_thing(new text) RETURNS void LANGUAGE sql
        AS $$ INSERT INTO thing (name) VALUES (new) $$""",
    )
    async with connect(backing.postgres_url, package) as database:
        await operator.execute(
            f"""SET search_path TO {package.name};
            CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN RAISE EXCEPTION 'injected' USING ERRCODE = '53100'; END $$;
            CREATE TRIGGER fail BEFORE INSERT ON thing EXECUTE FUNCTION fail()"""
        )
        with pytest.raises(Unavailable, match="no disk space"):
            await database.run("add_by_function", "a")
        await operator.execute("DROP TRIGGER fail ON thing")
        await database.run("lock")
        with pytest.raises(NotUsable, match="no disk space"):
            await database.check()
        await database.run("add_by_function", "a")
        await database.check()


async def test_read_only_database_recovers_without_a_restart(
    backing: DevStack,
    database: postgres.Database,
    operator: Operator,
    package: Package,
) -> None:
    """The pool replaces connections that were opened while the database was read-only. Proves R-FAIL-18."""
    role, name = urlsplit(backing.postgres_url).username, urlsplit(backing.postgres_url).path[1:]
    await operator.execute(
        f"ALTER ROLE {role} IN DATABASE {name} SET default_transaction_read_only TO on"
    )
    try:
        await operator.fetch(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1",
            f"svgx-{package.name}",
        )
        with pytest.raises(Unavailable):
            await database.run("add", "a")
        # Fill the pool with read-only connections.
        async with database.session(), database.session(), database.session():
            pass
        with pytest.raises(Unavailable, match="is read-only"):
            await database.run("add", "a")
        with pytest.raises(NotUsable, match="is read-only"):
            await database.check()
        assert await database.rows("names") == []
    finally:
        await operator.execute(
            f"ALTER ROLE {role} IN DATABASE {name} RESET default_transaction_read_only"
        )
    await until_usable(database)
    for number in range(3):
        await database.run("add", str(number))


async def test_changed_default_is_seen_on_the_open_connection(
    backing: DevStack, operator: Operator
) -> None:
    """The open connection shows a changed default, and then a new connection shows its effect. Proves R-FAIL-18."""
    role, name = f"changing_{secrets.token_hex(4)}", urlsplit(backing.postgres_url).path[1:]
    port = urlsplit(backing.postgres_url).port
    opened: list[Connection] = []
    hosts = Hosts(f"postgresql://{role}:own@127.0.0.1:{port}/{name}")

    async def connect(**options: Any) -> Connection:
        opened.append(await hosts.connect(**options))
        return opened[-1]

    async def nothing() -> None:
        pass

    admin = await asyncpg.connect(backing.postgres_superuser_url(name))
    watched = monitor.DatabaseMonitor(connect, "public", on_silent=nothing, on_usable=nothing)
    setting = f"ALTER ROLE {role} IN DATABASE {name} SET default_transaction_read_only TO"
    try:
        await admin.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'own'")
        assert [await watched.check() for _ in range(2)] == [None, None]
        assert len(opened) == 1
        await admin.execute(f"{setting} on")
        assert "read-only" in str(await watched.check())
        await admin.execute(f"{setting} off")
        assert await watched.check() is None
    finally:
        await watched.close()
        await admin.execute(f"DROP ROLE IF EXISTS {role}")
        await admin.close()


async def test_revoked_permission_fails_the_check_before_a_request_needs_it(
    database: postgres.Database, package: Package, operator: Operator
) -> None:
    """Proves R-FAIL-19: readiness asks for the permissions to read, insert, change and delete the rows of tables."""
    await database.check()
    role = await operator.fetchval("SELECT current_user")
    for right in ("SELECT", "UPDATE", "DELETE"):
        await operator.execute(f"REVOKE {right} ON {package.name}.thing FROM {role}")
        with pytest.raises(NotUsable, match="refuses the service's role"):
            await database.check()
        await operator.execute(f"GRANT {right} ON {package.name}.thing TO {role}")
    await operator.execute(f"REVOKE INSERT ON {package.name}.thing FROM {role}")
    with pytest.raises(NotUsable, match="refuses the service's role"):
        await database.check()
    with pytest.raises(Unavailable, match="refuses the service's role"):
        await database.run("add", "a")
    await operator.execute(f"GRANT INSERT ON {package.name}.thing TO {role}")
    await database.run("add", "a")
    await until_usable(database)


async def test_paused_postgresql_fails_new_requests_at_once(
    backing: DevStack, database: postgres.Database
) -> None:
    """A statement in progress fails after some seconds, later ones fail at once. Proves R-FAIL-18."""

    async def sleep() -> None:
        async with database.transaction(statement_seconds=60.0) as session:
            await session.row("sleep")

    server = backing.process("postgres")
    sleeping = asyncio.create_task(sleep())
    while not database.usage()["in_use"]:  # noqa: ASYNC110  # there is no event for it
        await asyncio.sleep(0)
    server.pause()
    try:
        began = time.monotonic()
        with pytest.raises(Unavailable, match="does not answer"):
            await sleeping
        assert time.monotonic() - began < 20  # the time limit of the statement is 60 s
        began = time.monotonic()
        for _ in range(10):
            with pytest.raises(Unavailable, match="does not answer"):
                await database.run("add", "a")
        with pytest.raises(NotUsable, match="does not answer"):
            await database.check()
        assert time.monotonic() - began < 5
    finally:
        server.resume()
    await until_usable(database)
    await database.run("add", "a")
    assert database.usage()["in_use"] == 0


@pytest.mark.parametrize("transaction", [False, True], ids=["session", "transaction"])
async def test_connection_that_an_operator_ends_is_reported_with_the_reason_of_the_server(
    database: postgres.Database, operator: Operator, transaction: bool
) -> None:
    """asyncpg hides the server's error behind errors about a closed connection. Proves R-FAIL-18."""

    async def sleep() -> None:
        async with database.transaction() if transaction else database.session() as session:
            row = await session.row("pid")
            assert row is not None
            pid.set_result(row["pid"])
            await session.row("sleep")

    pid: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    sleeping = asyncio.create_task(sleep())
    number = await pid
    while not await operator.fetchval(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
        f"WHERE pid = {number} AND query LIKE '%pg_sleep%' AND state = 'active'"
    ):
        pass
    with pytest.raises(Unavailable, match="is starting, stopping or recovering"):
        await sleeping


async def test_silent_postgresql_with_a_lost_connection_loses_the_others_too(
    database: postgres.Database, operator: Operator
) -> None:
    """A lost connection stays in use until the end of its transaction. Proves R-FAIL-18."""
    async with contextlib.AsyncExitStack() as lost:
        session = await lost.enter_async_context(database.transaction())
        row = await session.row("pid")
        assert row is not None
        sleeping = asyncio.create_task(database.row("sleep"))
        while database.usage()["in_use"] < 2:
            await pause()
        await operator.execute(f"SELECT pg_terminate_backend({row['pid']})")
        while database.usage()["in_use"] > 1:
            await pause()
        await database._drop_connections()  # the reaction to a silent server
        with pytest.raises(Unavailable):
            await sleeping
        with pytest.raises(Unavailable):
            await lost.aclose()


async def test_pause_of_this_process_does_not_count_as_silence_of_postgresql(
    database: postgres.Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer that arrives during a pause of this process is not too late. Proves R-FAIL-18."""
    await database.check()  # opens the monitor's connection
    monkeypatch.setattr(monitor, "ANSWER_SECONDS", 0.8)
    checking = asyncio.create_task(database.check())
    for _ in range(5):  # until the monitor has sent its statement
        await asyncio.sleep(0)
    time.sleep(0.9)  # noqa: ASYNC251  # a pause of the whole process
    await checking


class SlowToConnect:
    """Connections to a server that accepts the first one at once, and later ones when `accepts` is set."""

    def __init__(self, url: str, seconds: float) -> None:
        self.accepts = asyncio.Event()
        self.opened: list[Connection] = []
        self._hosts = Hosts(url)
        self._seconds = seconds

    async def connect(self, **options: Any) -> Connection:
        """Connect, or raise `TimeoutError` if the server does not accept the connection within `seconds`."""
        if self.opened:
            async with asyncio.timeout(self._seconds):
                await self.accepts.wait()
        self.opened.append(await self._hosts.connect(**options))
        return self.opened[-1]


@pytest.mark.parametrize("seconds", [3.0, 0.2], ids=["connecting", "timed-out"])
async def test_server_that_answers_but_connects_slowly_is_not_silent(
    backing: DevStack, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    """While the open connection answers, a slow new one is not silence, and cancels no statement. Proves R-FAIL-18."""
    monkeypatch.setattr(monitor, "RECONNECT_SECONDS", -1.0)
    monkeypatch.setattr(monitor, "ANSWER_SECONDS", 0.8)
    server = SlowToConnect(backing.postgres_url, seconds)
    silent: list[bool] = []

    async def on_silent() -> None:
        silent.append(True)

    async def on_usable() -> None:
        pass

    watched = monitor.DatabaseMonitor(
        server.connect, "public", on_silent=on_silent, on_usable=on_usable
    )
    try:
        for _ in range(3):
            assert await watched.check() is None
        assert len(server.opened) == 1
        server.accepts.set()
        async with asyncio.timeout(10):
            while len(server.opened) == 1 or not server.opened[0].is_closed():
                assert await watched.check() is None
                await pause()
        server.accepts.clear()
        process = backing.process("postgres")
        process.pause()
        try:
            assert "does not answer" in str(await watched.check())
        finally:
            process.resume()
        assert silent == [True]
    finally:
        await watched.close()
    assert all(connection.is_closed() for connection in server.opened)


async def test_connections_have_time_limits_for_a_frozen_replica(
    backing: DevStack, database: postgres.Database
) -> None:
    """With these settings, the server ends a frozen replica's transaction, and notices a lost machine.

    Proves R-FAIL-21.
    """
    expected = {
        "idle_in_transaction_session_timeout": "10s",
        "tcp_keepalives_idle": "10",
        "tcp_keepalives_interval": "3",
        "tcp_keepalives_count": "3",
    }
    for name, value in expected.items():
        row = await database.row("setting", name)
        assert row is not None
        assert row["value"] == value
    async with database.transaction(idle_seconds=7) as session:
        row = await session.row("setting", "idle_in_transaction_session_timeout")
        assert row is not None
        assert row["value"] == "7s"
        row = await session.row("pid")
        assert row is not None
    async with database.transaction(statement_seconds=60) as session:
        row = await session.row("setting", "statement_timeout")
        assert row is not None
        assert row["value"] == "1min"
    row = await database.row("setting", "idle_in_transaction_session_timeout")
    assert row is not None
    assert row["value"] == "10s"
    async with database._pool.acquire() as connection:
        sock = connection._con._transport.get_extra_info("socket")  # type: ignore[attr-defined]
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


@pytest.fixture
def frozen_host() -> Iterator[int]:
    """Return the port of a server to which clients can connect, and that never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize("first", ["refused", "frozen"])
async def test_second_host_is_used_when_the_first_one_does_not_answer(
    backing: DevStack,
    package: Package,
    frozen_host: int,
    monkeypatch: pytest.MonkeyPatch,
    first: str,
) -> None:
    """Proves R-FAIL-18: if a host refuses connections or does not answer, the next host of the URL is used."""
    monkeypatch.setattr(hosts, "HOST_CONNECT_SECONDS", 3.0)
    parts = urlsplit(backing.postgres_url)
    user, _, host = parts.netloc.rpartition("@")
    port = frozen_host if first == "frozen" else ports.choose()
    url = f"{parts.scheme}://{user}@127.0.0.1:{port},{host}{parts.path}"
    async with asyncio.timeout(40), connect(url, package) as database:
        await database.run("add", "a")
        began = time.monotonic()
        async with database.session(), database.session(), database.session():
            pass
        # The host that answered last is tried first.
        assert time.monotonic() - began < 2 * hosts.HOST_CONNECT_SECONDS
        await database.check()


@pytest.mark.parametrize(
    ("query", "detail"),
    [
        ("target_session_attrs=standby", "no host that fits target_session_attrs"),
        ("target_session_attrs=read-only", "no host that fits target_session_attrs"),
    ],
)
async def test_host_that_does_not_fit_is_not_used(
    backing: DevStack, package: Package, query: str, detail: str
) -> None:
    """Proves R-FAIL-18: a host without the `target_session_attrs` of the URL is not used."""
    async with connect(backing.postgres_url, package) as database:
        await database.run("add", "a")
    hosts = Hosts(f"{backing.postgres_url}?{query}")
    with pytest.raises(asyncpg.TargetServerAttributeNotMatched):
        await hosts.connect()
    failure = classify(asyncpg.TargetServerAttributeNotMatched("x"))
    assert failure is not None
    assert detail in failure.reason


async def test_start_waits_until_the_database_accepts_writes(
    backing: DevStack, package: Package, operator: Operator
) -> None:
    """Proves R-FAIL-18: a service that starts while the database is read-only does not end."""
    role, name = urlsplit(backing.postgres_url).username, urlsplit(backing.postgres_url).path[1:]
    await operator.execute(
        f"ALTER ROLE {role} IN DATABASE {name} SET default_transaction_read_only TO on"
    )
    try:

        async def start() -> None:
            async with connect(backing.postgres_url, package) as database:
                await database.run("add", "a")

        starting = asyncio.create_task(start())
        done, _ = await asyncio.wait({starting}, timeout=0.5)
        assert not done
    finally:
        await operator.execute(
            f"ALTER ROLE {role} IN DATABASE {name} RESET default_transaction_read_only"
        )
    async with asyncio.timeout(10):
        await starting
