"""At its first start, auth creates the first admin, or logs the reason why it cannot."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from structlog.testing import CapturingLogger

from svgx_auth import app
from svgx_auth.commands import doctor
from svgx_common.doctor.findings import Status
from svgx_devstack import DevStack
from tests.integration.auth.conftest import Tables, replica


async def count_admins(tables: Tables) -> int:
    count: int = await tables.fetchval("SELECT count(*) FROM account WHERE role = 'admin'")
    return count


@pytest.fixture(autouse=True)
async def no_accounts(tables: Tables) -> AsyncIterator[None]:
    """Remove all accounts before and after the test."""
    await tables.execute("TRUNCATE account CASCADE")
    yield
    await tables.execute("TRUNCATE account CASCADE")


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> CapturingLogger:
    """The log of the composition root."""
    logger = CapturingLogger()
    monkeypatch.setattr(app, "log", logger)
    return logger


async def start_and_stop(
    backing: DevStack, admin: str, password: str = "long enough by far"
) -> None:
    """Run one replica until it has started, and stop it."""
    async with replica(backing, admin=admin, admin_password=password):
        pass


@pytest.mark.parametrize("names", [("Root", "Root", "Root"), ("Root", "Boss", "Chief")])
async def test_simultaneous_starts_create_one_admin(
    backing: DevStack, tables: Tables, names: tuple[str, ...]
) -> None:
    """Proves R-AUTH-4: replicas that start at the same time create one admin, even with different settings."""
    await asyncio.gather(*(start_and_stop(backing, name) for name in names))
    assert await count_admins(tables) == 1


async def test_later_start_creates_no_second_admin(backing: DevStack, tables: Tables) -> None:
    """Proves R-AUTH-4: when an admin exists, the settings are ignored."""
    await start_and_stop(backing, "Root")
    await start_and_stop(backing, "Boss")
    assert await tables.fetchval("SELECT array_agg(username) FROM account") == ["Root"]


@pytest.mark.parametrize(
    ("settings", "unusable"),
    [
        (("", ""), ["SVGX_ADMIN_EMAIL", "SVGX_ADMIN_PASSWORD", "SVGX_ADMIN_USERNAME"]),
        (("Root", "too short"), ["SVGX_ADMIN_PASSWORD"]),
        (("Root", "password1234"), ["SVGX_ADMIN_PASSWORD"]),
    ],
)
async def test_unusable_admin_settings_are_logged(
    backing: DevStack,
    tables: Tables,
    logged: CapturingLogger,
    settings: tuple[str, str],
    unusable: list[str],
) -> None:
    """Proves R-AUTH-4: without usable settings, the service runs, and logs the variables' names but no values."""
    await start_and_stop(backing, *settings)
    (call,) = logged.calls
    assert (call.method_name, call.kwargs) == ("warning", {"variables": unusable})
    assert await count_admins(tables) == 0


async def test_start_without_an_active_admin_creates_none_and_is_logged(
    backing: DevStack, tables: Tables, logged: CapturingLogger
) -> None:
    """Proves R-AUTH-4: a start does not replace disabled admins, and logs that there is no active admin."""
    await start_and_stop(backing, "Root")
    await start_and_stop(backing, "Root")
    assert [call.method_name for call in logged.calls] == ["info"]
    await tables.execute("UPDATE account SET disabled_at = clock_timestamp()")
    logged.calls.clear()
    await start_and_stop(backing, "Boss")
    (call,) = logged.calls
    assert call.method_name == "warning"
    assert "no active admin" in call.args[0]
    assert await count_admins(tables) == 1


async def test_doctor_warns_while_no_admin_is_active(backing: DevStack, tables: Tables) -> None:
    """Proves R-CONFIG-7: the doctor reports an active admin, and warns while all admins are disabled."""
    await start_and_stop(backing, "Root")
    check = doctor.checks({"postgres_url": backing.postgres_url})["admin"]
    assert check is not None
    assert [finding.status for finding in await check()] == [Status.OK]
    await tables.execute("UPDATE account SET disabled_at = clock_timestamp()")
    assert [finding.status for finding in await check()] == [Status.WARNING]


async def test_existing_account_does_not_become_admin(
    backing: DevStack, tables: Tables, logged: CapturingLogger
) -> None:
    """Proves R-AUTH-4: an existing account does not become admin, and the log names the variable to change."""
    await start_and_stop(backing, "Root")
    await tables.execute("UPDATE account SET role = 'editor'")
    logged.calls.clear()
    await start_and_stop(backing, "Root")
    (call,) = logged.calls
    assert (call.method_name, call.kwargs) == ("warning", {"variables": ["SVGX_ADMIN_USERNAME"]})
    assert await count_admins(tables) == 0
