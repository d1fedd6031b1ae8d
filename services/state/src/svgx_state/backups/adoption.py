"""The adoption of backups: each backup at the target that has no record in the database gets a record.

Records are missing, for example, after the database was lost.
"""

import time

import structlog

from svgx_common.contract.storage.events import BackupCompleted
from svgx_common.events.outbox import emit
from svgx_common.postgres import Database, Session
from svgx_state.backups.format.archive import Archive
from svgx_state.backups.format.manifest import (
    BackupIncomplete,
    BackupRefused,
    Envelope,
    Manifest,
    ObjectEntry,
    fetch_manifest,
)
from svgx_state.backups.format.target import TargetFailed, TargetUnavailable

log = structlog.get_logger(__name__)

REFUSED_SECONDS = 6 * 3600.0
"""Seconds until a folder without a usable backup is read again. The folder may have been half copied before."""


class Adoption:
    """Makes records of backups at the target that have no record in the database."""

    def __init__(self, database: Database, archive: Archive) -> None:
        self._database = database
        self._archive = archive
        self._refused_at: dict[str, float] = {}
        """The folders without a usable backup, with the times at which they were read."""

    async def adopt_all(self) -> int:
        """Make records of all complete backups at the target. Return the number of new records.

        A folder is skipped for `REFUSED_SECONDS` if this service cannot use its backup, or if the target refuses to
        read its manifest. A folder without a manifest is checked again in the next call, because a service with another
        database may still write the backup. Raises `TargetFailed` if the target cannot be listed, and
        `TargetUnavailable`.
        """
        folders = await self._archive.target.folders()
        rows = await self._database.rows("known_backups", folders)
        known = {row["id"] for row in rows}
        adopted = 0
        now = time.monotonic()
        for folder in folders:
            refused_at = self._refused_at.get(folder)
            if folder in known or (refused_at is not None and now - refused_at < REFUSED_SECONDS):
                continue
            try:
                await self.adopt(folder)
                adopted += 1
            except BackupIncomplete:
                continue
            except TargetUnavailable:
                raise
            except (BackupRefused, TargetFailed) as error:
                self._refused_at[folder] = now
                write = log.warning if isinstance(error, TargetFailed) else log.info
                write("a folder at the target is not a usable backup", reason=str(error))
        return adopted

    async def adopt(self, backup_id: str) -> None:
        """Make a record of one backup, or complete the record of a failed backup.

        A failed backup is adopted unless the manifest has the objects that this database has stored: only the answer of
        the target to the request for the manifest was lost then. Raises `BackupRefused` or `TargetFailed`.
        """
        manifest, envelope = await fetch_manifest(self._archive, backup_id)
        entries = await stored_entries(self._database, backup_id)
        is_own = bool(entries) and entries == manifest.objects
        async with self._database.transaction() as session:
            await record_manifest(session, manifest, envelope, adopted=not is_own)


async def stored_entries(database: Database, backup_id: str) -> list[ObjectEntry]:
    """Return the entries of the objects that this database has stored for a running or failed backup."""
    rows = await database.rows("backup_objects", backup_id)
    return [ObjectEntry.model_validate_json(row["entry"]) for row in rows]


async def record_manifest(
    session: Session, manifest: Manifest, envelope: Envelope, *, adopted: bool
) -> None:
    """Make the record of a complete backup from its manifest, or complete the record of a running or failed backup.

    An adopted backup has no event, because the database that made it has announced it.
    """
    row = await session.row(
        "record_manifest",
        manifest.backup_id,
        manifest.state_type.value,
        manifest.backup_type.value,
        manifest.canvas_id,
        manifest.owner_id,
        manifest.parent_id,
        manifest.created_by,
        manifest.created_at,
        manifest.finished_at,
        manifest.canvases,
        manifest.changed,
        manifest.users,
        len(manifest.objects),
        manifest.bytes,
        envelope.encryption is not None,
        envelope.format,
        envelope.version,
        adopted,
    )
    if row is None:
        return  # the backup was complete or is being deleted
    if not adopted:
        completed = BackupCompleted(
            backup_id=manifest.backup_id, canvases=manifest.canvases, size_bytes=manifest.bytes
        )
        await emit(session, completed, actor=manifest.created_by)
    await session.run("forget_backup_objects", manifest.backup_id, 0)
