"""Parse Kubernetes objects, such as the objects that Helm renders."""

from collections.abc import Iterable
from typing import Any

import yaml

Object = dict[str, Any]


def parse_objects(text: str) -> list[Object]:
    """Return the objects of a YAML text in their order, without empty documents.

    This uses libyaml's loader, because it takes a tenth of the time of the loader in Python.
    """
    return [each for each in yaml.load_all(text, yaml.CSafeLoader) if each]


def pod_templates(objects: Iterable[Object]) -> dict[str, Object]:
    """Return the metadata and specification of the objects' pods, by kind and name, such as `CronJob svgx-backup`."""
    found: dict[str, Object] = {}
    for each in objects:
        name = f"{each['kind']} {each['metadata']['name']}"
        if each["kind"] == "Pod":
            found[name] = each
        elif each["kind"] == "CronJob":
            found[name] = each["spec"]["jobTemplate"]["spec"]["template"]
        elif each["kind"] in ("Deployment", "StatefulSet", "Job"):
            found[name] = each["spec"]["template"]
    return found
