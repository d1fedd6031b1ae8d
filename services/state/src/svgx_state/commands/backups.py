"""The commands `backup`, `verify`, `restore` and `backups`, for scheduled jobs and for the recovery after a disaster.

The commands need the settings of the service, and do the work in their own process. When the process ends early, a
replica of the service takes over the work. The record of a backup or a restore is printed as one line of JSON.
"""

import argparse
import asyncio
import secrets
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Any, NoReturn, TypeVar

from pydantic import BaseModel, ValidationError

from svgx_common import logs, postgres
from svgx_common.configuration.build import build_of
from svgx_common.contract.errors import (
    TEMPORARY_ERRORS,
    Conflict,
    SvgxError,
    Unavailable,
    from_validation,
)
from svgx_common.contract.storage.backups import (
    Backup,
    BackupStatus,
    BackupType,
    CreateBackupRequest,
    ListBackupsRequest,
    Restore,
    RestoreRequest,
    RestoreStatus,
    StateType,
    VerificationStatus,
)
from svgx_common.health import Health
from svgx_common.messaging.bus import Bus
from svgx_common.messaging.responder import Responder
from svgx_common.runtime import Runtime
from svgx_common.settings import WRONG_SETTING, WrongSetting, load
from svgx_state.backups.building import Backups, build_backups
from svgx_state.backups.catalogue import LATEST
from svgx_state.backups.format.target import TargetFailed
from svgx_state.backups.runner import LONGEST_OUTAGE_SECONDS, Outage
from svgx_state.journal import Journal
from svgx_state.settings import StateSettings
from svgx_workers.pool import Workers

AUTHOR = "svgx-state"
"""The author of the records and the edits that a command makes."""

CONNECT_SECONDS = 60.0
"""Time limit for the connection to NATS, and again for that to PostgreSQL, in seconds. Beyond it, the command fails.

Migrations have no time limit.
"""

POLL_SECONDS = 1.0
"""Seconds between two checks of whether a replica of the service has finished the work."""

_POOL_SIZE = 4

Record = TypeVar("Record", Backup, Restore)


def backup(arguments: Sequence[str]) -> None:
    """Make a backup. With `--verify`, read it back. End with status 1 when the backup or the verification fails."""
    parser = argparse.ArgumentParser(
        "svgx-state backup", description="Make a backup at BACKUP_URL."
    )
    parser.add_argument("--state-type", choices=[*StateType], default=StateType.ALL)
    parser.add_argument("--backup-type", choices=[*BackupType], default=BackupType.FULL)
    parser.add_argument("--canvas-id", help="back up one canvas")
    parser.add_argument("--owner-id", help="back up the canvases of one owner")
    parser.add_argument("--base", help="the id of the backup on which an incremental backup builds")
    parser.add_argument("--verify", action="store_true", help="read the backup back")
    options = vars(parser.parse_args(arguments))
    verify_requested = options.pop("verify")

    async def work(backups: Backups) -> None:
        request = CreateBackupRequest.model_validate(options)
        backup_id = await _begin(backups, request)
        record = await _finish(backups, backup_id, _backup_once_ended(backups, backup_id))
        if record.status is BackupStatus.COMPLETE and verify_requested:
            record = await _verify(backups, record.id)
        complete = record.status is BackupStatus.COMPLETE
        _report(record, succeeded=complete and _passed(record, verify_requested))

    _run("backup", work)


def verify(arguments: Sequence[str]) -> None:
    """Read a backup back. End with status 1 when it is damaged."""
    parser = argparse.ArgumentParser(
        "svgx-state verify", description="Read a backup back and check every object."
    )
    parser.add_argument("backup_id", help="the id of the backup, or `latest`")
    options = parser.parse_args(arguments)

    async def work(backups: Backups) -> None:
        if options.backup_id == LATEST:
            await backups.adoption.adopt_all()
        record = await _verify(backups, options.backup_id)
        _report(record, succeeded=_passed(record, is_requested=True))

    _run("verify", work)


