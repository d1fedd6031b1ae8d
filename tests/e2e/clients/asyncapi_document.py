"""Checks of the messages that JSON clients receive, against docs/asyncapi.yaml."""

import functools
from typing import Any

import yaml
from jsonschema import Draft202012Validator

from tests.unit.house_rules.sources import ROOT


@functools.cache
def _validator() -> Draft202012Validator:
    """Return the validator of the server's messages. A message has to be valid as exactly one of them."""
    document = yaml.safe_load((ROOT / "docs/asyncapi.yaml").read_text(encoding="utf-8"))
    messages = document["operations"]["json.send"]["messages"]
    return Draft202012Validator(
        {**document, "oneOf": [{"$ref": f"{each['$ref']}/payload"} for each in messages]}
    )


def check_message(event: dict[str, Any]) -> None:
    """Assert that docs/asyncapi.yaml describes a message of the server."""
    _validator().validate(event)
