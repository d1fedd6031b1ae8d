"""The metric families of the removal of canvases and the erasure of users."""

from prometheus_client import Counter

PURGED_CANVASES = Counter(
    "svgx_engine_purged_canvases", "Deleted canvases that were removed for good."
)
PURGED_ROWS = Counter(
    "svgx_engine_purged_rows", "Rows of deleted canvases that were removed for good."
)
ERASED_ROWS = Counter(
    "svgx_engine_erased_rows",
    "Rows that the erasure of a user changed or deleted, for example rows in which a pseudonym took the user's place.",
)
