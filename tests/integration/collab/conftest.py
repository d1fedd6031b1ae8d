"""State in this process, and a gateway's connection to the bus."""

from collections.abc import AsyncIterator

import pytest

from svgx_common.messaging.bus import Bus
from svgx_devstack import DevStack
from tests.integration.collab.replica import Drawer
from tests.integration.state.service import Client, user
from tests.integration.state.service import replica as state_replica


@pytest.fixture(scope="module")
async def state(backing: DevStack) -> AsyncIterator[None]:
    """One state replica."""
    async with state_replica(backing):
        yield


@pytest.fixture
async def bus(backing: DevStack) -> AsyncIterator[Bus]:
    """What a gateway has."""
    bus = await Bus.connect(backing.nats_url("gateway"), "gateway", "test")
    try:
        yield bus
    finally:
        await bus.close()


@pytest.fixture
async def drawer(bus: Bus, state: None) -> Drawer:
    """Somebody who draws on a new canvas."""
    return Drawer(bus, await Client(bus, user()).create())
