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
