"""Write `docs/metrics.md` from the catalogue."""

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from deploy.monitoring.catalogue import LABELS, PREFIX, Metric, catalogue
from svgx_common.contract.operation import SERVICES

PATH = Path(__file__).parents[2] / "docs" / "metrics.md"

_HEAD = f"""# Metrics

`make docs` writes this page from the code.

Each service serves its metrics on its own port: `/metrics/prometheus` as text and as OpenMetrics, `/metrics/` as
JSON. All names begin with `{PREFIX}`. Metrics have a value before their first event, so that `rate()` sees
the first burst. Histograms have the series `…_bucket`, `…_sum` and `…_count`. Exemplars are in OpenMetrics only: their
`trace_id` leads to a trace. The metrics `process_*` and `python_*` come from the Prometheus client.

[deploy/README.md](../deploy/README.md) lists the dashboards, and the [runbooks](runbooks/README.md) have a page for
each alert.
"""

_TABLE = f"""
| `{PREFIX}…` | kind | |
|---|---|---|"""

_LABELS = """
## Labels

The number of values of each label is bounded. Prometheus and the Prometheus Operator set labels of their own on each
target, and no label below has the name of one of those.

| label | | values |
|---|---|---|"""

_MOST_VALUES = 8
"""The largest number of values that the page lists for a label."""


def page() -> str:
    """Return the content of the page."""
    return "\n".join([_HEAD.rstrip("\n"), *_metrics(), *_labels()]) + "\n"


def _metrics() -> Iterator[str]:
    """Yield the lines of a table for each set of services. The metrics that all services have come first."""

    def order(metric: Metric) -> tuple[int, tuple[str, ...]]:
        return -len(metric.services), metric.services

    for services, metrics in groupby(sorted(catalogue(), key=order), lambda each: each.services):
        names = [service.capitalize() for service in services]
        title = "Every service" if len(names) == len(SERVICES) else " and ".join(names)
        yield f"\n## {title}"
        yield _TABLE
        for metric in metrics:
            labels = f"{{{','.join(metric.labels)}}}" if metric.labels else ""
            name = f"`{metric.name.removeprefix(PREFIX)}{labels}`"
            yield f"| {name} | {metric.kind} | {metric.text} |"


def _labels() -> Iterator[str]:
    yield _LABELS
    for name, label in LABELS.items():
        listed = ", ".join(f"`{value}`" for value in sorted(label.values))
        if len(label.values) > _MOST_VALUES:
            listed = "a fixed set"
        yield f"| `{name}` | {label.meaning} | {listed or 'one for each replica'} |"


if __name__ == "__main__":
    PATH.write_text(page(), encoding="utf-8")
