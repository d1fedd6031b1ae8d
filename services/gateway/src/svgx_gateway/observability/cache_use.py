"""A metric of the hits and misses of the gateway's caches."""

from prometheus_client import Counter

CACHE_REQUESTS = Counter(
    "svgx_engine_cache_requests",
    "Lookups in a cache of the gateway: `hit`, or `miss` when a service is asked.",
    ["cache", "outcome"],
)


def cache_counters(cache: str) -> tuple[Counter, Counter]:
    """Return the counters of a cache's hits and misses."""
    return CACHE_REQUESTS.labels(cache, "hit"), CACHE_REQUESTS.labels(cache, "miss")
