"""Two ends of the bus."""

from collections.abc import AsyncIterator

import pytest

from svgx_common.messaging.bus import Bus
from svgx_devstack import DevStack
from tests.integration.common.party import service_bus


@pytest.fixture
async def asker(backing: DevStack) -> AsyncIterator[Bus]:
    """A gateway's connection."""
    bus = await service_bus(backing, "gateway")
    yield bus
    await bus.close()


@pytest.fixture
async def answerer(backing: DevStack) -> AsyncIterator[Bus]:
    """A state replica's connection."""
    bus = await service_bus(backing, "state", "one")
    yield bus
    await bus.close()
