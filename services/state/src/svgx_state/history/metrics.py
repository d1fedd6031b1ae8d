"""The metric families of versions."""

from prometheus_client import Counter, Histogram

VERSIONS_MADE = Counter(
    "svgx_engine_versions_made",
    "Versions made, by reason: `automatic`, `named` by a user, `before_restore`, or `before_import`.",
    ["reason"],
)
for _reason in ("automatic", "named", "before_restore", "before_import"):
    VERSIONS_MADE.labels(_reason)
VERSIONS_REMOVED = Counter(
    "svgx_engine_versions_removed",
    "Versions without a name that were deleted, by reason: `thinned` because they were too many for their age or "
    "too many in all, or `expired` with the journal.",
    ["reason"],
)
for _reason in ("thinned", "expired"):
    VERSIONS_REMOVED.labels(_reason)
VERSION_RESTORES = Counter(
    "svgx_engine_version_restores",
    "Restores of versions: `restored`, `refused` with a status below 500, or `failed`.",
    ["outcome"],
)
for _outcome in ("restored", "refused", "failed"):
    VERSION_RESTORES.labels(_outcome)
VERSION_RESTORE_SECONDS = Histogram(
    "svgx_engine_version_restore_seconds",
    "Seconds of one restore of a version, with the wait for a worker.",
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 90),
)
