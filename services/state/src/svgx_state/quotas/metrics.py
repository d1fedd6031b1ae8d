"""The metric families of quotas."""

from prometheus_client import Counter, Gauge

from svgx_common.contract.storage.quotas import QuotaName

MAX_NAMED = 5000
"""Largest number of accounts without a bound of their own that a report names.

The report names at most as many canvases for their journal bytes, and again as many for their content. It names the
accounts and canvases with the most bytes. Accounts and canvases with bounds of their own are named in addition.
"""

QUOTA_REFUSALS = Counter(
    "svgx_engine_quota_refused_canvases",
    "Canvases that were not created or restored because a quota is used up, by quota.",
    ["quota"],
)
for _quota in (QuotaName.CANVASES, QuotaName.CANVASES_PER_HOUR, QuotaName.CANVASES_PER_DAY):
    QUOTA_REFUSALS.labels(_quota.value)
QUOTA_NEAR = Gauge(
    "svgx_engine_quota_near",
    "Accounts and canvases that have used 80 % or more of a bound of bytes. For an account without its own bound, this "
    f"is the lowest bound of a role. Of accounts and canvases without their own bounds, the largest {MAX_NAMED} "
    f"accounts and {2 * MAX_NAMED} canvases are counted.",
    ["kind"],
)
for _kind in ("account", "canvas"):
    QUOTA_NEAR.labels(_kind)
QUOTA_UNSTORED_BYTES = Gauge(
    "svgx_engine_quota_unstored_bytes", "Journal bytes that are not in the stored counts yet."
)
