"""Fixtures for end-to-end tests: a workspace on the shared stack."""

from collections.abc import AsyncIterator

import pytest

from svgx_devstack import DevStack
from tests.e2e.clients.workspace import Workspace, open_workspace
from tests.e2e.clients.yjs_driver import YjsDriver


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
