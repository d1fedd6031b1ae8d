"""Write `values.schema.json` and `README.md` of each chart from its `values.yaml`.

The comment above a value is its description. The schema permits only the keys of `values.yaml`, so that Helm refuses
misspelt values. An empty mapping permits any keys.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from deploy.build import configuration

HELM = Path(__file__).parents[1] / "helm"
SERVICES = ("auth", "collab", "state", "gateway")
CHARTS = (*SERVICES, "svgx")

FREE = {
    "annotations",
    "behavior",
    "affinity",
    "nodeSelector",
    "config",
    "labels",
    "podLabels",
    "startupProbe",
    "livenessProbe",
    "readinessProbe",
    "resources",
}
"""Names of mappings that may have keys beyond those of `values.yaml`. Kubernetes or the service defines these keys.

`FIELDS` restricts some of these mappings: the probes and `resources`.
"""

_NUMBERS = {"type": "integer", "minimum": 0}
_QUANTITIES = {"type": "object", "additionalProperties": {"type": ["string", "number"]}}
_PROBE = {
    f"{name}Seconds": _NUMBERS
    for name in ("initialDelay", "period", "timeout", "terminationGracePeriod")
} | {f"{name}Threshold": _NUMBERS for name in ("failure", "success")}

FIELDS: dict[str, dict[str, Any]] = {
    "startupProbe": _PROBE,
    "livenessProbe": _PROBE,
    "readinessProbe": _PROBE,
    "resources": {"requests": _QUANTITIES, "limits": _QUANTITIES, "claims": {"type": "array"}},
}
"""The keys that Kubernetes permits in a mapping, by name of the mapping, so that misspelt keys are refused."""

PERCENT_OR_NUMBER = {"maxUnavailable"}
"""Names of values that are a number or a percentage."""


@dataclass(frozen=True, slots=True)
class Row:
    """One value of a chart: its path, such as `image.tag`, its default and its description."""

    path: str
    default: Any
    description: str


def rows(text: str) -> Iterator[Row]:
    """Yield a row for each value that has a description, in the order of the file."""
    values = yaml.safe_load(text)
    path: list[tuple[int, str]] = []
    comment: list[str] = []
    for line in text.splitlines():
        indent = len(line) - len(line.lstrip())
        content = line.strip()
        if content.startswith("#"):
            comment.append(content.lstrip("# "))
        elif match := re.match(r"([A-Za-z_][\w.-]*):", content):
            path = [part for part in path if part[0] < indent]
            path.append((indent, match[1]))
            if comment:
                names = [name for _, name in path]
                yield Row(".".join(names), _value(values, names), " ".join(comment))
            comment = []
        else:
            comment = []


def _value(values: Any, names: list[str]) -> Any:
    for name in names:
        values = values[name]
    return values


def schema(chart: str, values: dict[str, Any], descriptions: dict[str, str]) -> dict[str, Any]:
    """Return the JSON schema of a chart's values."""
    document = _object(values, descriptions, "")
    # Helm adds `global` and `common` to the values of every chart. The umbrella chart `svgx` has the values of each
    # service's chart under the service's name, and installs that chart only if its value `enabled` is true.
    document["properties"] |= {"global": {"type": "object"}, "common": {"type": "object"}}
    if chart == "svgx":
        for service in SERVICES:
            document["properties"][service] = {"type": "object"}
    else:
        document["properties"]["enabled"] = {"type": "boolean"}
        document["properties"]["config"] |= configuration.schema(chart)
    return {"$schema": "http://json-schema.org/draft-07/schema#", **document}


def _object(values: dict[str, Any], descriptions: dict[str, str], prefix: str) -> dict[str, Any]:
    properties = {
        key: _property(key, value, descriptions, f"{prefix}{key}") for key, value in values.items()
    }
    return {"type": "object", "additionalProperties": False, "properties": properties}


def _property(key: str, value: Any, descriptions: dict[str, str], path: str) -> dict[str, Any]:
    found: dict[str, Any]
    if isinstance(value, dict):
        free = key in FREE or not value
        if key in FIELDS:
            found = {"type": "object", "additionalProperties": False, "properties": FIELDS[key]}
        else:
            found = {"type": "object"} if free else _object(value, descriptions, f"{path}.")
    elif isinstance(value, list):
        found = {"type": "array"}
    elif isinstance(value, bool):
        found = {"type": "boolean"}
    elif key in PERCENT_OR_NUMBER:
        found = {"type": ["integer", "string"]}
    elif isinstance(value, int):
        found = {"type": "integer", "minimum": 0}
    elif isinstance(value, float):
        found = {"type": "number", "minimum": 0}
    else:
        found = {"type": "string"}
    if path in descriptions:
        found["description"] = descriptions[path]
    return found


def _facts(chart: str) -> dict[str, Any]:
    """Return the content of `Chart.yaml`."""
    return dict(yaml.safe_load((HELM / chart / "Chart.yaml").read_text(encoding="utf-8")))


def oldest_kubernetes(chart: str) -> str:
    """Return the oldest version of Kubernetes on which the chart may be installed, such as `1.24`."""
    return str(_facts(chart)["kubeVersion"].strip(">=").removesuffix(".0-0"))


def readme(chart: str, described: list[Row]) -> str:
    """Return the chart's README with a table of its values."""
    facts = _facts(chart)
    oldest = oldest_kubernetes(chart)
    lines = [
        f"# Chart `{chart}`",
        "",
        f"{facts['description']}. Kubernetes {oldest} or newer, Helm 3.17 or newer.",
        "",
        "| value | default | |",
        "|---|---|---|",
    ]
    for row in described:
        default = (
            ""
            if isinstance(row.default, dict) and row.default
            else f"`{json.dumps(row.default, ensure_ascii=False)}`"
        )
        description = row.description.replace("|", "\\|")
        lines.append(f"| `{row.path}` | {default} | {description} |")
    return "\n".join(lines) + "\n"


def generated() -> dict[Path, str]:
    """Return the content of each generated file."""
    files: dict[Path, str] = {}
    for chart in CHARTS:
        text = (HELM / chart / "values.yaml").read_text(encoding="utf-8")
        described = [row for row in rows(text) if row.path]
        descriptions = {row.path: row.description for row in described}
        content = schema(chart, yaml.safe_load(text), descriptions)
        files[HELM / chart / "values.schema.json"] = (
            json.dumps(content, indent=2, ensure_ascii=False) + "\n"
        )
        files[HELM / chart / "README.md"] = readme(chart, described)
    return files


if __name__ == "__main__":
    for path, content in generated().items():
        path.write_text(content, encoding="utf-8")
