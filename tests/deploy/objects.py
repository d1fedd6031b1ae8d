"""Parse Kubernetes objects, such as the objects that Helm renders."""

from typing import Any

import yaml

Object = dict[str, Any]


def parse_objects(text: str) -> list[Object]:
    """Return the objects of a YAML text in their order, without empty documents.

    This uses libyaml's loader, because it takes a tenth of the time of the loader in Python.
    """
    return [each for each in yaml.load_all(text, yaml.CSafeLoader) if each]
