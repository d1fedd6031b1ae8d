"""The models of changes of elements."""

from typing import Any, get_args

import pytest
from pydantic import ValidationError

from svgx_common.contract.errors import from_validation
from svgx_common.contract.fields.invalid_fields import OPERATION_KINDS
from svgx_common.contract.live.element_changes import ChangeElementsRequest, ElementChange


def request(*operations: dict[str, Any]) -> ChangeElementsRequest:
    """Return a request with these operations."""
    return ChangeElementsRequest.model_validate({"canvas_id": "c", "operations": operations})


@pytest.mark.parametrize(
    ("operation", "field"),
    [
        ({"op": "update"}, "operations[1].id"),
        ({"op": "update", "id": "a", "attrs": {"update": 5}}, "operations[1].attrs.update"),
        ({"op": "create", "tag": "g", "create": 5}, "operations[1].create"),
        ({"op": "delete", "id": ""}, "operations[1].id"),
        ({"op": "move", "id": "a"}, "operations[1]"),
        ({"op": "move", "id": "a", "before": "b", "after": "c"}, "operations[1]"),
        ({"op": "create", "tag": "g", "order": "a-"}, "operations[1].order"),
        ({}, "operations[1].op"),
        ({"op": "crate"}, "operations[1].op"),
    ],
)
def test_invalid_operation_is_named_by_its_number(operation: dict[str, Any], field: str) -> None:
    """The name of the field is a path in the request. Proves R-ELEMENT-1."""
    with pytest.raises(ValidationError) as invalid:
        request({"op": "delete", "id": "a"}, operation)
    assert from_validation(invalid.value).field == field


def test_kinds_of_operations_are_those_of_the_models() -> None:
    """The names of fields leave out the kinds. Proves R-ELEMENT-1."""
    union, _ = get_args(ElementChange)
    kinds = {get_args(each.model_fields["op"].annotation)[0] for each in get_args(union)}
    assert kinds == OPERATION_KINDS


def test_only_deletions_add_no_content() -> None:
    """Proves R-QUOTA-3."""
    delete = {"op": "delete", "id": "a"}
    assert not request(delete, delete).adds_content
    assert request(delete, {"op": "update", "id": "a"}).adds_content
