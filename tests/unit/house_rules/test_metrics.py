"""The metrics of all services: docs/metrics.md is current, and each label has few values.

No label has a name that Prometheus itself sets.
"""

from deploy.monitoring import page
from deploy.monitoring.catalogue import LABELS, TARGET_LABELS, catalogue


def used_labels() -> set[str]:
    """Return the labels of all metrics."""
    return {label for metric in catalogue() for label in metric.labels}


def test_metrics_page_is_current() -> None:
    """docs/metrics.md has each metric with its labels. Proves R-OBS-11."""
    assert page.PATH.read_text(encoding="utf-8") == page.page(), "run `make docs`"


def test_labels_have_few_values() -> None:
    """Every label is in `LABELS`, which has none for users, canvases, addresses or paths. Proves R-OBS-11."""
    assert used_labels() == LABELS.keys()


def test_labels_have_no_names_that_prometheus_sets() -> None:
    """Prometheus would rename such a label to `exported_…`. Proves R-OBS-11."""
    assert used_labels() & TARGET_LABELS == set()
