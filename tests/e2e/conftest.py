"""Fixtures for end-to-end tests: a workspace on the shared stack, and stacks that groups of test files share.

`tests/groups.py` names the files that share each stack.
"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from svgx_devstack import DevStack
from tests import leaks
from tests.e2e.clients.workspace import Workspace, open_workspace
from tests.e2e.clients.yjs_driver import YjsDriver
from tests.e2e.cluster.configured import start_configured_stack
from tests.limits import HIGH_LIMITS


@pytest.fixture(scope="session")
async def shared_workspace(stack: DevStack, driver: YjsDriver) -> AsyncIterator[Workspace]:
    """Open a workspace on the shared stack."""
    async with open_workspace(stack, driver) as workspace:
        yield workspace


@pytest.fixture
async def workspace(shared_workspace: Workspace) -> AsyncIterator[Workspace]:
    """Return the shared workspace, and destroy its Yjs clients after the test."""
    yield shared_workspace
    await shared_workspace.destroy_all()


@pytest.fixture
async def canvas(workspace: Workspace) -> str:
    """Create an empty canvas of the workspace's owner, and return its id."""
    return await workspace.create_canvas()


@pytest.fixture(scope="session")
async def killed_stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[DevStack]:
    """Start a stack for tests that measure and kill its processes."""
    # Other tests use the processor at the same time, so rendering may take longer than the default permits.
    settings = {**HIGH_LIMITS, "WORKER_TIMEOUT_SECONDS": "55"}
    async with DevStack(tmp_path_factory.mktemp("killed"), settings=settings) as stack:
        yield stack


@pytest.fixture(scope="session")
async def changed_stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[DevStack]:
    """Start a stack for tests that change its accounts, sessions and limits."""
    # The tests act as a trusted proxy, so that log-ins and fuzzed requests can have different client addresses.
    settings = {**HIGH_LIMITS, "TRUSTED_PROXIES": "127.0.0.1"}
    async with DevStack(tmp_path_factory.mktemp("changed"), settings=settings) as stack:
        yield stack
        assert await asyncio.to_thread(leaks.find_leaks, stack) == []


@pytest.fixture(scope="session")
def key_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the path of the signing-key file of `configured_stack`."""
    return tmp_path_factory.mktemp("keys") / "keys.json"


@pytest.fixture(scope="session")
async def configured_stack(
    tmp_path_factory: pytest.TempPathFactory, key_file: Path
) -> AsyncIterator[DevStack]:
    """Start a stack with one configuration file and a file of signing keys."""
    async with start_configured_stack(tmp_path_factory.mktemp("configured"), key_file) as stack:
        yield stack
