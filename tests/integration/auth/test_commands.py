"""The commands of operators: the first admin, a lost password, and migrations."""

import asyncio
import io
import re
import secrets
from collections.abc import AsyncIterator

import asyncpg
import pytest

from svgx_auth.commands import create_admin, database, reset_password
from svgx_auth.settings import AuthSettings
from svgx_common import logs
from svgx_common.contract.audit import LIST_AUDIT, AuditEvent, ListAuditRequest
from svgx_common.contract.auth import UPDATE_USER, UpdateUserRequest, User
from svgx_common.contract.errors import InvalidCredentials
from svgx_common.contract.policy import Role
from svgx_common.contract.revocations import REVOKED
from svgx_common.database import commands as database_commands
from svgx_common.messaging.bus import Bus
from svgx_devstack import DevStack
from tests.blocked import until_blocked
from tests.integration.auth.conftest import SECRET
from tests.integration.auth.test_accounts import PASSWORD, create, login
from tests.integration.auth.test_sessions import expect_refused_refresh

NEW_PASSWORD = "nine paper boats at dawn"


@pytest.fixture(autouse=True)
def settings(backing: DevStack, monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the environment of the commands, and keep the commands from configuring the logs of this process."""
    for name, value in {
        "POSTGRES_URL": backing.postgres_url,
        "NATS_URL": backing.nats_url("auth"),
        "JWT_SECRET": SECRET,
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(logs, "configure", lambda *_: None)


def give_password(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(text))


async def create_with_command(name: str, *more: str) -> None:
    arguments = ["--username", name, "--email", f"{name}@example.org", *more]
    await asyncio.to_thread(create_admin.main, arguments)


def shown_password(text: str) -> str:
    """Return the password that a command printed."""
    match = re.search(r"^password: (\S+)$", text, re.MULTILINE)
    assert match is not None, text
    return match[1]


async def events_of(bus: Bus, user: User) -> list[tuple[AuditEvent, str | None, str]]:
    """Return the events of an account: the kind, the actor's id and the user agent of each."""
    page = await bus.ask(LIST_AUDIT, ListAuditRequest(user_id=user.id))
    return [(each.event, each.actor_id, each.user_agent) for each in page.items]


async def test_created_admin_logs_in_with_the_generated_password(
    bus: Bus, capsys: pytest.CaptureFixture[str]
) -> None:
    """The password is printed once, and the audit log names the command. Proves R-AUTH-44."""
    name = f"boss-{secrets.token_hex(4)}"
    await create_with_command(name)
    password = shown_password(capsys.readouterr().out)
    signed_in = await login(bus, name, password)
    assert signed_in.user.role is Role.ADMIN
    created = (AuditEvent.USER_CREATED, None, "svgx-auth create-admin")
    assert created in await events_of(bus, signed_in.user)


@pytest.mark.parametrize("ending", ["\n", "\r\n", "", "\nsecond line\n"])
async def test_created_admin_has_the_password_of_standard_input(
    bus: Bus, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], ending: str
) -> None:
    """The first line is the password, and the command does not print it. Proves R-AUTH-44."""
    name = f"boss-{secrets.token_hex(4)}"
    give_password(monkeypatch, NEW_PASSWORD + ending)
    await create_with_command(name, "--password-stdin")
    assert NEW_PASSWORD not in "".join(capsys.readouterr())
    assert (await login(bus, name, NEW_PASSWORD)).user.role is Role.ADMIN


@pytest.mark.parametrize(
    "case",
    [
        ("boss", "short\n", "password"),
        ("boss", "\n", "password"),
        ("boss", "password1234\n", "password"),
        ("has space", f"{NEW_PASSWORD}\n", "username"),
        ("root", f"{NEW_PASSWORD}\n", "username"),
    ],
    ids=["short", "empty", "common", "wrong name", "taken name"],
)
async def test_invalid_admin_is_refused_with_one_line(
    bus: Bus,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    case: tuple[str, str, str],
) -> None:
    """The rules of names and passwords apply, and the error line does not contain the password. Proves R-AUTH-44."""
    name, password, word = case
    give_password(monkeypatch, password)
    with pytest.raises(SystemExit) as ended:
        await create_with_command(name, "--password-stdin")
    printed = capsys.readouterr()
    (line,) = printed.err.splitlines()
    assert (ended.value.code, printed.out) == (1, "")
    assert line.startswith("svgx: ")
    assert word in line
    assert not password.strip() or password.strip() not in line


@pytest.fixture
async def revoked(bus: Bus) -> AsyncIterator[asyncio.Event]:
    """An event that a revocation sets."""
    event = asyncio.Event()

    async def note(_: str, __: bytes) -> None:
        event.set()

    subscription = await bus.listen(REVOKED.subject, note)
    await bus.settle()
    yield event
    await subscription.unsubscribe()


@pytest.mark.parametrize("by", ["username", "email"])
async def test_reset_password_ends_the_sessions_at_once(
    bus: Bus, revoked: asyncio.Event, capsys: pytest.CaptureFixture[str], by: str
) -> None:
    """The revocation is broadcast, the old password is refused, and the audit log has the reset. Proves R-AUTH-44."""
    user = await create(bus, role=Role.ADMIN)
    signed_in = await login(bus, user.username)
    await asyncio.to_thread(reset_password.main, [getattr(user, by)])
    password = shown_password(capsys.readouterr().out)
    await asyncio.wait_for(revoked.wait(), 10)
    await expect_refused_refresh(bus, signed_in.refresh_token)
    with pytest.raises(InvalidCredentials):
        await login(bus, user.username, PASSWORD)
    await login(bus, user.username, password)
    reset = (AuditEvent.PASSWORD_RESET, None, "svgx-auth reset-password")
    assert reset in await events_of(bus, user)


