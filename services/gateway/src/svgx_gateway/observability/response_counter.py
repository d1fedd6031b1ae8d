"""A count of the gateway's responses by class of status, from which the share of good requests is calculated."""

from prometheus_client import Counter

RESPONSES = Counter(
    "svgx_engine_http_responses",
    "HTTP responses of the gateway, except for its health and metrics pages."
    " `1xx` is a WebSocket's upgrade.",
    ["status"],
)

UPGRADED = 101

_BY_HUNDREDS = {hundreds: RESPONSES.labels(f"{hundreds}xx") for hundreds in range(1, 6)}


def count_response(status: int) -> None:
    """Count one response."""
    _BY_HUNDREDS[status // 100].inc()