def restore(arguments: Sequence[str]) -> None:
    """Restore a backup or one of its canvases. End with status 1 unless everything is restored."""
    parser = argparse.ArgumentParser(
        "svgx-state restore", description="Verify a backup at BACKUP_URL, and then restore it."
    )
    parser.add_argument("backup_id", help="the id of the backup, or `latest`")
    parser.add_argument("--canvas-id", help="restore one canvas")
    options = parser.parse_args(arguments)

    async def work(backups: Backups) -> None:
        backup_id = options.backup_id
        if backup_id == LATEST:
            await backups.adoption.adopt_all()
            backup_id = await _latest(backups, needs_accounts=options.canvas_id is None)
        request = RestoreRequest(backup_id=backup_id, canvas_id=options.canvas_id)
        begun = await backups.catalogue.request_restore(request, AUTHOR)
        record = await _finish(backups, begun.id, _restore_once_ended(backups, begun.id))
        _report(record, succeeded=record.status is RestoreStatus.COMPLETE)

    _run("restore", work)


async def _latest(backups: Backups, *, needs_accounts: bool) -> str:
    """Return the id of the newest backup. Print it if the backup is adopted.

    Raises `NotFound`, and `Conflict` if accounts are needed and only another backup has them.
    """
    newest = await backups.catalogue.get(LATEST)
    if needs_accounts and newest.state_type is StateType.CANVAS:
        complete = await backups.catalogue.newest_with_accounts()
        if complete is not None:
            raise Conflict(
                f"the newest backup, {newest.id}, has no accounts, and {complete.id} has them: "
                f"restore {complete.id}, and then {newest.id}"
            )
    if newest.adopted:
        print(
            "svgx: this database has no record of a backup of its own: "
            f"restoring the adopted backup {newest.id}",
            file=sys.stderr,
        )
    return newest.id


def list_backups(arguments: Sequence[str]) -> None:
    """List the records of all backups, the newest first, each as one line of JSON."""
    argparse.ArgumentParser(
        "svgx-state backups", description="List the records of all backups, the newest first."
    ).parse_args(arguments)

    async def work(backups: Backups) -> None:
        await backups.adoption.adopt_all()
        cursor: str | None = None
        while True:
            page = await backups.catalogue.page(ListBackupsRequest(limit=200, cursor=cursor))
            for record in page.items:
                print(record.model_dump_json())
            cursor = page.next
            if cursor is None:
                return

    _run("backups", work)


async def _begin(backups: Backups, request: CreateBackupRequest) -> str:
    """Request a backup, and return its id.

    While another backup runs, wait. Return the id of the running backup if another process of this command requested
    the same one. That process may have been killed, and a CronJob then starts the command again.

    Raises the errors of `Catalogue.request_backup`, except the `Conflict` with a running backup.
    """
    while True:
        try:
            return (await backups.catalogue.request_backup(request, AUTHOR)).id
        except Conflict as conflict:
            if conflict.field is not None:
                raise
        running = await backups.catalogue.running()
        if running is None:
            continue
        if running.created_by == AUTHOR and _is_requested(running, request):
            return running.id
        await _finish(backups, running.id, _backup_once_ended(backups, running.id))


def _is_requested(backup: Backup, request: CreateBackupRequest) -> bool:
    """Return whether a backup serves a request. A full backup also serves a request for an incremental one."""
    return (
        (backup.state_type, backup.canvas_id, backup.owner_id)
        == (request.state_type, request.canvas_id, request.owner_id)
        and request.base is None
        and backup.backup_type in {request.backup_type, BackupType.FULL}
    )


async def _verify(backups: Backups, backup_id: str) -> Backup:
    requested = await backups.catalogue.request_verification(backup_id)
    return await _finish(backups, requested.id, _backup_once_verified(backups, requested.id))


async def _finish(
    backups: Backups, subject_id: str, ended: Callable[[], Awaitable[Record | None]]
) -> Record:
    """Do the work of a backup or a restore, or wait for the replica that does it. Return the finished record.

    `ended` returns the record after the work has ended, and None before. Wait for a server that is not reachable, and
    raise its error when the outage has lasted for `LONGEST_OUTAGE_SECONDS`. If the outage begins while this process
    does the work, the runner first waits for the same time.
    """
    outage = Outage()
    while True:
        outage.begin_attempt(time.monotonic())
        try:
            await backups.runner.run_one(subject_id)
            if (record := await ended()) is not None:
                return record
            outage = Outage()
        except TEMPORARY_ERRORS:
            if outage.fail_attempt(time.monotonic()) > LONGEST_OUTAGE_SECONDS:
                raise
        await asyncio.sleep(POLL_SECONDS)


