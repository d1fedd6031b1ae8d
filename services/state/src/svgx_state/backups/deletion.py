"""The deletion of backups and of old records of restores, and the retention rules that select the backups to delete."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import structlog

from svgx_common.database.batches import BATCH_ROWS, remove_in_batches
from svgx_common.postgres import Database
from svgx_state.backups.format.archive import Archive
from svgx_state.backups.format.manifest import MANIFEST_NAME, object_name
from svgx_state.backups.format.target import ObjectMissing, TargetFailed, TargetUnavailable
from svgx_state.backups.tasks import Task, Tasks
from svgx_state.present import present

log = structlog.get_logger(__name__)

FAILED_DAYS = 1
"""Days after which a failed backup is deleted. Without a rule in `Retention`, failed backups are kept."""

RESTORE_RECORD_DAYS = 90
"""Days from the end of a restore after which its record is deleted."""


@dataclass(frozen=True, slots=True)
class Retention:
    """The rules for complete backups: keep the newest `count` of each scope, and all of the last `days` days.

    0 turns a rule off. A backup is kept if one of the rules keeps it, or if a kept backup builds on it. Without a rule,
    all backups are kept. With a rule, the newest complete backup of each scope is kept as well, and failed backups are
    deleted after `FAILED_DAYS`, unless they have a manifest at the target. Adopted backups are always kept and not
    counted, because they may belong to another installation.
    """

    count: int
    days: int

    @property
    def has_rule(self) -> bool:
        """Return whether there is a rule."""
        return self.count > 0 or self.days > 0


@dataclass(frozen=True, slots=True)
class BackupFacts:
    """The facts of one backup by which the retention selects it."""

    id: str
    parent_id: str | None
    status: str
    created_at: datetime
    scope: str = ""
    """The state type, the canvas and the owner of the backup.

    The retention counts the backups of each scope separately.
    """
    adopted: bool = False
    has_manifest: bool = False
    """Whether a failed backup has a manifest at the target, because another database may have completed it."""

    def has_failed_long_ago(self, now: datetime) -> bool:
        """Return whether the backup has failed and is older than `FAILED_DAYS`."""
        return self.status == "failed" and self.created_at < now - timedelta(days=FAILED_DAYS)


def expired_ids(backups: Sequence[BackupFacts], retention: Retention, now: datetime) -> list[str]:
    """Return the ids of the backups to delete. A backup precedes the backup on which it builds.

    `backups` must be in the order of creation, newest first.
    """
    if not retention.has_rule:
        return []
    parents = {each.id: each.parent_id for each in backups}
    complete = [each for each in backups if each.status == "complete" and not each.adopted]
    kept_directly = [
        each.id for each in backups if each.status == "running" or each.adopted or each.has_manifest
    ]
    # `max` keeps the newest complete backup of each scope, even if there is only a rule for days.
    newest = Counter[str]()
    for each in complete:
        newest[each.scope] += 1
        if newest[each.scope] <= max(1, retention.count):
            kept_directly.append(each.id)
    oldest = now - timedelta(days=retention.days)
    kept_directly += [each.id for each in complete if retention.days and each.created_at >= oldest]
    kept: set[str] = set()
    # The backups on which a kept backup builds are kept as well.
    for backup_id in kept_directly:
        current: str | None = backup_id
        while current is not None and current not in kept:
            kept.add(current)
            current = parents.get(current)
    return [
        each.id
        for each in backups
        if each.id not in kept and (each.status == "complete" or each.has_failed_long_ago(now))
    ]


class BackupRemover:
    """Deletes the objects of a backup at the target, and then the backup's record. Also deletes records of restores."""

    def __init__(
        self, database: Database, tasks: Tasks, archive: Archive, retention: Retention
    ) -> None:
        self._database = database
        self._tasks = tasks
        self._archive = archive
        self._retention = retention

    async def remove(self, task: Task) -> None:
        """Delete the backup that the task names. A repeated call completes an interrupted deletion.

        Raises `TargetFailed`.
        """
        folder = task.subject_id
        # Delete the manifest first, because a folder without a manifest does not count as a backup.
        await self._archive.target.delete([object_name(folder, MANIFEST_NAME)])
        await self._archive.target.delete(await self._archive.target.names(folder))
        await self._archive.target.remove_folder(folder)
        async with self._tasks.last_transaction(task) as session:
            await session.run("remove_backup", task.subject_id)
        log.info("deleted a backup", backup_id=task.subject_id)

    async def apply_retention(self) -> int:
        """Request the deletion of all backups that are not kept and not in use. Return the number of new requests.

        Raises `TargetUnavailable`.
        """
        async with self._database.session() as session:
            now = await present(session)
        rows = await self._database.rows("backups_for_retention")
        backups = [BackupFacts(**dict(row)) for row in rows]
        if self._retention.has_rule:
            backups = [
                replace(each, has_manifest=await self._has_manifest(each.id))
                if each.has_failed_long_ago(now)
                else each
                for each in backups
            ]
        requested = 0
        for backup_id in expired_ids(backups, self._retention, now):
            async with self._database.transaction() as session:
                # All transactions lock the task before the backup, because they could deadlock otherwise.
                task = await session.row("add_task", "delete", backup_id)
                # New restores of this backup, and new backups that build on it, now wait for the lock. The statements
                # below find restores and backups that began before the lock.
                await session.row("lock_backup", backup_id)
                # After the selection, a restore may have begun to read this backup, or a new backup to build on it.
                if (
                    await session.row("restore_of", backup_id) is not None
                    or await session.row("mark_deleting", backup_id) is None
                ):
                    if task is not None:
                        await session.run("drop_task", task["id"])
                    continue
                requested += 1
        for backup in backups:
            # The deletion of a backup with this status is not finished, or has failed at the target. If the task of the
            # deletion still exists, the statement below adds no second task.
            if backup.status == "deleting":
                await self._database.row("add_task", "delete", backup.id)
        return requested

    async def _has_manifest(self, backup_id: str) -> bool:
        try:
            await self._archive.target.get(object_name(backup_id, MANIFEST_NAME))
        except ObjectMissing:
            return False
        except TargetUnavailable:
            raise
        except TargetFailed:
            pass  # there may be a manifest that the target refuses to read
        return True

    async def remove_old_restores(self, batch_rows: int = BATCH_ROWS) -> None:
        """Delete the records of the restores that ended more than `RESTORE_RECORD_DAYS` ago."""
        await remove_in_batches(
            lambda rows: self._database.row(
                "remove_old_restored_canvases", RESTORE_RECORD_DAYS, rows
            ),
            batch_rows,
        )
        await remove_in_batches(
            lambda rows: self._database.row("remove_old_restores", RESTORE_RECORD_DAYS, rows),
            batch_rows,
        )
