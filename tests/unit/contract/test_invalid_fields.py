"""The names and reasons of invalid fields."""

from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import ValidationError

from svgx_common.contract import OPERATIONS
from svgx_common.contract.auth import CREATE_USER
from svgx_common.contract.errors import Invalid, from_validation
from svgx_common.contract.fields.patterns import SENTENCES
from svgx_common.contract.live.element_changes import CHANGE_ELEMENTS
from svgx_common.contract.operation import Operation
from svgx_common.contract.ratelimits import SET_CONFIG
from svgx_common.contract.state import CREATE_CANVAS
from svgx_common.contract.storage.quotas import SET_QUOTAS

AnyOperation = Operation[Any, Any]


def refusal(operation: AnyOperation, fields: dict[str, Any]) -> Invalid:
    """Return the refusal of a request with these fields."""
    with pytest.raises(ValidationError) as invalid:
        operation.request.model_validate(fields)
    return from_validation(invalid.value)


@pytest.mark.parametrize(
    ("operation", "fields", "field"),
    [
        (SET_CONFIG, {"limits": {"hevy": {"requests": 1}}}, "limits.hevy"),
        (SET_CONFIG, {"roles": {"boss": {}}}, "roles.boss"),
        (SET_CONFIG, {"roles": {"admin": {"rd": {"requests": 1}}}}, "roles.admin.rd"),
        (SET_QUOTAS, {"users": {"bad id": {}}}, "users.bad id"),
    ],
)
def test_wrong_key_of_a_map_is_named_by_its_path(
    operation: AnyOperation, fields: dict[str, Any], field: str
) -> None:
    """The name has no mark of the validator. Proves R-HTTP-2."""
    assert refusal(operation, fields).field == field


def test_wrong_value_of_an_enumeration_gets_the_plain_values() -> None:
    """The reason lists the values as callers write them. Proves R-HTTP-2."""
    error = refusal(SET_CONFIG, {"limits": {"hevy": {"requests": 1}}})
    assert error.detail == "limits.hevy: Input should be 'read', 'write', 'login' or 'heavy'"


@pytest.mark.parametrize(
    ("operation", "fields", "detail"),
    [
        (
            CREATE_USER,
            {"username": "zo e", "email": "zoe@example.org", "password": "x" * 20},
            "username: must not have spaces or control characters",
        ),
        (
            CREATE_USER,
            {"username": "zoe", "email": "zoe at example.org", "password": "x" * 20},
            "email: must be an e-mail address, such as ada@example.org",
        ),
        (
            CREATE_CANVAS,
            {"name": "a\0b"},
            "name: must not have control or format characters",
        ),
        (
            CHANGE_ELEMENTS,
            {"canvas_id": "c", "operations": [{"id": "sun"}]},
            "operations[0].op: Field required",
        ),
        (
            CHANGE_ELEMENTS,
            {"canvas_id": "c", "operations": [{"op": "crate"}]},
            "operations[0].op: Input should be one of 'create', 'update', 'move', 'delete'",
        ),
    ],
)
def test_reason_is_a_sentence_for_people(
    operation: AnyOperation, fields: dict[str, Any], detail: str
) -> None:
    """A regular expression, or the name of a part of the validator, is no reason. Proves R-HTTP-2."""
    assert refusal(operation, fields).detail == detail


def test_every_pattern_of_a_request_has_a_sentence() -> None:
    """No caller reads a regular expression. Proves R-HTTP-2."""
    for operation in OPERATIONS:
        assert set(_patterns(operation.request.model_json_schema())) <= SENTENCES.keys()


def _patterns(schema: object) -> Iterator[str]:
    """Yield each pattern in a JSON schema."""
    if isinstance(schema, dict):
        if isinstance(schema.get("pattern"), str):
            yield schema["pattern"]
        # The keys of a map have patterns too, as keys of `patternProperties`.
        yield from schema.get("patternProperties", {})
        for each in schema.values():
            yield from _patterns(each)
    elif isinstance(schema, list):
        for each in schema:
            yield from _patterns(each)
