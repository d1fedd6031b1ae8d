"""The queries of all dashboards and rules, and the names and labels of all time series."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import promql_parser
import yaml
from prometheus_client.parser import text_string_to_metric_families

from deploy.build import values
from deploy.monitoring.catalogue import TARGET_LABELS, catalogue
from svgx_common.contract.operation import SERVICES

FOREIGN = Path(__file__).with_name("foreign_metrics.txt")
"""A file with sample metrics of other programs, such as cAdvisor and kube-state-metrics."""


@dataclass(frozen=True, slots=True)
class Query:
    """A query, and the name of the panel or rule that contains it."""

    place: str
    text: str

    def __str__(self) -> str:
        return self.place


@dataclass(slots=True)
class Parts:
    """The selectors in a query, and the labels in its `by`, `without`, `on`, `ignoring` and `group_left` clauses."""

    selectors: list[Any] = field(default_factory=list)
    grouped: set[str] = field(default_factory=set)

    def visit(self, node: promql_parser.Expr) -> bool:
        """Add the parts of one node. Return True, so that the walk continues with its children."""
        match node:
            case promql_parser.MatrixSelector():
                self.selectors.append(node.vector_selector)
                return True
            case promql_parser.VectorSelector():
                if node not in self.selectors:
                    self.selectors.append(node)
            case promql_parser.AggregateExpr() if node.modifier is not None:
                self.grouped |= set(node.modifier.labels)
            case promql_parser.BinaryExpr() if node.modifier is not None:
                self.grouped |= set(node.modifier.group_labels or [])
                if node.modifier.matching is not None:
                    self.grouped |= set(node.modifier.matching.labels)
        return True


def parts(text: str) -> Parts:
    """Return the parts of a query. Raise `ValueError` for a query that is not PromQL."""
    found = Parts()
    promql_parser.walk(promql_parser.parse(text), found.visit)
    return found


def dashboards() -> dict[str, dict[str, Any]]:
    """Return all dashboards by the name of their file."""
    return {
        path.stem: json.loads(path.read_text(encoding="utf-8"))
        for path in sorted(values.HELM.glob("*/dashboards/*.json"))
    }


def panels(dashboard: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the panels of a dashboard, without its rows."""
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def dashboard_queries() -> Iterator[Query]:
    """Yield the queries of all panels, with values for Grafana's variables."""
    for name, dashboard in dashboards().items():
        for panel in panels(dashboard):
            for target in panel["targets"]:
                text = target["expr"].replace("$__rate_interval", "1m").replace("$namespace", ".*")
                yield Query(f"{name}: {panel['title']} {target['refId']}", text)


def rules() -> Iterator[dict[str, Any]]:
    """Yield the alert rules and the recording rules of all services."""
    for service in SERVICES:
        content = yaml.safe_load((values.HELM / service / "alerts.yaml").read_text("utf-8"))
        for group in content["groups"]:
            yield from ({**rule, "service": service} for rule in group["rules"])


def rule_queries() -> Iterator[Query]:
    """Yield the queries of all rules."""
    for rule in rules():
        yield Query(f"{rule['service']}: {rule.get('alert', rule.get('record'))}", rule["expr"])


@cache
def known_series() -> dict[str, frozenset[str]]:
    """Return the labels of each existing time series, by the name of the series."""
    found = {name: labels for metric in catalogue() for name, labels in metric.series()}
    found["up"] = frozenset()
    for rule in rules():
        if "record" in rule:
            found[rule["record"]] = frozenset({"namespace", "job"})
    for family in text_string_to_metric_families(FOREIGN.read_text(encoding="utf-8")):
        for sample in family.samples:
            found[sample.name] = found.get(sample.name, frozenset()) | set(sample.labels)
    for name in ("cpu_seconds_total", "resident_memory_bytes", "open_fds", "max_fds"):
        found[f"process_{name}"] = frozenset()  # metrics of the Prometheus client
    return {name: labels | TARGET_LABELS for name, labels in found.items()}
