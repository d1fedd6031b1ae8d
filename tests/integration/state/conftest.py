"""A replica, a client on the bus, and a connection to the database."""

from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from svgx_common.messaging.bus import Bus
from svgx_devstack import DevStack
from svgx_state.backups import creation
from svgx_state.snapshots import Compactor
from svgx_workers.pool import Workers
from tests.integration.state.backup_site import Site
from tests.integration.state.fresh_tables import FreshTables, new_schema
from tests.integration.state.service import Client, Tables, directory, replica, user
from tests.integration.state.vault import Vault, database, run_stand_ins


@pytest.fixture
async def client(backing: DevStack) -> AsyncIterator[Client]:
    """A client on the bus. The test starts the replicas, or uses `service`."""
    bus = await Bus.connect(backing.nats_url("operator"), "gateway", "test")
    try:
        async with directory(backing) as accounts:
            yield Client(bus, user(), accounts)
    finally:
        await bus.close()


@pytest.fixture(scope="module")
async def service(backing: DevStack) -> AsyncIterator[None]:
    """A running replica with one worker, and otherwise the default settings."""
    async with replica(backing):
        yield


@pytest.fixture(scope="module")
async def own_database(backing: DevStack) -> AsyncIterator[str]:
    """A new database for the tests of a file."""
    async with database(backing) as url:
        yield url


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The target of the module's backups."""
    return tmp_path_factory.mktemp("backups")


@pytest.fixture
async def tables(backing: DevStack) -> AsyncIterator[Tables]:
    """A separate connection to the service's tables. The tables exist once a replica has started."""
    connection = await asyncpg.connect(
        backing.postgres_url, server_settings={"search_path": "state"}
    )
    try:
        yield connection
    finally:
        await connection.close()


@pytest.fixture(scope="module")
async def schema(backing: DevStack) -> AsyncIterator[FreshTables]:
    """Tables in a new schema for the tests of a file."""
    async with new_schema(backing) as schema:
        yield schema


@pytest.fixture
async def fresh(schema: FreshTables) -> FreshTables:
    """The tables without canvases and without partitions."""
    await schema.clear()
    return schema


@pytest.fixture(scope="module")
async def workers() -> AsyncIterator[Workers]:
    """One worker process for the tests of a file."""
    async with Workers(1, 0, 30) as workers:
        yield workers


@pytest.fixture
def compactor(fresh: FreshTables, workers: Workers) -> Compactor:
    """A compactor that compacts only when the test calls it."""
    return fresh.compactor(workers)


@pytest.fixture
async def site(
    backing: DevStack, client: Client, own_database: str, tmp_path: Path
) -> AsyncIterator[Site]:
    """A database, an empty folder, and stand-ins for auth and collab, without a replica."""
    async with run_stand_ins(backing, client):
        yield Site(backing, own_database, Vault(client, tmp_path))


@pytest.fixture
def small_objects(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make each canvas an object of its own."""
    monkeypatch.setattr(creation, "OBJECT_BYTES", 1)
