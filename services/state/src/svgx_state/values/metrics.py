"""The metric families of stored values."""

from prometheus_client import Counter, Gauge

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
    "Lookups in the cache of values: `hit`, `miss` when the store is asked, or `shared` with a running read.",
    ["outcome"],
)
for _outcome in ("hit", "miss", "shared"):
    VALUE_CACHE.labels(_outcome)
VALUE_CACHE_BYTES = Gauge("svgx_engine_value_cache_bytes", "Bytes of the cached values.")
VALUES_EXPIRED = Counter(
    "svgx_engine_values_expired",
    "Values in PostgreSQL or memory that were deleted because their time to live had ended. Redis itself removes "
    "expired values.",
)
