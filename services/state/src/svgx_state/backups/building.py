"""Build the components for backups from the settings. The service and its commands use these components."""

from dataclasses import dataclass

import structlog

from svgx_common.postgres import Database
from svgx_common.runtime import Runtime
from svgx_common.settings import WrongSetting
from svgx_state.backups.accounts import StoredAccounts
from svgx_state.backups.adoption import Adoption
from svgx_state.backups.catalogue import Catalogue
from svgx_state.backups.creation import BackupWriter
from svgx_state.backups.deletion import BackupRemover, Retention
from svgx_state.backups.format.archive import Archive
from svgx_state.backups.format.sealing import Seal, read_key
from svgx_state.backups.format.target import Target
from svgx_state.backups.restoring import BackupRestorer
from svgx_state.backups.runner import BackupRunner
from svgx_state.backups.tasks import Tasks
from svgx_state.backups.verification import BackupChecker
from svgx_state.journal import Journal
from svgx_state.settings import StateSettings
from svgx_workers.pool import Workers

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Backups:
    """The records of backups, the runner of their tasks, and the adoption of backups without a record."""

    catalogue: Catalogue
    runner: BackupRunner
    adoption: Adoption


def build_backups(
    runtime: Runtime[StateSettings], database: Database, journal: Journal, workers: Workers
) -> Backups | None:
    """Return the components that handle backups, or None without `BACKUP_URL`.

    Raise `WrongSetting` for a target that cannot be used.
    """
    settings, bus = runtime.settings, runtime.bus
    if not settings.backup_url:
        return None
    try:
        target = Target.open(settings.backup_url)
    except ValueError as error:
        raise WrongSetting("BACKUP_URL", str(error)) from None
    if settings.backups_unprotected:
        log.warning("backups are not encrypted: set BACKUP_KEY", backup_url=settings.backup_url)
    archive = Archive(target, Seal(read_key(settings.backup_key.get_secret_value())))
    tasks = Tasks(database)
    accounts = StoredAccounts(bus)
    adoption = Adoption(database, archive)
    runner = BackupRunner(
        database,
        tasks,
        archive,
        writer=BackupWriter(
            database,
            tasks=tasks,
            archive=archive,
            accounts=accounts,
            journal=journal,
            version=runtime.version,
        ),
        checker=BackupChecker(workers),
        restorer=BackupRestorer(
            database,
            bus=bus,
            tasks=tasks,
            archive=archive,
            accounts=accounts,
            journal=journal,
            workers=workers,
        ),
        remover=BackupRemover(
            database, tasks, archive, Retention(settings.backup_keep, settings.backup_keep_days)
        ),
        adoption=adoption,
    )
    return Backups(Catalogue(database, archive, adoption, runtime.version), runner, adoption)
