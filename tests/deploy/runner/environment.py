"""The environment variables of a container, resolved as a kubelet resolves them."""

import re
from collections.abc import Mapping
from decimal import ROUND_CEILING, Decimal

from tests.deploy.objects import Object
from tests.deploy.runner.rendered import Rendered

NODE = "this-machine"

_UNITS: dict[str, Decimal] = {
    "": Decimal(1),
    "m": Decimal("0.001"),
    "k": Decimal(10**3),
    "M": Decimal(10**6),
    "G": Decimal(10**9),
    "Ki": Decimal(2**10),
    "Mi": Decimal(2**20),
    "Gi": Decimal(2**30),
    "Ti": Decimal(2**40),
}


class ConfigurationError(Exception):
    """A mistake in rendered objects that prevents a container's start, such as a reference to a missing secret."""


def quantity(text: str) -> Decimal:
    """Return the value of a quantity such as `500m` or `2Gi`."""
    match = re.fullmatch(r"([\d.]+)([a-zA-Z]*)", str(text))
    if match is None or match[2] not in _UNITS:
        raise ConfigurationError(f"not a quantity: {text}")
    return Decimal(match[1]) * _UNITS[match[2]]


def expand(text: str, known: Mapping[str, str]) -> str:
    """Replace `$(NAME)` by the variable's value. A reference to an unknown name stays, and `$$` becomes `$`."""

    def replacement(match: re.Match[str]) -> str:
        return "$" if match[0] == "$$" else known.get(match[1], match[0])

    return re.sub(r"\$\$|\$\(([\w.-]+)\)", replacement, text)


def variables(container: Object, pod: Object, address: str, rendered: Rendered) -> dict[str, str]:
    """Return all variables of the container. Raise `ConfigurationError` when a reference has no target."""
    found: dict[str, str] = {}
    for source in container.get("envFrom", []):
        for field, kind in (("configMapRef", "ConfigMap"), ("secretRef", "Secret")):
            if field in source:
                data = _data(rendered, kind, source[field]) or {}
                found |= {f"{source.get('prefix', '')}{key}": data[key] for key in data}
    for entry in container.get("env", []):
        if "valueFrom" not in entry:
            found[entry["name"]] = expand(str(entry.get("value", "")), found)
            continue
        value = _referenced(entry["valueFrom"], container, pod, address, rendered)
        if value is not None:
            found[entry["name"]] = value
    return found


def _data(rendered: Rendered, kind: str, reference: Object) -> dict[str, str] | None:
    data = rendered.data(kind, reference["name"])
    if data is None and not reference.get("optional"):
        raise ConfigurationError(f"{kind} {reference['name']} does not exist")
    return data


def _referenced(
    source: Object, container: Object, pod: Object, address: str, rendered: Rendered
) -> str | None:
    """Return the value of `valueFrom`, or None if it is optional and does not exist."""
    for field, kind in (("secretKeyRef", "Secret"), ("configMapKeyRef", "ConfigMap")):
        if field in source:
            reference = source[field]
            data = _data(rendered, kind, reference) or {}
            if reference["key"] not in data and not reference.get("optional"):
                raise ConfigurationError(f"{kind} {reference['name']} has no {reference['key']}")
            return data.get(reference["key"])
    if "fieldRef" in source:
        fields: dict[str, str] = {
            "metadata.name": pod["metadata"]["name"],
            "metadata.uid": pod["metadata"]["uid"],
            "metadata.namespace": pod["metadata"]["namespace"],
            "spec.nodeName": NODE,
            "status.podIP": address,
        }
        return fields[source["fieldRef"]["fieldPath"]]
    reference = source["resourceFieldRef"]
    section, _, resource = reference["resource"].partition(".")
    amount = quantity(container["resources"][section][resource])
    units = amount / quantity(reference.get("divisor", "1"))
    return str(units.to_integral_value(ROUND_CEILING))
