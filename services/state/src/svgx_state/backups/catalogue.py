"""The records of backups and restores, and the requests that add tasks for them."""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Literal

from svgx_common.contract.errors import Conflict, Invalid, NotFound, Unavailable
from svgx_common.contract.storage.backups import (
    LIST_BACKUPS,
    LIST_RESTORES,
    RESTORED_CANVASES,
    Backup,
    BackupPage,
    BackupStatus,
    BackupType,
    CreateBackupRequest,
    ListBackupsRequest,
    ListRestoresRequest,
    Restore,
    RestoredCanvas,
    RestoredCanvasesRequest,
    RestoredCanvasPage,
    RestoreOutcome,
    RestorePage,
    RestoreRequest,
    RestoreStatus,
    StateType,
    Verification,
    VerificationStatus,
)
from svgx_common.pages import Cursor, Listing
from svgx_common.postgres import Database, Row, Session
from svgx_state.backups.adoption import Adoption
from svgx_state.backups.format.archive import Archive
from svgx_state.backups.format.chain import Chain
from svgx_state.backups.format.manifest import FORMAT, BackupIncomplete, BackupRefused
from svgx_state.backups.format.target import TargetFailed

LATEST = "latest"
"""The id that stands for the newest complete backup of all canvases that this database has made.

If this database has made none, it stands for the newest adopted one, except in a request to delete it.
"""

MAX_CHAIN = 24
"""Largest number of incremental backups that build on one full backup.

Beyond it, the next backup is full, so that a restore stays quick. A request that names its base is refused instead.
"""

TARGET_SECONDS = 25.0
"""Time limit for the target in a request to verify or restore, in seconds. The caller waits for 30 s."""

_NO_TIME = datetime(1970, 1, 1, tzinfo=UTC)
"""The time in the cursors of lists that are ordered by id alone."""


