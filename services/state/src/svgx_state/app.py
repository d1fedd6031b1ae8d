"""The composition root: all parts of the state service are built here."""

import contextlib
import functools
from collections.abc import AsyncIterator

from svgx_common import postgres
from svgx_common.background import BackgroundTasks
from svgx_common.observability.confinement import show_confinement
from svgx_common.observability.worker_use import show_use
from svgx_common.postgres import Database
from svgx_common.runtime import Runtime, Service
from svgx_state.accounts import Accounts
from svgx_state.administration.canvases import CanvasAdministration
from svgx_state.backups.building import Backups, build_backups
from svgx_state.backups.handlers import BackupHandlers
from svgx_state.canvases import Canvases
from svgx_state.deletion.canvases import DeletedCanvases
from svgx_state.deletion.erasure import Erasure
from svgx_state.deletion.purge import Purge
from svgx_state.events.building import event_delivery
from svgx_state.exports import Exports
from svgx_state.handlers import Handlers
from svgx_state.history.building import History, build_history
from svgx_state.journal import Journal
from svgx_state.journal.disk import DiskUse
from svgx_state.journal.gaps import RecordedGaps
from svgx_state.journal.quarantine import Quarantine
from svgx_state.journal.retention import Retention
from svgx_state.members import Members
from svgx_state.partitions import add_partitions_at_start, add_partitions_later
from svgx_state.quotas.service import quota_counting
from svgx_state.quotas.usage import require_canvas_count, require_new_canvas
from svgx_state.ratelimits import StoredRateLimits
from svgx_state.settings import StateSettings
from svgx_state.sharing.creators import LinkCreators
from svgx_state.sharing.handlers import Sharing
from svgx_state.sharing.links import Links
from svgx_state.snapshots import Compactor
from svgx_state.values.service import storing_values
from svgx_workers.pool import Workers


@contextlib.asynccontextmanager
async def build(runtime: Runtime[StateSettings]) -> AsyncIterator[Service]:
    """Build the service, connect it to its database, and answer all its operations until the block ends."""
    settings = runtime.settings
    background = BackgroundTasks()
    async with (
        postgres.connect(
            settings.postgres_url,
            schema="state",
            package="svgx_state",
            pool_size=settings.database_connections,
        ) as database,
        Workers(
            settings.worker_count,
            settings.worker_memory_mb * 1024 * 1024,
            settings.worker_timeout_seconds,
        ) as workers,
        quota_counting(runtime, database) as quotas,
        event_delivery(runtime, database),
    ):
        await add_partitions_at_start(database, settings.journal_days_ahead)
        history = build_history(runtime, database, workers)
        compactor = Compactor(
            database,
            workers,
            max_tail_entries=settings.compact_after_entries,
            max_tail_bytes=settings.compact_after_bytes,
            concurrency=settings.compact_concurrency,
        )

        def note_appended(canvas_id: str, tail_entries: int, tail_bytes: int) -> None:
            compactor.note_tail(canvas_id, tail_entries, tail_bytes)
            history.automatic.note(canvas_id)

        journal = Journal(database, note_appended, quotas.usage.count)
        accounts = Accounts(runtime.bus)
        links = Links(database, LinkCreators(accounts), settings.links_per_canvas)
        check_quota = functools.partial(require_new_canvas, stored=quotas.stored)
        canvases = Canvases(database, check_quota, links)
        exports = Exports(journal, history.past, history.versions, workers)
        members = Members(database, accounts)
        Handlers(runtime.bus, canvases, members, journal, exports).register(runtime.responder)
        CanvasAdministration(database).register(runtime.responder)
        StoredRateLimits(runtime.bus, database, accounts).register(runtime.responder)
        sharing = Sharing(runtime.bus, links)
        sharing.register(runtime.responder)
        await sharing.start()
        purge = Purge(database, settings.deleted_retention_days)
        check_canvas_count = functools.partial(require_canvas_count, stored=quotas.stored)
        DeletedCanvases(runtime.bus, database, canvases, purge, check_canvas_count).register(
            runtime.responder
        )
        backups = build_backups(runtime, database, journal, workers)
        BackupHandlers(backups).register(runtime.responder)
        _show_health(runtime, database, workers, compactor)
        _keep_journal(runtime, background, database, compactor, history)
        history.start(background)
        background.repeat("purge", purge.work)
        background.repeat("expired share links", links.forget_expired_later)
        async with storing_values(runtime, database, canvases, exports) as values:
            erasure = Erasure(runtime.bus, database, values.erase)
            erasure.register(runtime.responder)
            background.repeat("last pass of erasures", erasure.close_later)
            if backups is not None:
                backups.runner.start()
            try:
                yield Service(drain=functools.partial(_hand_over, compactor, backups))
            finally:
                await background.stop()
                await _hand_over(compactor, backups)


def _show_health(
    runtime: Runtime[StateSettings], database: Database, workers: Workers, compactor: Compactor
) -> None:
    """Add the parts of the service to its health report and metrics."""
    runtime.health.require("postgresql", database.check)
    runtime.health.describe("database_pool", database.usage)
    runtime.health.describe("workers", workers.details)
    runtime.health.describe("compaction", lambda: {"backlog": compactor.backlog})
    show_confinement(workers.confinement)
    show_use(runtime.settings.worker_count, lambda: workers.running, lambda: workers.waiting)


def _keep_journal(
    runtime: Runtime[StateSettings],
    background: BackgroundTasks,
    database: Database,
    compactor: Compactor,
    history: History,
) -> None:
    """Start the background tasks of the journal: partitions, retention, disk space, quarantine and gaps."""
    settings = runtime.settings
    retention = Retention(
        database,
        compactor,
        days=settings.journal_retention_days,
        before_drop=[history.before_drop],
    )
    disk = DiskUse(
        database,
        retention_days=settings.journal_retention_days,
        disk_bytes=settings.database_disk_gb * 1e9,
    )
    background.repeat(
        "partitions",
        functools.partial(add_partitions_later, database, settings.journal_days_ahead),
    )
    background.repeat("retention", retention.drop_and_wait)
    background.repeat("disk use", disk.measure_and_wait)
    background.repeat("quarantine", Quarantine(database).show_newest_and_wait)
    background.repeat("journal gaps", RecordedGaps(database).show_and_wait)


async def _hand_over(compactor: Compactor, backups: Backups | None) -> None:
    """Stop the compactions and the backup tasks.

    Other replicas continue the backup tasks. The next commit of a canvas schedules its compaction again.
    """
    await compactor.close()
    if backups is not None:
        await backups.runner.close()
