"""The metric families of the state service. `svgx_common.metrics` has the families of every service."""

from prometheus_client import Counter, Gauge, Histogram

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
