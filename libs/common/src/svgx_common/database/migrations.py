"""Migrations: the files `sql/migrations/NNNN_*.sql` of a service, each applied once, in their order."""

import asyncio
from dataclasses import dataclass
from importlib.resources import files

import asyncpg
import structlog

from svgx_common.database.failures import PERMISSIONS, classify
from svgx_common.database.hosts import Connection, Hosts
from svgx_common.settings import WrongSetting

log = structlog.get_logger(__name__)

_URL_VARIABLE = "POSTGRES_URL"


@dataclass(frozen=True, slots=True)
class Migration:
    """A file of statements that changes the schema from one version of the service to the next."""

    name: str
    sql: str


def migrations_of(package: str) -> list[Migration]:
    """Return the migrations of a package, in their order."""
    folder = files(package).joinpath("sql/migrations")
    found = [each for each in folder.iterdir() if each.name.endswith(".sql")]
    return [Migration(each.name, each.read_text()) for each in sorted(found, key=lambda f: f.name)]


async def find_applied(connection: Connection) -> list[str]:
    """Return the names of the applied migrations, in their order. The connection's `search_path` is the schema."""
    if await connection.fetchval("SELECT to_regclass('migration')") is None:
        return []
    rows = await connection.fetch("SELECT name FROM migration ORDER BY name")
    return [row["name"] for row in rows]


async def apply_when_usable(hosts: Hosts, schema: str, package: str) -> list[str]:
    """Apply the missing migrations, and return their names.

    While PostgreSQL cannot be used, log this once, and try again. Raise the error if the role lacks permissions, or if
    the error does not pass by itself.
    """
    waiting = False
    while True:
        try:
            return await apply(hosts, schema, package)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, EOFError) as error:
            failure = classify(error)
            if failure is None or failure is PERMISSIONS:
                raise
            if not waiting:
                log.warning("waiting for postgresql", reason=f"the database {failure.reason}")
            waiting = True
            await asyncio.sleep(0.2)


async def apply(hosts: Hosts, schema: str, package: str) -> list[str]:
    """Apply the missing migrations, and return their names."""
    connection = await _first_connection(hosts)
    try:
        # Only one replica migrates at a time. The others wait for the lock and then find no missing migration.
        await connection.execute("SELECT pg_advisory_lock(hashtext($1))", f"svgx.{schema}")
        await connection.execute(f'CREATE SCHEMA IF NOT EXISTS "{schema}"')
        await connection.execute(f'SET search_path TO "{schema}"')
        await connection.execute(
            "CREATE TABLE IF NOT EXISTS migration (name text PRIMARY KEY, at timestamptz NOT NULL DEFAULT now())"
        )
        applied = await find_applied(connection)
        missing = [each for each in migrations_of(package) if each.name not in applied]
        for migration in missing:
            async with connection.transaction():
                await connection.execute(migration.sql)
                await connection.execute("INSERT INTO migration (name) VALUES ($1)", migration.name)
            log.info("migrated", schema=schema, migration=migration.name)
        return [each.name for each in missing]
    finally:
        await connection.close()


async def _first_connection(hosts: Hosts) -> Connection:
    """Connect, and retry until PostgreSQL is up. Raise `WrongSetting` for a wrong URL, password or database name."""
    waiting = False
    while True:
        try:
            return await hosts.connect(command_timeout=300)
        except asyncpg.InvalidAuthorizationSpecificationError:
            raise WrongSetting(_URL_VARIABLE, "the server refuses its user or password") from None
        except asyncpg.InvalidCatalogNameError:
            raise WrongSetting(_URL_VARIABLE, "the server does not have its database") from None
        except ValueError:
            raise WrongSetting(_URL_VARIABLE, "asyncpg cannot read it") from None
        except (asyncpg.PostgresError, asyncpg.InternalClientError, OSError, EOFError) as error:
            if not waiting:
                log.warning("waiting for postgresql", error=type(error).__name__)
            waiting = True
            await asyncio.sleep(0.2)
