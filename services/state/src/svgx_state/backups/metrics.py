"""The metric families of backups and restores.

The counters and histograms contain no work of commands such as `svgx-state backup`, because Prometheus does not scrape
the process of a command. The gauges show figures of the database, so they contain this work too.
"""

from prometheus_client import Counter, Gauge, Histogram

BACKUPS = Counter(
    "svgx_engine_backups",
    "Backups that ended: `complete` or `failed`. Those of the command `svgx-state backup` are not counted.",
    ["outcome"],
)
for _outcome in ("complete", "failed"):
    BACKUPS.labels(_outcome)
BACKUP_LAST_SUCCESS = Gauge(
    "svgx_engine_backup_last_success_timestamp_seconds",
    "Start of the newest complete backup of all canvases that this database has made, in Unix seconds, or 0 without "
    "one. All replicas show the same value.",
)
BACKUP_SECONDS = Histogram(
    "svgx_engine_backup_seconds",
    "Seconds of the attempt that completed a backup. A new attempt begins when another replica takes up the backup, "
    "and after each outage.",
    buckets=(1, 5, 15, 60, 300, 900, 3600, 14400, 43200),
)
BACKUP_BYTES = Counter("svgx_engine_backup_bytes", "Bytes of the objects that backups stored.")
BACKUP_PROGRESS = Gauge(
    "svgx_engine_backup_progress",
    "Written part of the running backup, from 0 to 1, or 0 without one. All replicas show the same value.",
)
BACKUP_VERIFICATIONS = Counter(
    "svgx_engine_backup_verifications",
    "Verifications of backups that ended: `passed` or `failed`. The check before a restore does not count.",
    ["outcome"],
)
for _outcome in ("passed", "failed"):
    BACKUP_VERIFICATIONS.labels(_outcome)
RESTORES = Counter(
    "svgx_engine_restores",
    "Restores that ended: `complete`, `partial`, `failed` or `refused`. A restore is refused if the backup is damaged, "
    "incomplete or foreign, or needs another key or a later release of SVGX Engine.",
    ["outcome"],
)
for _outcome in ("complete", "partial", "refused", "failed"):
    RESTORES.labels(_outcome)
RESTORE_SECONDS = Histogram(
    "svgx_engine_restore_seconds",
    "Seconds of the attempt that completed a restore. A new attempt begins when another replica takes up the restore, "
    "and after each outage.",
    buckets=(1, 5, 15, 60, 300, 900, 3600, 14400, 43200),
)
RESTORE_PROGRESS = Gauge(
    "svgx_engine_restore_progress",
    "Finished part of the running restore, from 0 to 1, or 0 without one. All replicas show the same value.",
)
