"""Queries and panels that several dashboards use. A query is a pair of an expression and the name of its series.

In an expression, `{NS` stands for the selector of the namespace, and `[RATE]` for the window of rates.
"""

from deploy.monitoring.board import Panel

ERROR_SHARE = """
sum by (job) (rate(svgx_engine_errors_total{NS}[RATE]))
  / sum by (job) (rate(svgx_engine_requests_total{NS}[RATE]))
""".strip()

LATE_SHARE = """
sum(rate(svgx_engine_live_edits_total{NS,outcome=~"late|failed"}[1h]))
  / sum(rate(svgx_engine_live_edits_total{NS,outcome!="rejected"}[1h]))
""".strip()

FAILED_SHARE = """
sum(rate(svgx_engine_http_responses_total{NS,status="5xx"}[1h]))
  / sum(rate(svgx_engine_http_responses_total{NS}[1h]))
""".strip()


NOT_RESERVED = 'service!~".+-reserved"'
RESERVED = 'service=~".+-reserved"'
"""Selectors of targets by their Kubernetes service: reserved replicas of collab have a service of their own."""


def quantiles(metric: str, by: str = "", selector: str = "") -> list[tuple[str, str]]:
    """Return the median, and the 95th and 99th percentile of a histogram, by one label if given."""
    legend = f"{{{{{by}}}}} " if by else ""
    return [
        (_quantile(metric, by, share, selector), f"{legend}{name}")
        for share, name in ((0.5, "median"), (0.95, "95 %"), (0.99, "99 %"))
    ]


def percentile(metric: str, by: str, share: float = 0.95, selector: str = "") -> tuple[str, str]:
    """Return a percentile of a histogram by a label."""
    return _quantile(metric, by, share, selector), f"{{{{{by}}}}}"


def rate(metric: str, by: str, selector: str = "") -> tuple[str, str]:
    """Return the rate of a counter by a label."""
    return f"sum by ({by}) (rate({_series(metric, selector)}[RATE]))", f"{{{{{by}}}}}"


def total(metric: str, by: str = "", selector: str = "") -> tuple[str, str]:
    """Return the sum of a gauge, by one label if given."""
    grouping = f" by ({by})" if by else ""
    return f"sum{grouping} ({_series(metric, selector)})", f"{{{{{by}}}}}" if by else ""


def _quantile(metric: str, by: str, share: float, selector: str) -> str:
    labels = f"{by}, le" if by else "le"
    buckets = _series(f"{metric}_bucket", selector)
    return f"histogram_quantile({share}, sum by ({labels}) (rate({buckets}[RATE])))"


def _series(metric: str, selector: str) -> str:
    """Return the series of a metric in the namespace, and with the labels of the selector if given."""
    return f"{metric}{{NS,{selector}}}" if selector else f"{metric}{{NS}}"


SAVED_LATE = Panel(
    "Edits saved too late",
    "Edits of the last hour not saved within a second, as a share of those not rejected. The objective permits 0.1 %.",
    "percentunit",
    [(LATE_SHARE, "late or failed")],
    limit=0.001,
    stat=True,
)
FAILED_REQUESTS = Panel(
    "Requests failed",
    "Requests of the last hour that got 5xx, as a share of all requests. The objective permits 0.1 %.",
    "percentunit",
    [(FAILED_SHARE, "5xx")],
    limit=0.001,
    stat=True,
)
LOOP_LAG = Panel(
    "Lag of the event loop",
    "99th percentile of the time by which timers are late. Above 0.1 s the process has too much to do.",
    "s",
    [percentile("svgx_engine_loop_lag_seconds", "job", 0.99)],
    limit=0.1,
)
OLDEST_UNSAVED = Panel(
    "Oldest edit that is not saved",
    "Age of the oldest edit without a commit, as the gateways and the holders see it.",
    "s",
    [
        ("max(svgx_engine_live_oldest_unsaved_seconds{NS})", "gateway"),
        ("max(svgx_engine_collab_oldest_unsaved_seconds{NS})", "holder"),
    ],
    limit=5,
)
