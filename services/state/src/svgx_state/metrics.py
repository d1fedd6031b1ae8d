"""The metric families of the state service. `svgx_common.metrics` has the families of every service."""

from prometheus_client import Counter, Gauge, Histogram

from svgx_common.contract.storage.quotas import QuotaName

COMMITS = Counter("svgx_engine_journal_commits", "Transactions that added entries to the journal.")
ENTRIES = Counter("svgx_engine_journal_entries", "Entries committed to the journal.")
REPEATED_ENTRIES = Counter(
    "svgx_engine_journal_repeated_entries",
    "Entries that were sent again after they were committed. It rises when answers get lost.",
)
UPDATE_BYTES = Counter(
    "svgx_engine_journal_bytes", "Bytes of the updates committed to the journal."
)
COMMIT_SECONDS = Histogram(
    "svgx_engine_journal_commit_seconds",
    "Seconds to commit one group of entries, including the wait for a connection.",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 15),
)
GAPS = Counter(
    "svgx_engine_journal_gaps",
    "Loads that found journal entries missing, because rows were removed by hand.",
)
QUARANTINED = Counter(
    "svgx_engine_journal_quarantined",
    "Corrupt journal entries and snapshots that were moved to the quarantine.",
)
SNAPSHOTS = Counter(
    "svgx_engine_snapshots",
    "Compactions of a canvas: `written`, `skipped` because there is nothing to do here, or `failed`.",
    ["outcome"],
)
for _outcome in ("written", "skipped", "failed"):
    SNAPSHOTS.labels(_outcome)
SNAPSHOT_SECONDS = Histogram(
    "svgx_engine_snapshot_seconds",
    "Seconds to compact one canvas.",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60),
)
SNAPSHOT_BACKLOG = Gauge(
    "svgx_engine_snapshot_backlog", "Canvases that wait for compaction or are being compacted."
)
RETENTION_RUNS = Counter(
    "svgx_engine_journal_retention_runs",
    "Runs that drop old days of the journal: `written`, `skipped` because another replica does it, or `failed`.",
    ["outcome"],
)
for _outcome in ("written", "skipped", "failed"):
    RETENTION_RUNS.labels(_outcome)
DROPPED_DAYS = Counter(
    "svgx_engine_journal_dropped_days",
    "Days of the journal that were dropped after their retention.",
)
OLDEST_DAY = Gauge(
    "svgx_engine_journal_oldest_day_seconds",
    "Age of the start of the oldest day in the journal. All replicas report the same database.",
)
DAYS = Gauge(
    "svgx_engine_journal_partitions",
    "Partitions of the journal, with those of the days ahead. All replicas report the same database.",
)
RETENTION = Gauge(
    "svgx_engine_journal_retention_seconds",
    "Time for which the journal is kept, by the setting `JOURNAL_RETENTION_DAYS`; 0 means without end.",
)
DATABASE_BYTES = Gauge(
    "svgx_engine_database_bytes",
    "Size of the database, with all its services. All replicas report the same database.",
)
JOURNAL_DISK_BYTES = Gauge(
    "svgx_engine_journal_disk_bytes",
    "Disk space of the journal, with its indexes. All replicas report the same database.",
)
SNAPSHOT_DISK_BYTES = Gauge(
    "svgx_engine_snapshot_disk_bytes",
    "Disk space of all snapshots. All replicas report the same database.",
)
DAY_BYTES = Gauge(
    "svgx_engine_journal_day_bytes",
    "Disk space that the journal takes for each day, over the last full days. All replicas report the same database.",
)
DISK_FULL = Gauge(
    "svgx_engine_database_full_seconds",
    "Forecast of the time until the database has the size `DATABASE_DISK_GB`; ten years if that is longer or not set.",
)
DISK_FULL.set(3650 * 86400)

VERSIONS_MADE = Counter(
    "svgx_engine_versions_made",
    "Versions made, by reason: `automatic`, `named` by a user, or `before_restore` and `before_import` of content.",
    ["reason"],
)
for _reason in ("automatic", "named", "before_restore", "before_import"):
    VERSIONS_MADE.labels(_reason)
VERSIONS_REMOVED = Counter(
    "svgx_engine_versions_removed",
    "Versions without a name that were deleted, by reason: `thinned` with their age, or `expired` with the journal.",
    ["reason"],
)
for _reason in ("thinned", "expired"):
    VERSIONS_REMOVED.labels(_reason)
