"""The metric families of the journal, and of the disk that it takes."""

from prometheus_client import Counter, Gauge, Histogram

COMMITS = Counter(
    "svgx_engine_journal_commits",
    "Transactions with entries for the journal, also those with only entries that were committed before.",
)
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
    "Reads of a canvas or its past, and compactions, that found journal entries missing"
    " (docs/runbooks/journal-gap.md).",
)
GAP_AT = Gauge(
    "svgx_engine_journal_gap_timestamp_seconds",
    "Time of the newest read or compaction that found journal entries missing, in Unix seconds, or 0 without one. All"
    " replicas report the same database.",
)
GAP_CANVASES = Gauge(
    "svgx_engine_journal_gap_canvases",
    "Canvases with missing journal entries, until an operator deletes their rows from the table `journal_gap`. All"
    " replicas report the same database.",
)
QUARANTINED = Counter(
    "svgx_engine_journal_quarantined",
    "Corrupt journal entries and snapshots that were moved to the quarantine.",
)
QUARANTINED_AT = Gauge(
    "svgx_engine_journal_quarantined_timestamp_seconds",
    "Time of the newest move to the quarantine, in Unix seconds, or 0 without one. All replicas report the same"
    " database.",
)
DELETED_OUTLINES = Counter(
    "svgx_engine_journal_deleted_outlines",
    "Outlines that were deleted because PostgreSQL could not read them. Their snapshots stay.",
)
RETENTION_RUNS = Counter(
    "svgx_engine_journal_retention_runs",
    "Runs that drop old days of the journal: `written` without an error, `skipped` because another replica does it, or"
    " `failed`.",
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
    "Size of the database, with the data of all services. All replicas report the same database.",
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
    "Disk space that the journal takes for a day, as the mean of the last complete days. All replicas report the same"
    " database.",
)
DISK_FULL = Gauge(
    "svgx_engine_database_full_seconds",
    "Forecast of the time until the database has the size `DATABASE_DISK_GB`. It is at most ten years, and ten years"
    " without this setting.",
)
DISK_FULL.set(3650 * 86400)
