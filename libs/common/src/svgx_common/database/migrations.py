"""Migrations: the files `sql/migrations/NNNN_*.sql` of a service, each applied once, in their order."""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from ssl import SSLCertVerificationError

import asyncpg
import structlog

from svgx_common.database.failures import PERMISSIONS, classify
from svgx_common.database.hosts import SERVER_SETTINGS, Connection, Hosts
from svgx_common.settings import WrongSetting

log = structlog.get_logger(__name__)

CLOSE_SECONDS = 5.0
"""Time limit for closing a connection, in seconds. Beyond it, the connection is dropped."""

_URL_VARIABLE = "POSTGRES_URL"

_SERVER_SETTINGS = {**SERVER_SETTINGS, "statement_timeout": "0"}
"""The settings of a pool's connections, but without a time limit for statements.

A migration, or the wait for another replica's migration, may take any length of time.
"""

LOCK_SECONDS = 2
"""Seconds for which a statement of a migration waits for a lock. Beyond them, the migration is undone.

PostgreSQL queues the statements of the services behind the waiting statement, because it conflicts with them. The limit
exceeds `deadlock_timeout` (1 s), after which PostgreSQL cancels an autovacuum that has the lock.
"""

LOCK_PAUSE_SECONDS = 10.0
"""Pause before an undone migration begins again, in seconds. The services' statements run in it."""

_LOCK_LOG_SECONDS = 60.0
"""Seconds between two log lines about a migration that does not get its locks."""


@dataclass(frozen=True, slots=True)
class Migration:
    """A file of statements that changes the schema from one version of the service to the next."""

    name: str
    sql: str


def migrations_of(package: str) -> list[Migration]:
    """Return the migrations of a package, in their order."""
    folder = files(package).joinpath("sql/migrations")
    scripts = [each for each in folder.iterdir() if each.name.endswith(".sql")]
    scripts.sort(key=lambda script: script.name)
    return [Migration(script.name, script.read_text()) for script in scripts]


async def find_applied(connection: Connection) -> list[str]:
    """Return the names of the applied migrations, in their order. The connection's `search_path` is the schema."""
    if await connection.fetchval("SELECT to_regclass('migration')") is None:
        return []
    rows = await connection.fetch("SELECT name FROM migration ORDER BY name")
    return [row["name"] for row in rows]


async def apply_when_usable(
    hosts: Hosts, schema: str, package: str, *, wait_seconds: float | None = None
) -> list[str]:
    """Apply the missing migrations, and return their names.

    While PostgreSQL cannot be used, log this once, and try again. Raise the error if the role lacks permissions, or if
    the error is not temporary.

    `wait_seconds` limits the wait for PostgreSQL, counted from the call; None means no limit. Beyond this limit, raise
    `TimeoutError`. The limit ends when a migration begins, in this process or in another replica, because a cancelled
    migration would have to begin again. When a migration fails, the limit applies again, from the first failure on.
    """
    clock = asyncio.get_running_loop().time
    retry_until: float | None = None
    waiting = False

    def lift_limit() -> None:
        if not limit.expired():
            limit.reschedule(None)

    async with asyncio.timeout(wait_seconds) as limit:
        while True:
            try:
                return await apply(hosts, schema, package, lift_limit)
            except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, EOFError) as error:
                failure = classify(error)
                if failure is None or failure is PERMISSIONS:
                    raise
                if not waiting:
                    log.warning("waiting for postgresql", reason=f"the database {failure.reason}")
                waiting = True
                if wait_seconds is not None and limit.when() is None:
                    retry_until = retry_until or clock() + wait_seconds
                    limit.reschedule(retry_until)
                await asyncio.sleep(0.2)