VERSION_RESTORES = Counter(
    "svgx_engine_version_restores",
    "Restores of versions: `restored`, `refused` because of the request or the content, or `failed`.",
    ["outcome"],
)
for _outcome in ("restored", "refused", "failed"):
    VERSION_RESTORES.labels(_outcome)
VERSION_RESTORE_SECONDS = Histogram(
    "svgx_engine_version_restore_seconds",
    "Seconds of one restore of a version, with the wait for a worker.",
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 90),
)
QUOTA_REFUSALS = Counter(
    "svgx_engine_quota_refused_canvases",
    "Canvases that were not created because a quota is used up, by quota.",
    ["quota"],
)
for _quota in (QuotaName.CANVASES, QuotaName.CANVASES_PER_HOUR, QuotaName.CANVASES_PER_DAY):
    QUOTA_REFUSALS.labels(_quota.value)
QUOTA_NEAR = Gauge(
    "svgx_engine_quota_near",
    "Accounts and canvases that have used 80 % or more of the lowest bound that any of them may have.",
    ["kind"],
)
for _kind in ("account", "canvas"):
    QUOTA_NEAR.labels(_kind)
QUOTA_UNSTORED_BYTES = Gauge(
    "svgx_engine_quota_unstored_bytes", "Journal bytes whose counts are not stored yet."
)
PURGED_CANVASES = Counter(
    "svgx_engine_purged_canvases", "Deleted canvases that were removed for good."
)
PURGED_ROWS = Counter(
    "svgx_engine_purged_rows", "Rows of deleted canvases that were removed for good."
)
ERASED_ROWS = Counter(
    "svgx_engine_erased_rows", "Rows in which a pseudonym took the place of an erased user."
)

BACKUPS = Counter("svgx_engine_backups", "Backups that ended: `complete` or `failed`.", ["outcome"])
for _outcome in ("complete", "failed"):
    BACKUPS.labels(_outcome)
BACKUP_LAST_SUCCESS = Gauge(
    "svgx_engine_backup_last_success_timestamp_seconds",
    "Start of the newest complete backup, in Unix seconds, or 0 without one. All replicas show the same value.",
)
BACKUP_SECONDS = Histogram(
    "svgx_engine_backup_seconds",
    "Seconds to write one backup, since its replica took it up.",
    buckets=(1, 5, 15, 60, 300, 900, 3600, 14400, 43200),
)
BACKUP_BYTES = Counter("svgx_engine_backup_bytes", "Bytes of the objects that backups stored.")
BACKUP_PROGRESS = Gauge(
    "svgx_engine_backup_progress",
    "Part of the last backup of this replica that is written, from 0 to 1.",
)
BACKUP_VERIFICATIONS = Counter(
    "svgx_engine_backup_verifications",
    "Backups that were read back: `passed` or `failed`.",
    ["outcome"],
)
for _outcome in ("passed", "failed"):
    BACKUP_VERIFICATIONS.labels(_outcome)
RESTORES = Counter(
    "svgx_engine_restores",
    "Restores that ended: `complete`, `partial`, `refused` because of a damaged backup, or `failed`.",
    ["outcome"],
)
for _outcome in ("complete", "partial", "refused", "failed"):
    RESTORES.labels(_outcome)
RESTORE_SECONDS = Histogram(
    "svgx_engine_restore_seconds",
    "Seconds to verify and restore one backup, since its replica took it up.",
    buckets=(1, 5, 15, 60, 300, 900, 3600, 14400, 43200),
)
RESTORE_PROGRESS = Gauge(
    "svgx_engine_restore_progress",
    "Part of the last restore of this replica that is finished, from 0 to 1.",
)

VALUE_ACTIONS = Counter(
    "svgx_engine_value_actions",
    "Actions on stored values by backend: `ok`, `refused` because of a version, a type or a limit, or `failed`.",
    ["backend", "action", "outcome"],
)
for _backend in ("postgresql", "redis", "memory"):
    for _action in ("persist", "retrieve", "delete", "list"):
        for _outcome in ("ok", "refused", "failed"):
            VALUE_ACTIONS.labels(_backend, _action, _outcome)
VALUE_CACHE = Counter(
    "svgx_engine_value_cache_requests",
    "Look-ups in the cache of values: `hit`, `miss` when the store is asked, or `shared` with a running read.",
    ["outcome"],
)
for _outcome in ("hit", "miss", "shared"):
    VALUE_CACHE.labels(_outcome)
VALUE_CACHE_BYTES = Gauge("svgx_engine_value_cache_bytes", "Bytes of the cached values.")
VALUES_EXPIRED = Counter(
    "svgx_engine_values_expired", "Values deleted because their time to live had ended."
)
