"""The OpenAPI document agrees with the contract."""

from typing import Any

import pytest
from openapi_spec_validator import validate

from svgx_common.contract import OPERATIONS
from svgx_common.contract.errors import ERRORS
from svgx_common.contract.operation import example_of
from svgx_common.contract.policy import RateClass, Scope
from svgx_gateway.openapi import document as openapi

DOCUMENT = openapi.document("1.2.3")
HTTP_OPERATIONS = [operation for operation in OPERATIONS if operation.http]


def described() -> dict[str, tuple[str, str, dict[str, Any]]]:
    """Return method, path and entry by operation id."""
    return {
        entry["operationId"]: (method.upper(), path, entry)
        for path, methods in DOCUMENT["paths"].items()
        for method, entry in methods.items()
    }


def test_document_follows_the_openapi_specification() -> None:
    """The document is valid by the specification's own schema, and every reference resolves. Proves R-CONTRACT-4."""
    validate(DOCUMENT)


def test_every_operation_is_described_with_all_statuses() -> None:
    """Each operation with an HTTP form is described with every status it may have. Proves R-CONTRACT-4."""
    entries = described()
    expected = {operation.name: operation for operation in HTTP_OPERATIONS}
    assert {name for name in entries if name.partition(".")[0] in ("auth", "state", "collab")} | {
        name for name in entries if name.startswith("gateway.")
    } == set(expected)
    for name, operation in expected.items():
        method, path, entry = entries[name]
        assert operation.http is not None
        assert (method, path) == (operation.http.method, operation.http.path)
        assert bool(entry["security"]) == (operation.scope is not Scope.PUBLIC)
        statuses = {str(error.status) for error in operation.errors}
        statuses |= {str(operation.http.status), "413", "422", "500", "503", "504"}
        statuses |= set() if operation.rate is RateClass.UNLIMITED else {"429"}
        statuses |= set() if operation.scope is Scope.PUBLIC else {"401", "403"}
        statuses |= {"404"} if operation.canvas_role else set()
        statuses |= {"400", "408", "415"} if method not in ("GET", "DELETE") else set()
        statuses |= {"409"} if method == "POST" and operation.scope is not Scope.PUBLIC else set()
        assert set(entry["responses"]) == statuses
        in_path = {each["name"] for each in entry["parameters"] if each["in"] == "path"}
        assert in_path == set(operation.http.path_fields)


def test_every_problem_is_described_with_type_code_and_headers() -> None:
    """Each problem response has its type, code and headers. Proves R-CONTRACT-4."""
    components = DOCUMENT["components"]["responses"]
    for name, response in components.items():
        content = response["content"]["application/problem+json"]
        assert list(content["examples"]) == name.split("-")
        for code, example in content["examples"].items():
            assert example["value"]["type"] == f"urn:svgx:problem:{code}"
            assert example["value"]["status"] == ERRORS[code].status
    assert "Retry-After" in components["too_many_requests"]["headers"]
    assert "Retry-After" in components["overloaded-unavailable"]["headers"]
    assert "WWW-Authenticate" in components["unauthenticated"]["headers"]


@pytest.mark.parametrize("operation", HTTP_OPERATIONS, ids=lambda operation: operation.name)
def test_every_operation_has_a_valid_example(operation: Any) -> None:
    """The contract has an example of each required field, and the examples are valid. Proves R-CONTRACT-4."""
    examples = example_of(operation.request)
    fields = operation.request.model_fields
    required = {name: examples[name] for name in fields if fields[name].is_required()}
    operation.request.model_validate(required)
    operation.request.model_validate(examples)
