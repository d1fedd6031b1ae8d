"""The first start: who becomes admin, and what is said when nobody can."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from structlog.testing import CapturingLogger

from svgx_auth import app
from svgx_devstack import DevStack
from tests.integration.auth.conftest import Tables, replica


async def admins(tables: Tables) -> int:
    count: int = await tables.fetchval("SELECT count(*) FROM account WHERE role = 'admin'")
    return count


@pytest.fixture(autouse=True)
async def nobody(tables: Tables) -> AsyncIterator[None]:
    """No account at all."""
    await tables.execute("TRUNCATE account CASCADE")
    yield
    await tables.execute("TRUNCATE account CASCADE")


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> CapturingLogger:
    """What the composition root logs."""
    logger = CapturingLogger()
    monkeypatch.setattr(app, "log", logger)
    return logger


async def start(backing: DevStack, admin: str, password: str = "long enough by far") -> None:
    async with replica(backing, admin=admin, admin_password=password):
        pass


@pytest.mark.parametrize("names", [("Root", "Root", "Root"), ("Root", "Boss", "Chief")])
async def test_replicas_that_start_at_once_make_one_admin(
    backing: DevStack, tables: Tables, names: tuple[str, ...]
) -> None:
    """Proves R-AUTH-4, also while a roll-out changes the admin's name."""
    await asyncio.gather(*(start(backing, name) for name in names))
    assert await admins(tables) == 1


async def test_an_admin_is_not_made_twice(backing: DevStack, tables: Tables) -> None:
    """Proves R-AUTH-4: later settings change nothing."""
    await start(backing, "Root")
    await start(backing, "Boss")
    assert await tables.fetchval("SELECT array_agg(username) FROM account") == ["Root"]


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        (("", ""), ["SVGX_ADMIN_EMAIL", "SVGX_ADMIN_PASSWORD", "SVGX_ADMIN_USERNAME"]),
        (("Root", "too short"), ["SVGX_ADMIN_PASSWORD"]),
        (("Root", "password1234"), ["SVGX_ADMIN_PASSWORD"]),
    ],
)
async def test_without_its_settings_the_service_runs_and_says_so(
    backing: DevStack,
    tables: Tables,
    said: CapturingLogger,
    given: tuple[str, str],
    missing: list[str],
) -> None:
    """Proves R-AUTH-4: the variables are named, their values are not."""
    await start(backing, *given)
    (call,) = said.calls
    assert (call.method_name, call.kwargs) == ("warning", {"variables": missing})
    assert await admins(tables) == 0


async def test_a_name_that_somebody_else_has_is_no_admins(
    backing: DevStack, tables: Tables, said: CapturingLogger
) -> None:
    """Proves R-AUTH-4: nobody is made admin by accident, and the log says what to change."""
    await start(backing, "Root")
    await tables.execute("UPDATE account SET role = 'editor'")
    said.calls.clear()
    await start(backing, "Root")
    (call,) = said.calls
    assert (call.method_name, call.kwargs) == ("warning", {"variables": ["SVGX_ADMIN_USERNAME"]})
    assert await admins(tables) == 0