def _backup_once_ended(backups: Backups, backup_id: str) -> Callable[[], Awaitable[Backup | None]]:
    """Return a function that returns the backup after it has ended, and None before."""

    async def ended() -> Backup | None:
        record = await backups.catalogue.get(backup_id)
        return None if record.status is BackupStatus.RUNNING else record

    return ended


def _backup_once_verified(
    backups: Backups, backup_id: str
) -> Callable[[], Awaitable[Backup | None]]:
    """Return a function that returns the backup after its verification has ended, and None before."""

    async def ended() -> Backup | None:
        record = await backups.catalogue.get(backup_id)
        running = record.verification is None or (
            record.verification.status is VerificationStatus.RUNNING
        )
        return None if running else record

    return ended


def _restore_once_ended(
    backups: Backups, restore_id: str
) -> Callable[[], Awaitable[Restore | None]]:
    """Return a function that returns the restore after it has ended, and None before."""

    async def ended() -> Restore | None:
        record = await backups.catalogue.get_restore(restore_id)
        return None if record.status is RestoreStatus.RUNNING else record

    return ended


def _passed(record: Backup, is_requested: bool) -> bool:
    """Return whether the verification passed, or True if no verification was requested."""
    return not is_requested or (
        record.verification is not None and record.verification.status is VerificationStatus.PASSED
    )


def _report(record: BaseModel, *, succeeded: bool) -> None:
    print(record.model_dump_json())
    if not succeeded:
        raise SystemExit(1)


@asynccontextmanager
async def _open(settings: StateSettings) -> AsyncIterator[Backups]:
    replica_id = secrets.token_hex(6)
    version = build_of("state").version
    seed = settings.nats_nkey_seed.get_secret_value()
    async with AsyncExitStack() as stack:
        with _name_on_timeout("NATS"):
            async with asyncio.timeout(CONNECT_SECONDS):
                bus = await Bus.connect(settings.nats_url, "state", replica_id, seed=seed)
        stack.push_async_callback(bus.close)
        connecting = postgres.connect(
            settings.postgres_url,
            schema="state",
            package="svgx_state",
            pool_size=_POOL_SIZE,
            wait_seconds=CONNECT_SECONDS,
        )
        with _name_on_timeout("PostgreSQL"):
            database = await stack.enter_async_context(connecting)
        memory_bytes = settings.worker_memory_mb * 1024 * 1024
        workers = await stack.enter_async_context(
            Workers(1, memory_bytes, settings.worker_timeout_seconds)
        )
        runtime = Runtime(
            settings,
            bus,
            Responder(bus, version),
            Health("state", replica_id, version),
            replica_id,
            version,
        )
        journal = Journal(database, lambda *_: None)
        backups = build_backups(runtime, database, journal, workers)
        if backups is None:
            raise WrongSetting("BACKUP_URL", "is not set")
        yield backups


@contextmanager
def _name_on_timeout(server: str) -> Iterator[None]:
    """Raise `Unavailable` with the server's name when the block, which connects to the server, times out."""
    try:
        yield
    except TimeoutError:
        raise Unavailable(f"{server} was not ready within {CONNECT_SECONDS:.0f} s") from None


def _run(command: str, work: Callable[[Backups], Coroutine[Any, Any, None]]) -> None:
    """Run a command. After an error, print one line and exit with status 1, or with status 2 for a wrong setting."""
    settings = load(StateSettings)
    logs.configure("state", command, "WARNING", settings.log_format)

    async def connected() -> None:
        async with _open(settings) as backups:
            await work(backups)

    try:
        asyncio.run(connected())
    except WrongSetting as error:
        _exit(str(error), WRONG_SETTING)
    except ValidationError as error:
        _exit(from_validation(error).detail)
    except Unavailable as error:
        _exit(f"{error.detail}; run `svgx-state doctor`")
    except SvgxError as error:
        _exit(error.detail)
    except TargetFailed as error:
        _exit(str(error))
    except TimeoutError:
        _exit("a server did not answer in time; run `svgx-state doctor`")


def _exit(line: str, status: int = 1) -> NoReturn:
    print(f"svgx: {line}", file=sys.stderr)
    raise SystemExit(status)
