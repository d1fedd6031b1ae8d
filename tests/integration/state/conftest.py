"""One replica for the tests that need no more, a client on the bus, and the database beneath."""

from collections.abc import AsyncIterator

import asyncpg
import pytest
import structlog

from svgx_common.messaging.bus import Bus
from svgx_devstack import DevStack
from tests.integration.state.service import Client, Tables, replica, user


@pytest.fixture(scope="session", autouse=True)
def _short_tracebacks() -> None:
    """structlog's own print all variables: megabytes here, during which nothing else runs."""
    renderer = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(processors=[structlog.processors.add_log_level, renderer])


@pytest.fixture
async def client(backing: DevStack) -> AsyncIterator[Client]:
    """A client on the bus; whoever answers is another fixture's or the test's matter."""
    bus = await Bus.connect(backing.nats_url("operator"), "gateway", "test")
    try:
        yield Client(bus, user())
    finally:
        await bus.close()


@pytest.fixture(scope="module")
async def service(backing: DevStack) -> AsyncIterator[None]:
    """One replica with the default settings."""
    async with replica(backing):
        yield


@pytest.fixture
async def tables(backing: DevStack) -> AsyncIterator[Tables]:
    """A connection of its own to the service's tables, which exist once a replica has started."""
    connection = await asyncpg.connect(
        backing.postgres_url, server_settings={"search_path": "state"}
    )
    try:
        yield connection
    finally:
        await connection.close()
