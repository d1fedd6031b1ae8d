"""Checks of the JSON that JSON clients receive, against docs/asyncapi.yaml."""

import functools
from typing import Any

import yaml
from jsonschema import Draft202012Validator

from tests.unit.house_rules.sources import ROOT


@functools.cache
def _document() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(
        (ROOT / "docs/asyncapi.yaml").read_text(encoding="utf-8")
    )
    return document


@functools.cache
def _messages() -> Draft202012Validator:
    """Return the validator of the server's messages. A message has to be valid as exactly one of them."""
    messages = _document()["operations"]["json.send"]["messages"]
    payloads = [{"$ref": f"{each['$ref']}/payload"} for each in messages]
    return Draft202012Validator({**_document(), "oneOf": payloads})


@functools.cache
def _export() -> Draft202012Validator:
    return Draft202012Validator({**_document(), "$ref": "#/components/schemas/CanvasContent"})


def check_message(event: dict[str, Any]) -> None:
    """Assert that docs/asyncapi.yaml describes a message of the server."""
    _messages().validate(event)


def check_export(content: dict[str, Any]) -> None:
    """Assert that the JSON export of a canvas has the form in docs/asyncapi.yaml."""
    _export().validate(content)
