"""The deletion of backups, and the retention rules that select the backups to delete."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import structlog

from svgx_common.postgres import Database
from svgx_state.backups.format.archive import Archive
from svgx_state.backups.format.manifest import NAME, object_name
from svgx_state.backups.tasks import Task, Tasks

log = structlog.get_logger(__name__)

FAILED_DAYS = 1
"""Days after which a failed backup is deleted, if the retention has any rule."""


@dataclass(frozen=True, slots=True)
class Retention:
    """The rules for keeping backups: the newest `count` of each scope, and those of the last `days`. 0 means no rule.

    A backup is kept if one of the rules keeps it, or if a kept backup builds on it. Without a rule, all backups are
    kept. With any rule, the newest complete backup of each scope is kept.
    """

    count: int
    days: int

    @property
    def active(self) -> bool:
        """Return whether there is any rule."""
        return self.count > 0 or self.days > 0


@dataclass(frozen=True, slots=True)
class BackupFacts:
    """The facts of one backup by which the retention selects it."""

    id: str
    parent_id: str | None
    status: str
    created_at: datetime
    scope: str = ""
    """The state type, the canvas and the owner of the backup. Only backups of the same scope replace each other."""


def expired(backups: Sequence[BackupFacts], retention: Retention, now: datetime) -> list[str]:
    """Return the ids of the backups to delete, each before the backup on which it builds.

    `backups` is in the order of their times, newest first.
    """
    if not retention.active:
        return []
    parents = {each.id: each.parent_id for each in backups}
    complete = [each for each in backups if each.status == "complete"]
    roots = [each.id for each in backups if each.status == "running"]
    # The newest complete backup of each scope is kept by any rule.
    newest = Counter[str]()
    for each in complete:
        newest[each.scope] += 1
        if newest[each.scope] <= max(1, retention.count):
            roots.append(each.id)
    oldest = now - timedelta(days=retention.days)
    roots += [each.id for each in complete if retention.days and each.created_at >= oldest]
    kept: set[str] = set()
    for root in roots:
        current: str | None = root
        while current is not None and current not in kept:
            kept.add(current)
            current = parents.get(current)
    failed_before = now - timedelta(days=FAILED_DAYS)
    return [
        each.id
        for each in backups
        if each.id not in kept
        and (
            each.status == "complete"
            or (each.status == "failed" and each.created_at < failed_before)
        )
    ]


class BackupRemover:
    """Deletes the objects of a backup at the target, and then the backup's record."""

    def __init__(
        self, database: Database, tasks: Tasks, archive: Archive, retention: Retention
    ) -> None:
        self._database = database
        self._tasks = tasks
        self._archive = archive
        self._retention = retention

    async def remove(self, task: Task) -> None:
        """Delete the backup of a task. A repeated call completes an interrupted deletion. Raises `TargetFailed`."""
        folder = task.subject_id
        # Delete the manifest first, because a folder without a manifest does not count as a backup.
        await self._archive.target.delete([object_name(folder, NAME)])
        await self._archive.target.delete(await self._archive.target.names(folder))
        await self._archive.target.remove_folder(folder)
        async with self._tasks.end(task) as session:
            await session.run("remove_backup", task.subject_id)
        log.info("deleted a backup", backup_id=task.subject_id)

    async def apply_retention(self) -> int:
        """Request the deletion of all backups that are not kept and not in use. Return the number of new requests."""
        rows = await self._database.rows("backups_for_retention")
        backups = [BackupFacts(**dict(row)) for row in rows]
        requested = 0
        for backup_id in expired(backups, self._retention, datetime.now(UTC)):
            async with self._database.transaction() as session:
                # All transactions lock the task before the backup, because they could deadlock otherwise.
                task = await session.row("add_task", "delete", backup_id)
                # From now on, new restores of this backup, and new backups that build on it, wait for the lock. The
                # statements below find restores and backups that began earlier.
                await session.row("lock_backup", backup_id)
                # Since the selection by `expired`, a restore may have begun to read this backup, or another backup may
                # build on it.
                if (
                    await session.row("restore_of", backup_id) is not None
                    or await session.row("mark_deleting", backup_id) is None
                ):
                    if task is not None:
                        await session.run("drop_task", task["id"])
                    continue
                requested += 1
        for backup in backups:
            # With this status, an earlier deletion is not finished, or has failed at the target. If its task still
            # exists, the statement below adds no second task.
            if backup.status == "deleting":
                await self._database.row("add_task", "delete", backup.id)
        return requested
