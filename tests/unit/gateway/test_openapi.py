"""The OpenAPI document says what the contract says."""

from svgx_common.contract import OPERATIONS
from svgx_common.contract.policy import Scope
from svgx_gateway import openapi


def test_every_operation_with_an_http_form_is_described() -> None:
    """Proves R-CONTRACT-4."""
    document = openapi.document("1.2.3")
    described = {
        entry["operationId"]: (method.upper(), path, entry)
        for path, methods in document["paths"].items()
        for method, entry in methods.items()
    }
    expected = {operation.name: operation for operation in OPERATIONS if operation.http}
    assert set(described) == set(expected)
    for name, operation in expected.items():
        method, path, entry = described[name]
        assert operation.http is not None
        assert (method, path) == (operation.http.method, operation.http.path)
        assert str(operation.http.status) in entry["responses"]
        assert bool(entry["security"]) == (operation.scope is not Scope.PUBLIC)
        for error in operation.errors:
            assert str(error.status) in entry["responses"]
        in_path = {each["name"] for each in entry["parameters"] if each["in"] == "path"}
        assert in_path == set(operation.http.path_fields)
