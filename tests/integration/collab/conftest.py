"""A state replica in this process, worker processes, and a connection to the bus."""

from collections.abc import AsyncIterator

import pytest

from svgx_collab.content.edit_history import EditHistory
from svgx_collab.content.element_changes import ElementChanges
from svgx_collab.content.element_edits import ElementEdits
from svgx_common import redis
from svgx_common.messaging.bus import Bus
from svgx_common.redis import Redis
from svgx_devstack import DevStack
from svgx_workers.pool import Workers
from tests.integration.collab.replica import WORKER_MEMORY, Editor
from tests.integration.state.service import Client, user
from tests.integration.state.service import replica as state_replica


@pytest.fixture(scope="module")
async def state(backing: DevStack) -> AsyncIterator[None]:
    """Run a state replica."""
    async with state_replica(backing):
        yield


@pytest.fixture
async def bus(backing: DevStack) -> AsyncIterator[Bus]:
    """Yield a connection to the bus under a gateway's name, with the permissions of the NATS user `operator`."""
    bus = await Bus.connect(backing.nats_url("operator"), "gateway", "test")
    try:
        yield bus
    finally:
        await bus.close()


@pytest.fixture(scope="module")
async def workers() -> AsyncIterator[Workers]:
    """Yield a pool of two worker processes. An account may use one at a time."""
    async with Workers(2, WORKER_MEMORY, 30, waiting_each=0) as workers:
        yield workers


@pytest.fixture
async def editor(bus: Bus, state: None) -> Editor:
    """Return an editor of a new canvas."""
    return Editor(bus, await Client(bus, user()).create())


@pytest.fixture
async def redis_client(backing: DevStack) -> AsyncIterator[Redis]:
    """Yield a client of Redis."""
    client = redis.connect(backing.redis_url)
    try:
        yield client
    finally:
        await client.aclose()


@pytest.fixture
def changes(bus: Bus, workers: Workers, redis_client: Redis) -> ElementChanges:
    """Return the changes of elements on a replica."""
    return ElementChanges(ElementEdits(bus, workers), EditHistory(redis_client))