async def test_reset_password_works_without_nats(
    bus: Bus, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command needs only the database. Proves R-AUTH-44."""
    monkeypatch.setenv("NATS_URL", "nats://127.0.0.1:1")
    monkeypatch.setattr(database, "ANNOUNCE_SECONDS", 0.2)
    user = await create(bus)
    signed_in = await login(bus, user.username)
    await asyncio.to_thread(reset_password.main, [user.username])
    await login(bus, user.username, shown_password(capsys.readouterr().out))
    await expect_refused_refresh(bus, signed_in.refresh_token)


async def test_reset_password_enables_a_disabled_account_only_with_its_option(
    bus: Bus, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without `--enable`, the command prints that the account is disabled. Proves R-AUTH-44."""
    user = await create(bus)
    await bus.ask(UPDATE_USER, UpdateUserRequest(user_id=user.id, disabled=True))
    await asyncio.to_thread(reset_password.main, [user.username])
    printed = capsys.readouterr().out
    assert "is disabled" in printed
    with pytest.raises(InvalidCredentials):
        await login(bus, user.username, shown_password(printed))
    await asyncio.to_thread(reset_password.main, [user.username, "--enable"])
    await login(bus, user.username, shown_password(capsys.readouterr().out))


async def test_failed_password_reset_prints_an_error_and_no_password(
    bus: Bus, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The account is unknown, or the database is unreachable. Proves R-AUTH-44."""
    monkeypatch.setattr(database, "COMMAND_SECONDS", 2.0)
    cases = [("nobody-here", {}), ("root", {"POSTGRES_URL": "postgresql://u:p@127.0.0.1:1/x"})]
    for name, variables in cases:
        for variable, value in variables.items():
            monkeypatch.setenv(variable, value)
        with pytest.raises(SystemExit) as ended:
            await asyncio.to_thread(reset_password.main, [name])
        printed = capsys.readouterr()
        assert (ended.value.code, "password:" in printed.out) == (1, False)
        assert printed.err.splitlines()[-1].startswith("svgx: ")


async def test_time_limit_of_a_command_begins_after_the_migrations(
    bus: Bus,
    backing: DevStack,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The command waits without a limit while a replica runs the migrations. Proves R-CONFIG-8."""
    monkeypatch.setattr(database, "COMMAND_SECONDS", 2.5)
    replica = await asyncpg.connect(backing.postgres_url)
    await replica.execute("SELECT pg_advisory_lock(hashtext('svgx.auth'))")
    name = f"late-{secrets.token_hex(4)}"
    creating = asyncio.create_task(create_with_command(name))
    async with asyncio.timeout(20):
        await until_blocked(replica)
    await replica.execute("SELECT pg_sleep(2.6)")
    assert not creating.done()
    monkeypatch.setattr(database, "COMMAND_SECONDS", 60.0)  # for the work after the migrations
    await replica.close()  # releases the lock
    await creating
    await login(bus, name, shown_password(capsys.readouterr().out))


def test_password_is_not_accepted_as_an_argument() -> None:
    """Other users of the machine could read a password in the arguments. Proves R-AUTH-44."""
    for main, arguments in (
        (create_admin.main, ["--username", "x", "--email", "x@y"]),
        (reset_password.main, ["x"]),
    ):
        with pytest.raises(SystemExit) as ended:
            main([*arguments, "--password", NEW_PASSWORD])
        assert ended.value.code == 2


async def test_migrate_applies_the_missing_migrations_once(
    backing: DevStack, capsys: pytest.CaptureFixture[str]
) -> None:
    """The second run finds nothing to do. Proves R-CONFIG-8."""
    schema = f"migrate_{secrets.token_hex(4)}"
    migrate = database_commands.migrate_command(schema, AuthSettings, "svgx_auth")
    await asyncio.to_thread(migrate, [])
    first = capsys.readouterr().out
    await asyncio.to_thread(migrate, [])
    second = capsys.readouterr().out
    assert "applied 0001_accounts_and_sessions.sql" in first
    assert second.startswith(f"{schema}: 0 migrations applied; the schema is at ")
    connection = await asyncpg.connect(backing.postgres_url)
    try:
        assert await connection.fetchval(f'SELECT count(*) FROM "{schema}".account') == 0
        await connection.execute(f'DROP SCHEMA "{schema}" CASCADE')
    finally:
        await connection.close()


@pytest.mark.parametrize(
    ("url", "wait", "status"),
    [("postgresql://u:p@127.0.0.1:1/x", "1", 1), (None, "20", 2)],
    ids=["unreachable", "wrong password"],
)
async def test_migrate_ends_when_the_database_cannot_be_used(
    backing: DevStack, monkeypatch: pytest.MonkeyPatch, url: str | None, wait: str, status: int
) -> None:
    """The command ends with an error, because a migration job must not hang for ever. Proves R-CONFIG-8."""
    monkeypatch.setenv("POSTGRES_URL", url or backing.postgres_url.replace("@", "x@"))
    migrate = database_commands.migrate_command("auth", AuthSettings, "svgx_auth")
    with pytest.raises(SystemExit) as ended:
        await asyncio.to_thread(migrate, ["--wait", wait])
    assert (1 if isinstance(ended.value.code, str) else ended.value.code) == status
