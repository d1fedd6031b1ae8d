"""Two connections to the bus: one that sends requests, and one that answers them."""

from collections.abc import AsyncIterator

import pytest

from svgx_common.messaging.bus import Bus
from svgx_devstack import DevStack
from tests.integration.common.example_operations import service_bus


@pytest.fixture
async def gateway_bus(backing: DevStack) -> AsyncIterator[Bus]:
    """Connect to the bus as a gateway, which sends requests."""
    bus = await service_bus(backing, "gateway")
    yield bus
    await bus.close()


@pytest.fixture
async def state_bus(backing: DevStack) -> AsyncIterator[Bus]:
    """Connect to the bus as a state replica, which answers requests."""
    bus = await service_bus(backing, "state", "one")
    yield bus
    await bus.close()
