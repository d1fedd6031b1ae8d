"""Access to the accounts for a command: the service's objects that change accounts, without its handlers."""

import asyncio
import contextlib
import secrets
import sys
from collections.abc import AsyncIterator, Coroutine
from typing import Any, NoReturn

from pydantic import ValidationError

from svgx_auth.accounts import Accounts
from svgx_auth.administration import Administration
from svgx_auth.audit import Audit, Origin
from svgx_auth.passwords.hashing import Passwords
from svgx_auth.revocations import Revocations
from svgx_auth.settings import AuthSettings
from svgx_common import logs, postgres
from svgx_common.contract.errors import SvgxError, from_validation
from svgx_common.messaging.bus import Bus
from svgx_common.messaging.caller import Client
from svgx_common.settings import WRONG_SETTING, WrongSetting

COMMAND_SECONDS = 60.0
"""Time limit of the wait for PostgreSQL, in seconds. The command's work after the wait has the same limit.

Migrations have no limit.
"""

ANNOUNCE_SECONDS = 3.0
"""Time limit of the wait for a connection to NATS, in seconds.

Without NATS, the gateways learn of ended sessions at their next poll, within 30 s.
"""

_POOL_SIZE = 2


@contextlib.asynccontextmanager
async def open_accounts(
    settings: AuthSettings, *, announce: bool
) -> AsyncIterator[tuple[Accounts, Administration]]:
    """Yield the accounts and their administration, with a connection to the database until the block ends.

    With `announce`, also connect to NATS, so that the gateways are told about ended sessions. When NATS is not
    reachable within `ANNOUNCE_SECONDS`, continue without it. Raise `TimeoutError` when PostgreSQL cannot be used within
    `COMMAND_SECONDS`, or when the block takes longer than that.
    """
    passwords = Passwords(
        memory=settings.argon2_memory_kib,
        passes=settings.argon2_passes,
        lanes=settings.argon2_lanes,
        workers=1,
    )
    bus = await _connect(settings) if announce else None
    try:
        with contextlib.closing(passwords):
            async with postgres.connect(
                settings.postgres_url,
                schema="auth",
                package="svgx_auth",
                pool_size=_POOL_SIZE,
                wait_seconds=COMMAND_SECONDS,
            ) as database:
                revocations, audit = Revocations(database, bus), Audit(database)
                async with asyncio.timeout(COMMAND_SECONDS):
                    yield (
                        Accounts(database, passwords, revocations, audit),
                        Administration(database, passwords, revocations, audit),
                    )
    finally:
        if bus is not None:
            await bus.close()


def origin(command: str) -> Origin:
    """Return the origin of a command's changes, as the audit log shows it."""
    return Origin(None, Client(user_agent=f"svgx-auth {command}"))


def run(command: str, settings: AuthSettings, work: Coroutine[Any, Any, None]) -> None:
    """Run a command.

    An expected error ends the process with one line on standard error. The status is 2 for a wrong setting, and 1 for
    all other errors.
    """
    logs.configure("auth", command, "WARNING", settings.log_format)
    try:
        asyncio.run(work)
    except WrongSetting as error:
        _refuse(str(error), WRONG_SETTING)
    except ValidationError as error:
        _refuse(from_validation(error).detail)
    except SvgxError as error:
        _refuse(error.detail)
    except TimeoutError:
        _refuse("the database did not answer in time; run `svgx-auth doctor`")


def _refuse(line: str, status: int = 1) -> NoReturn:
    print(f"svgx: {line}", file=sys.stderr)
    raise SystemExit(status)


async def _connect(settings: AuthSettings) -> Bus | None:
    seed = settings.nats_nkey_seed.get_secret_value()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(ANNOUNCE_SECONDS):
            return await Bus.connect(settings.nats_url, "auth", secrets.token_hex(6), seed=seed)
    return None