class Catalogue:
    """The tables `backup` and `restore`."""

    def __init__(
        self, database: Database, archive: Archive, adoption: Adoption, version: str
    ) -> None:
        self._database = database
        self._archive = archive
        self._adoption = adoption
        self._version = version

    async def request_backup(self, request: CreateBackupRequest, user_id: str) -> Backup:
        """Add a backup and its task.

        Raises `Invalid` for arguments that do not fit together, `NotFound` for an unknown canvas or base, and
        `Conflict` while another backup runs or when the base is not suitable.
        """
        _check_arguments(request)
        backup_id = new_id()
        async with self._database.transaction() as session:
            if (
                request.canvas_id is not None
                and await session.row("canvas_exists", request.canvas_id) is None
            ):
                raise NotFound("there is no canvas with this id", field="canvas_id")
            # Lock the task before the backups, as the replica that ends a task does. Otherwise the two transactions
            # could wait for each other's locks.
            await _add_task(session, "backup", backup_id)
            parent_id = await self._parent(session, request)
            kind = BackupType.FULL if parent_id is None else BackupType.INCREMENTAL
            await session.run(
                "add_backup",
                backup_id,
                request.state_type.value,
                kind.value,
                request.canvas_id,
                request.owner_id,
                parent_id,
                request.base is not None,
                user_id,
                self._archive.seal.key_id is not None,
                FORMAT,
                self._version,
            )
            row = await session.row("backup_record", backup_id)
        assert row is not None
        return backup_of(row)

    async def get(self, backup_id: str) -> Backup:
        """Return a backup. Raises `NotFound`."""
        row = await self._database.row("backup_record", await self._resolve(backup_id))
        if row is None:
            raise _no_such_backup()
        return backup_of(row)

    async def newest_with_accounts(self) -> Backup | None:
        """Return the newest complete backup with accounts, or None. The own backups of this database come first."""
        row = await self._database.row("newest_backup_of_users")
        return None if row is None else await self.get(row["id"])

    async def running(self) -> Backup | None:
        """Return the backup that runs at present, or None."""
        task = await self._database.row("task_of_kind", "backup")
        return None if task is None else await self.get(task["subject_id"])

    async def page(self, request: ListBackupsRequest) -> BackupPage:
        """Return a page of backups, newest first. Raises `Invalid` for a wrong cursor."""
        listing = Listing.of(LIST_BACKUPS, request)
        after = listing.decode(request.cursor)
        rows = await self._database.rows(
            "backups_before", request.limit + 1, after and after.at, after and after.id
        )
        page, following = listing.page_of(rows, request.limit, _position)
        return BackupPage(items=[backup_of(row) for row in page], next=following)

    async def request_verification(self, backup_id: str) -> Backup:
        """Add the task that reads a backup back and checks it.

        Raises `NotFound`, `Conflict` for a backup that is not complete, and `Unavailable` when the target does not
        answer.
        """
        async with _target_time_limit():
            backup_id = await self._known_id(backup_id)
        async with self._database.transaction() as session:
            # Lock the task before the backup, as the replica that ends the task does. Otherwise the two transactions
            # could wait for each other's locks.
            await _hold_task(session, "verify", backup_id)
            await self._lock_complete(session, backup_id)
            running = Verification(status=VerificationStatus.RUNNING)
            row = await session.row("set_verification", backup_id, running.model_dump_json())
        assert row is not None
        return backup_of(row)

    async def request_deletion(self, backup_id: str) -> Backup:
        """Add the task to delete a backup.

        Raises `NotFound`, and `Conflict` while the backup runs, another backup builds on it or a restore reads it.
        """
        backup_id = await self._resolve(backup_id, may_be_adopted=False)
        async with self._database.transaction() as session:
            # Lock the task before the backup, as all transactions do. A refusal below rolls the new task back.
            await _hold_task(session, "delete", backup_id)
            locked = await session.row("lock_backup", backup_id)
            if locked is None:
                raise _no_such_backup()
            if locked["status"] == BackupStatus.RUNNING:
                raise Conflict("the backup is still running; delete it when it has ended")
            child = await session.row("children_of", backup_id)
            if child is not None:
                raise Conflict(
                    f"delete the backup {child['id']} first, because it builds on this backup"
                )
            restore = await session.row("restore_of", backup_id)
            if restore is not None:
                raise Conflict(f"the restore {restore['restore_id']} still reads this backup")
            await session.row("mark_deleting", backup_id)
            row = await session.row("backup_record", backup_id)
        assert row is not None
        return backup_of(row)

    async def request_restore(self, request: RestoreRequest, user_id: str) -> Restore:
        """Add a restore and its task.

        Raises `NotFound`, `Conflict` when the backup cannot be used here or another restore runs, and `Unavailable`
        when the target does not answer.
        """
        try:
            async with _target_time_limit():
                backup_id = await self._known_id(request.backup_id)
                chain = await Chain.open(self._archive, backup_id)
        except BackupRefused as error:
            raise Conflict(str(error), field="backup_id") from None
        except TargetFailed as error:
            raise Unavailable(str(error)) from None
        if request.canvas_id is not None and not chain.may_have(request.canvas_id):
            raise NotFound("the backup does not have this canvas", field="canvas_id")
        async with self._database.transaction() as session:
            restore_id = new_id()
            # Lock the task before the backup, as all transactions do.
            await _add_task(session, "restore", restore_id)
            await self._lock_complete(session, backup_id)
            row = await session.row(
                "add_restore", restore_id, backup_id, request.canvas_id, user_id
            )
        assert row is not None
        return restore_of(row)

    async def get_restore(self, restore_id: str) -> Restore:
        """Return a restore. Raises `NotFound`."""
        row = await self._database.row("restore_record", restore_id)
        if row is None:
            raise NotFound("there is no restore with this id", field="restore_id")
        return restore_of(row)

    async def restore_page(self, request: ListRestoresRequest) -> RestorePage:
        """Return a page of restores, newest first. Raises `Invalid` for a wrong cursor."""
        listing = Listing.of(LIST_RESTORES, request)
        after = listing.decode(request.cursor)
        rows = await self._database.rows(
            "restores_before", request.limit + 1, after and after.at, after and after.id
        )
        page, following = listing.page_of(rows, request.limit, _position)
        return RestorePage(items=[restore_of(row) for row in page], next=following)

    async def restored_canvases(self, request: RestoredCanvasesRequest) -> RestoredCanvasPage:
        """Return a page of the canvases of a restore. Raises `NotFound`, and `Invalid` for a wrong cursor."""
        await self.get_restore(request.restore_id)
        listing = Listing.of(RESTORED_CANVASES, request)
        after = listing.decode(request.cursor)
        rows = await self._database.rows(
            "restored_canvases",
            request.restore_id,
            request.limit + 1,
            after and after.id,
            request.outcome and request.outcome.value,
        )
        page, following = listing.page_of(
            rows, request.limit, lambda row: Cursor(_NO_TIME, row["canvas_id"])
        )
        items = [
            RestoredCanvas(
                canvas_id=row["canvas_id"],
                outcome=RestoreOutcome(row["outcome"]),
                detail=row["detail"],
            )
            for row in page
        ]
        return RestoredCanvasPage(items=items, next=following)

    async def _parent(self, session: Session, request: CreateBackupRequest) -> str | None:
        """Return the id of the backup on which the requested backup builds, or None for a full backup.

        Lock the row of the returned id.

        Raises `NotFound` or `Conflict` for a `base` that is unknown or not suitable.
        """
        # Accounts are always backed up as a whole.
        if request.backup_type is BackupType.FULL or request.state_type is StateType.USERS:
            return None
        scope = request.state_type.value, request.canvas_id, request.owner_id
        parent_id = request.base
        if parent_id is None:
            parent = await session.row("suitable_parent", *scope)
            if parent is None:
                return None
            parent_id = parent["id"]
        row = await session.row("lock_parent", parent_id)
        if row is None:
            raise NotFound("there is no backup with this id", field="base")
        reason = None
        if row["status"] != BackupStatus.COMPLETE:
            reason = f"the backup {parent_id} is not complete"
        elif row["adopted"]:
            reason = (
                f"the backup {parent_id} was made by another database, or before this database was restored; "
                "make a full backup"
            )
        elif (row["state_type"], row["canvas_id"], row["owner_id"]) != scope:
            reason = f"the backup {parent_id} is for other canvases"
        elif row["length"] > MAX_CHAIN:
            reason = f"{MAX_CHAIN} incremental backups build on one another; make a full backup"
        if reason is None:
            return parent_id
        if request.base is not None:
            raise Conflict(reason, field="base")
        return None

    async def _resolve(self, backup_id: str, *, may_be_adopted: bool = True) -> str:
        """Return the given id. For `LATEST`, return the id of the newest complete backup of all canvases.

        Raises `NotFound` for `LATEST` if there is no complete backup of all canvases.
        """
        if backup_id != LATEST:
            return backup_id
        row = await self._database.row("newest_backup", may_be_adopted)
        if row is None:
            raise NotFound(
                "this database has made no complete backup of all canvases", field="backup_id"
            )
        newest: str = row["id"]
        return newest

    async def _known_id(self, backup_id: str) -> str:
        """Return the id of a backup.

        If the database has no record of the backup, or the backup has failed, adopt it from the manifest at the target.

        Raises `NotFound` for a backup without a record that this service cannot use, `Conflict` for a failed backup,
        and `Unavailable` when the target fails.
        """
        backup_id = await self._resolve(backup_id)
        row = await self._database.row("backup_record", backup_id)
        if row is None or row["status"] == BackupStatus.FAILED:
            try:
                await self._adoption.adopt(backup_id)
            except BackupRefused as error:
                if row is None:
                    raise NotFound(str(error), field="backup_id") from None
                reason = "" if isinstance(error, BackupIncomplete) else f": {error}"
                raise Conflict(
                    f"the backup is failed, not complete{reason}", field="backup_id"
                ) from None
            except TargetFailed as error:
                raise Unavailable(str(error)) from None
        return backup_id

    async def _lock_complete(self, session: Session, backup_id: str) -> None:
        row = await session.row("lock_backup", backup_id)
        if row is None:
            raise _no_such_backup()
        if row["status"] != BackupStatus.COMPLETE:
            raise Conflict(f"the backup is {row['status']}, not complete", field="backup_id")