async def apply(
    hosts: Hosts, schema: str, package: str, on_migrating: Callable[[], None] = lambda: None
) -> list[str]:
    """Apply the missing migrations, and return their names.

    Call `on_migrating` before this process, or another replica, applies a migration. From then on, `apply` may take
    any time. It also waits without a limit while another transaction, such as a dump, has a lock that a migration
    needs.
    """
    connection = await _first_connection(hosts)
    try:
        # Only one replica migrates at a time. The others wait for the lock and then find no missing migration.
        lock = f"svgx.{schema}"
        if not await connection.fetchval("SELECT pg_try_advisory_lock(hashtext($1))", lock):
            on_migrating()
            await connection.execute("SELECT pg_advisory_lock(hashtext($1))", lock)
        # CREATE … IF NOT EXISTS requires the right to create, also when the object exists. The role may lack this right
        # if another role applies the migrations.
        if await connection.fetchval("SELECT to_regnamespace(quote_ident($1)) IS NULL", schema):
            await connection.execute(f'CREATE SCHEMA "{schema}"')
        if not await connection.fetchval("SELECT has_schema_privilege($1, 'USAGE')", schema):
            raise WrongSetting(_URL_VARIABLE, f"its role needs GRANT USAGE ON SCHEMA {schema}")
        await connection.execute(f'SET search_path TO "{schema}"')
        if await connection.fetchval("SELECT to_regclass('migration') IS NULL"):
            await connection.execute(
                "CREATE TABLE migration (name text PRIMARY KEY, at timestamptz NOT NULL DEFAULT now())"
            )
        applied = await find_applied(connection)
        missing = [each for each in migrations_of(package) if each.name not in applied]
        for migration in missing:
            on_migrating()
            await _apply_with_locks(connection, migration)
            log.info("migrated", schema=schema, migration=migration.name)
        if missing:
            await _create_statistics(connection)
        return [each.name for each in missing]
    finally:
        # asyncpg drops the connection if the server does not confirm the end. An error here would hide a cancellation.
        with contextlib.suppress(
            TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError
        ):
            await connection.close(timeout=CLOSE_SECONDS)


async def _apply_with_locks(connection: Connection, migration: Migration) -> None:
    """Apply one migration. If it does not get its locks, undo it, pause and begin again.

    Log this once a minute at most.
    """
    clock = asyncio.get_running_loop().time
    log_at = clock()
    while True:
        try:
            async with connection.transaction():
                await connection.execute(f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'")
                await connection.execute(migration.sql)
                await connection.execute("INSERT INTO migration (name) VALUES ($1)", migration.name)
        except asyncpg.LockNotAvailableError:
            if clock() >= log_at:
                log.warning("a migration waits for locks of tables", migration=migration.name)
                log_at = clock() + _LOCK_LOG_SECONDS
            await asyncio.sleep(LOCK_PAUSE_SECONDS)
        else:
            return


async def _create_statistics(connection: Connection) -> None:
    """Create the extension `pg_stat_statements` if the server has loaded it and the role may create it.

    Only performance tuning reads it. It is in the schema `public`, because a restore replaces the services' schemas.
    """
    is_usable = await connection.fetchval(
        "SELECT current_setting('pg_stat_statements.max', true) IS NOT NULL "
        "AND NOT EXISTS (SELECT FROM pg_extension WHERE extname = 'pg_stat_statements')"
    )
    if not is_usable:
        return
    try:
        await connection.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements SCHEMA public")
    except asyncpg.PostgresError as error:
        # Most roles lack the right. Another service may create the extension at the same moment.
        log.info("pg_stat_statements was not created", error=type(error).__name__)
    else:
        log.info("created the extension pg_stat_statements")


async def _first_connection(hosts: Hosts) -> Connection:
    """Connect, and retry until PostgreSQL is up. Raise `WrongSetting` for a wrong URL, password or database name.

    Each reason of the wait is logged once.
    """
    logged: list[dict[str, str]] = []
    while True:
        try:
            return await hosts.connect(server_settings=_SERVER_SETTINGS)
        except asyncpg.InvalidAuthorizationSpecificationError:
            raise WrongSetting(_URL_VARIABLE, "the server refuses its user or password") from None
        except asyncpg.InvalidCatalogNameError:
            raise WrongSetting(_URL_VARIABLE, "the server does not have its database") from None
        except (asyncpg.PostgresError, asyncpg.InternalClientError, OSError, EOFError) as error:
            reason = {"error": type(error).__name__}
            if isinstance(error, SSLCertVerificationError):
                reason["detail"] = error.verify_message
            if reason not in logged:
                log.warning("waiting for postgresql", **reason)
                logged.append(reason)
            await asyncio.sleep(0.2)
        except ValueError:  # after `OSError`, because a refused certificate is both
            raise WrongSetting(_URL_VARIABLE, "asyncpg cannot read it") from None
