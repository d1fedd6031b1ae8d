"""The extension `pg_stat_statements`, which the services create if they may.

PostgreSQL of the tests lacks this extension. A view in its place is enough, because the services never read it.
"""

import secrets
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

from svgx_common.database import migrations
from svgx_common.database.hosts import Connection, Hosts
from svgx_devstack import DevStack
from tests.integration.common.test_postgres import Package

CONTROL = "default_version = '1.0'\nsuperuser = true\nrelocatable = true\n"
SCRIPT = "CREATE VIEW pg_stat_statements AS SELECT 1 AS calls;\n"
INSTALLED = "SELECT count(*) FROM pg_extension WHERE extname = 'pg_stat_statements'"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Package:
    monkeypatch.syspath_prepend(tmp_path)
    return Package(tmp_path)


@pytest.fixture
def extensions() -> Iterator[Path]:
    """Write the extension's files into a folder that the server can read, also if it runs as another user."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        folder = Path(name) / "extension"
        folder.mkdir(mode=0o755)
        (folder / "pg_stat_statements.control").write_text(CONTROL)
        (folder / "pg_stat_statements--1.0.sql").write_text(SCRIPT)
        yield Path(name)


@pytest.fixture
async def superuser(backing: DevStack, extensions: Path) -> AsyncIterator[Connection]:
    """Make a database of the services' role with the extension's files. Return a superuser's connection to it."""
    name = f"statistics_{secrets.token_hex(4)}"
    owner = urlsplit(backing.postgres_url).username
    operator = await asyncpg.connect(backing.postgres_superuser_url("postgres"))
    await operator.execute(f"CREATE DATABASE {name} OWNER {owner}")
    path = f"{extensions}:$system"
    await operator.execute(f"ALTER DATABASE {name} SET extension_control_path = '{path}'")
    connection = await asyncpg.connect(backing.postgres_superuser_url(name))
    yield connection
    await connection.close()
    await operator.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await operator.close()


async def load_statistics(superuser: Connection) -> str:
    """Make the server look as if it had loaded `pg_stat_statements`, and return the name of the database."""
    name: str = await superuser.fetchval("SELECT current_database()")
    await superuser.execute(f"ALTER DATABASE {name} SET pg_stat_statements.max = 5000")
    return name


async def test_migrations_of_a_superuser_create_the_loaded_extension_once(
    backing: DevStack, package: Package, superuser: Connection
) -> None:
    """The extension is in the schema `public`, which a restore of the services' schemas keeps. Proves R-CONFIG-8."""
    url = backing.postgres_superuser_url(await load_statistics(superuser))
    for schema in (package.name, f"{package.name}_2"):
        assert await migrations.apply(Hosts(url), schema, package.name) == ["0001_thing.sql"]
        assert await superuser.fetchval(INSTALLED) == 1
    assert await superuser.fetchval("SELECT calls FROM public.pg_stat_statements") == 1


async def test_migrations_of_a_role_without_the_right_leave_the_extension_out(
    backing: DevStack, package: Package, superuser: Connection
) -> None:
    """The migrations are applied all the same. Proves R-CONFIG-8."""
    name = await load_statistics(superuser)
    url = urlsplit(backing.postgres_url)._replace(path=f"/{name}").geturl()
    assert await migrations.apply(Hosts(url), package.name, package.name) == ["0001_thing.sql"]
    assert await superuser.fetchval(INSTALLED) == 0
    assert await superuser.fetchval("SELECT to_regclass($1) IS NOT NULL", f"{package.name}.thing")


async def test_migrations_on_a_server_that_has_not_loaded_the_extension_leave_it_out(
    backing: DevStack, package: Package, superuser: Connection
) -> None:
    """The extension's view would only fail there. Proves R-CONFIG-8."""
    url = backing.postgres_superuser_url(await superuser.fetchval("SELECT current_database()"))
    assert await migrations.apply(Hosts(url), package.name, package.name) == ["0001_thing.sql"]
    assert await superuser.fetchval(INSTALLED) == 0