@asynccontextmanager
async def _target_time_limit() -> AsyncIterator[None]:
    """Raise `Unavailable` when the block, which reads from the target, lasts longer than `TARGET_SECONDS`."""
    try:
        async with asyncio.timeout(TARGET_SECONDS):
            yield
    except TimeoutError:
        raise Unavailable("the target of the backups does not answer") from None


def new_id() -> str:
    """Return an id that begins with the time, for a backup or a restore."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}"


def backup_of(row: Row) -> Backup:
    """Return the record of a backup as callers see it."""
    total = row["canvases_total"] + row["users_total"]
    done = row["canvases"] + row["users"]
    complete = row["status"] == BackupStatus.COMPLETE
    progress = 1.0 if complete else min(1.0, done / total) if total else 0.0
    verification = row["verification"]
    return Backup(
        id=row["id"],
        state_type=row["state_type"],
        backup_type=row["backup_type"],
        canvas_id=row["canvas_id"],
        owner_id=row["owner_id"],
        parent_id=row["parent_id"],
        status=row["status"],
        created_by=row["created_by"],
        created_at=row["created_at"],
        finished_at=row["finished_at"],
        progress=round(progress, 4),
        canvases_total=row["canvases_total"],
        canvases=row["canvases"],
        changed=row["changed"],
        users=row["users"],
        objects=row["objects"],
        bytes=row["bytes"],
        encrypted=row["encrypted"],
        format=row["format"],
        version=row["version"],
        adopted=row["adopted"],
        error=row["error"],
        verification=None
        if verification is None
        else Verification.model_validate(json.loads(verification)),
    )


def restore_of(row: Row) -> Restore:
    """Return the record of a restore as callers see it."""
    total = row["canvases_total"]
    ended = row["status"] in (RestoreStatus.COMPLETE, RestoreStatus.PARTIAL)
    progress = 1.0 if ended else min(1.0, row["canvases"] / total) if total else 0.0
    return Restore(
        id=row["id"],
        backup_id=row["backup_id"],
        canvas_id=row["canvas_id"],
        status=row["status"],
        verified=row["verified"],
        requested_by=row["requested_by"],
        created_at=row["created_at"],
        finished_at=row["finished_at"],
        progress=round(progress, 4),
        canvases_total=total,
        canvases=row["canvases"],
        failed=row["failed"],
        users_added=row["users_added"],
        users_kept=row["users_kept"],
        users_refused=row["users_refused"],
        error=row["error"],
    )


async def _add_task(session: Session, kind: Literal["backup", "restore"], subject_id: str) -> None:
    """Add the task of a new backup or restore. If a task of this kind runs, raise `Conflict` with its subject's id."""
    while await session.row("add_task", kind, subject_id) is None:
        running = await session.row("task_of_kind", kind)
        if running is not None:
            raise Conflict(f"the {kind} {running['subject_id']} is still running; wait for its end")
        # The other task has ended between the two statements.


async def _hold_task(session: Session, kind: Literal["verify", "delete"], backup_id: str) -> None:
    """Add the task of a backup, or lock the task that exists. No replica ends the task before the transaction ends."""
    while await session.row("add_task", kind, backup_id) is None:
        if await session.row("lock_task", kind, backup_id) is not None:
            return
        # The task has ended between the two statements.


def _check_arguments(request: CreateBackupRequest) -> None:
    for field in ("canvas_id", "owner_id"):
        if getattr(request, field) is not None and request.state_type is not StateType.CANVAS:
            raise Invalid(f"{field}: is allowed only with the state type canvas", field=field)
    if request.canvas_id is not None and request.owner_id is not None:
        raise Invalid("owner_id: is not allowed together with canvas_id", field="owner_id")
    if request.base is not None and request.backup_type is BackupType.FULL:
        raise Invalid("base: is allowed only for an incremental backup", field="base")


def _position(row: Row) -> Cursor:
    return Cursor(row["created_at"], row["id"])


def _no_such_backup() -> NotFound:
    return NotFound("there is no backup with this id", field="backup_id")
