"""docs/metrics.md names existing metrics, and metrics have only labels with few values."""

import re
import subprocess
import sys

import pytest

from tests.unit.house_rules.sources import ROOT

_PROGRAM = """
import importlib, sys
from prometheus_client import REGISTRY
for module in ("common.postgres", "common.redis", *(f"{name}.app" for name in sys.argv[1:])):
    importlib.import_module(f"svgx_{module}")
for collector in set(REGISTRY._collector_to_names):
    name = getattr(collector, "_name", "")
    if name.startswith("svgx_engine_"):
        suffix = "_total" if collector._type == "counter" else ""
        print(name + suffix, *collector._labelnames)
"""
"""Prints the name of each metric and its labels. It runs in a process of its own, without the metrics of tests."""


@pytest.fixture(scope="module")
def metrics() -> dict[str, list[str]]:
    """Return the labels of each metric of all services."""
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, "auth", "collab", "gateway", "state"],
        capture_output=True,
        text=True,
        check=True,
    )
    found = (line.split(" ") for line in done.stdout.splitlines())
    return {name: labels for name, *labels in found}


def test_documented_metrics_exist_with_their_labels(metrics: dict[str, list[str]]) -> None:
    """Each row of docs/metrics.md names metrics of a service. Proves R-OBS-11."""
    text = (ROOT / "docs/metrics.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`.+?) \|", text, re.MULTILINE)
    documented = [each for row in rows for each in re.findall(r"`([a-z_]+)(?:{([a-z_,]+)})?`", row)]
    assert len(documented) > 25
    for name, labels in documented:
        assert metrics.get(f"svgx_engine_{name}") == (labels.split(",") if labels else []), name


def test_labels_have_few_values(metrics: dict[str, list[str]]) -> None:
    """No metric has a label for users, canvases, addresses or paths. Proves R-OBS-11."""
    allowed = {"circuit", "code", "dependency", "limit", "operation", "outcome", "part"}
    allowed |= {"python", "rate_class", "reason", "revision", "service", "state"}
    allowed |= {"version"}
    found = {label for labels in metrics.values() for label in labels}
    assert found - allowed == set()
