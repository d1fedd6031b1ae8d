"""The real parts, for all tests that need them: they start in a second, so nothing is mocked.

`backing`: NATS, PostgreSQL and Valkey, no service; for tests that run one service in this process.
`stack`: everything as separate processes, as `make run` starts it.
Both live as long as the test session, in temporary folders. A test that kills something brings it back.
"""

import asyncio
from collections.abc import AsyncIterator

import pytest

from svgx_devstack import DevStack
from tests import leaks
from tests.limits import ROOMY


@pytest.fixture(scope="session")
async def backing(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[DevStack]:
    """A stack of backing servers only."""
    stack = DevStack(tmp_path_factory.mktemp("backing"))
    await stack.up(backing_only=True)
    try:
        yield stack
        # Proves R-OBS-5, over everything that all the tests made it write.
        assert await asyncio.to_thread(leaks.find, stack) == []
    finally:
        await stack.down()


@pytest.fixture(scope="session")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[DevStack]:
    """The whole stack."""
    # The tests are the proxy in front, which says where requests come from.
    settings = {**ROOMY, "TRUSTED_PROXIES": "127.0.0.1"}
    async with DevStack(tmp_path_factory.mktemp("stack"), settings=settings) as stack:
        yield stack
        # Proves R-OBS-5, over everything that all the tests made it write.
        assert await asyncio.to_thread(leaks.find, stack) == []
