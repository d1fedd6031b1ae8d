"""The adoption of backups: each backup at the target that has no record in the database gets a record.

Records are missing, for example, after the database was lost.
"""

import structlog

from svgx_common.postgres import Database, Session
from svgx_state.backups.format.archive import Archive
from svgx_state.backups.format.manifest import (
    BackupIncomplete,
    BackupRefused,
    Envelope,
    Manifest,
    fetch_manifest,
)

log = structlog.get_logger(__name__)


class Adoption:
    """Makes records of backups at the target that have no record in the database."""

    def __init__(self, database: Database, archive: Archive) -> None:
        self._database = database
        self._archive = archive
        self._refused_folders: set[str] = set()

    async def adopt_all(self) -> int:
        """Make records of all complete backups at the target. Return the number of new records.

        A folder with a backup that this service cannot use is skipped now and in later calls. A folder without a
        manifest is checked again in the next call, because a service with another database may still write the backup.
        Raises `TargetFailed`.
        """
        folders = await self._archive.target.folders()
        rows = await self._database.rows("known_backups", folders)
        known = {row["id"] for row in rows}
        adopted = 0
        for folder in folders:
            if folder in known or folder in self._refused_folders:
                continue
            try:
                await self.adopt(folder)
                adopted += 1
            except BackupIncomplete:
                continue
            except BackupRefused as error:
                self._refused_folders.add(folder)
                log.info("a folder at the target is not a usable backup", reason=str(error))
        return adopted

    async def adopt(self, backup_id: str) -> None:
        """Make a record of one backup. Raises `BackupRefused` or `TargetFailed`."""
        manifest, envelope = await fetch_manifest(self._archive, backup_id)
        async with self._database.session() as session:
            await record_manifest(session, manifest, envelope, adopted=True)


async def record_manifest(
    session: Session, manifest: Manifest, envelope: Envelope, *, adopted: bool
) -> None:
    """Make the record of a complete backup from its manifest, or complete the record of a running or failed backup."""
    await session.run(
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
