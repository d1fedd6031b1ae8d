"""Queries and panels that several dashboards use. A query is a PromQL expression with the legend of its series.

`expression` in `board.py` replaces `{NS` by the start of a selector of the namespace, and `[RATE]` by the time range of
rates.
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

JOBS = 'job=~"svgx-.+"'
"""A label matcher: all targets that are services of SVGX Engine, in a release of any name."""

WITH_SERVICES = f"and on (namespace) up{{NS,{JOBS}}}"
"""The end of a query: keep only the namespaces in which Prometheus finds services of SVGX Engine.

Names of pods and deployments begin with the name of the release, so their beginning is not known.
"""

NOT_RESERVED = 'service!~".+-reserved"'
RESERVED = 'service=~".+-reserved"'
"""Label matchers: all targets but the reserved replicas of collab, and only these replicas.

Reserved replicas have a Kubernetes service of their own, and its name ends in `-reserved`.
"""


def quantiles(metric: str, by: str = "", selector: str = "") -> list[tuple[str, str]]:
    """Return queries for the median, the 95th and the 99th percentile of a histogram.

    With `by`, each query has a series for each value of this label.
    """
    legend = f"{{{{{by}}}}} " if by else ""
    return [
        (_quantile(metric, by, share, selector), f"{legend}{name}")
        for share, name in ((0.5, "median"), (0.95, "95 %"), (0.99, "99 %"))
    ]


def percentile(metric: str, by: str, share: float = 0.95, selector: str = "") -> tuple[str, str]:
    """Return a query for a percentile of a histogram, with a series for each value of the label `by`."""
    return _quantile(metric, by, share, selector), f"{{{{{by}}}}}"


def rate(metric: str, by: str, selector: str = "") -> tuple[str, str]:
    """Return a query for the rate of a counter, with a series for each value of the label `by`."""
    return f"sum by ({by}) (rate({_series(metric, selector)}[RATE]))", f"{{{{{by}}}}}"


def total(metric: str, by: str = "", selector: str = "") -> tuple[str, str]:
    """Return a query for the sum of a gauge. With `by`, it has a series for each value of this label."""
    grouping = f" by ({by})" if by else ""
    return f"sum{grouping} ({_series(metric, selector)})", f"{{{{{by}}}}}" if by else ""


def _quantile(metric: str, by: str, share: float, selector: str) -> str:
    labels = f"{by}, le" if by else "le"
    buckets = _series(f"{metric}_bucket", selector)
    return f"histogram_quantile({share}, sum by ({labels}) (rate({buckets}[RATE])))"


def _series(metric: str, selector: str) -> str:
    """Return the PromQL selector of a metric in the namespace, with the label matchers of `selector` if given."""
    return f"{metric}{{NS,{selector}}}" if selector else f"{metric}{{NS}}"


SAVED_LATE = Panel(
    "Edits saved too late",
    "Edits of the last hour not saved within a second, as a share of accepted edits. The objective permits 0.1 %.",
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
    "Age of the oldest uncommitted edit, measured by the gateways and by the holders.",
    "s",
    [
        ("max(svgx_engine_live_oldest_unsaved_seconds{NS})", "gateway"),
        ("max(svgx_engine_collab_oldest_unsaved_seconds{NS})", "holder"),
    ],
    limit=5,
)
