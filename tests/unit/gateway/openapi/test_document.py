"""The OpenAPI document agrees with the contract."""

from typing import Any

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

from svgx_common.contract import OPERATIONS
from svgx_common.contract.errors import ERRORS
from svgx_common.contract.operation import example_of
from svgx_common.contract.policy import RateClass, Scope
from svgx_common.contract.storage.canvas_content import CanvasContent
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
        statuses |= {str(operation.http.status), "408", "413", "422", "500", "503", "504"}
        # Refused requests (401 or 403) count even if the operation has no rate limit, so such a request may get 429.
        statuses |= set() if operation.scope is Scope.PUBLIC else {"401", "403", "429"}
        statuses |= set() if operation.rate is RateClass.UNLIMITED else {"429"}
        statuses |= {"404"} if operation.canvas_role else set()
        statuses |= {"400", "415"} if method not in ("GET", "DELETE") else set()
        statuses |= {"409"} if operation.supports_idempotency_key else set()
        assert set(entry["responses"]) == statuses
        in_path = {each["name"] for each in entry["parameters"] if each["in"] == "path"}
        assert in_path == set(operation.http.path_fields)


def test_body_has_the_description_of_its_request() -> None:
    """The docs page shows this text next to the fields. Proves R-CONTRACT-4."""
    (body,) = described()["collab.elements.event"][2]["requestBody"]["content"].values()
    description = DOCUMENT["components"]["schemas"]["UiEventRequest"]["description"]
    assert body["schema"]["description"] == description


@pytest.mark.parametrize(
    ("operation_id", "model"),
    [
        ("state.export", "ExportRequest"),
        ("collab.import", "ImportSvgRequest"),
        ("gateway.replica.drain", "DrainReplicaRequest"),
        ("state.value.delete", "DeleteValueRequest"),
    ],
)
def test_operation_without_a_json_body_has_the_description_of_its_request(
    operation_id: str, model: str
) -> None:
    """The docs page shows this text next to the parameters. Proves R-CONTRACT-4."""
    description = DOCUMENT["components"]["schemas"][model]["description"]
    assert described()[operation_id][2]["description"] == description


@pytest.mark.parametrize(
    ("operation_id", "model"),
    [("state.export", "CanvasContent"), ("state.value.canvas", "CanvasValue")],
)
def test_json_export_is_described_with_a_valid_example(operation_id: str, model: str) -> None:
    """Programs that load a canvas know its form and the order of siblings. Proves R-CONTRACT-4."""
    content = described()[operation_id][2]["responses"]["200"]["content"]["application/json"]
    assert content["schema"] == {"$ref": f"#/components/schemas/{model}"}
    schemas = DOCUMENT["components"]["schemas"]
    assert "UTF-16 code units" in schemas["CanvasContent"]["description"]
    (example,) = schemas["CanvasContent"]["examples"]
    reference = {"$ref": "#/components/schemas/CanvasContent", "components": DOCUMENT["components"]}
    Draft202012Validator(reference).validate(example)
    assert CanvasContent.model_validate(example).model_dump(exclude_none=True) == example


def test_every_problem_is_described_with_type_code_and_headers() -> None:
    """Each code has an example with its type and status. Some problems have a header of their own.

    Proves R-CONTRACT-4.
    """
    components = DOCUMENT["components"]["responses"]
    for name, response in components.items():
        content = response["content"]["application/problem+json"]
        assert list(content["examples"]) == name.partition(".")[0].split("-")
        for code, example in content["examples"].items():
            assert example["value"]["type"] == f"urn:svgx:problem:{code}"
            assert example["value"]["status"] == ERRORS[code].status
    assert "Retry-After" in components["too_many_requests"]["headers"]
    assert "Retry-After" in components["overloaded-unavailable"]["headers"]
    assert "WWW-Authenticate" in components["unauthenticated"]["headers"]


def resolved(response: dict[str, Any]) -> dict[str, Any]:
    """Return the response that a reference names, or the response itself."""
    if "$ref" not in response:
        return response
    component: dict[str, Any] = DOCUMENT["components"]["responses"][
        response["$ref"].rpartition("/")[2]
    ]
    return component


@pytest.mark.parametrize("operation", HTTP_OPERATIONS, ids=lambda operation: operation.name)
def test_idempotency_is_described_exactly_where_the_key_is_supported(operation: Any) -> None:
    """Operations with a password ignore the key, so their description does not have it. Proves R-CONTRACT-4."""
    assert operation.http is not None
    _, _, entry = described()[operation.name]
    supported = operation.supports_idempotency_key
    success = entry["responses"][str(operation.http.status)]
    assert ("Idempotency-Replayed" in success["headers"]) is supported
    assert ("Idempotency-Key" in {each["name"] for each in entry["parameters"]}) is supported
    declared = any(error.status == 409 for error in operation.errors)
    assert ("409" in entry["responses"]) is (supported or declared)


@pytest.mark.parametrize("operation", HTTP_OPERATIONS, ids=lambda operation: operation.name)
def test_rate_limit_headers_are_described_exactly_for_counted_requests(operation: Any) -> None:
    """An operation without a limit has the headers only on 401, 403 and 429. Proves R-CONTRACT-4 and R-LIMIT-3."""
    _, _, entry = described()[operation.name]
    unlimited = operation.rate is RateClass.UNLIMITED
    for status, response in entry["responses"].items():
        counted = "RateLimit" in resolved(response)["headers"]
        assert counted is (not unlimited or status in ("401", "403", "429")), status


@pytest.mark.parametrize("operation", HTTP_OPERATIONS, ids=lambda operation: operation.name)
def test_quota_header_is_described_for_every_response_to_a_caller(operation: Any) -> None:
    """A response with status 401, or of a public operation, has no quota. Proves R-CONTRACT-4."""
    _, _, entry = described()[operation.name]
    for status, response in entry["responses"].items():
        has_caller = operation.scope is not Scope.PUBLIC and status != "401"
        assert ("Svgx-Quota" in resolved(response)["headers"]) is has_caller, status


@pytest.mark.parametrize("operation", HTTP_OPERATIONS, ids=lambda operation: operation.name)
def test_retry_after_is_described_where_it_is_sent(operation: Any) -> None:
    """A POST that repeats a request in progress gets 409 with `Retry-After`. Proves R-CONTRACT-4."""
    _, _, entry = described()[operation.name]
    for status, response in entry["responses"].items():
        problem = resolved(response)
        content = problem.get("content", {}).get("application/problem+json", {"examples": {}})
        sent = status in ("429", "503") or "conflict" in content["examples"]
        assert ("Retry-After" in problem["headers"]) is sent, status


def test_pages_without_a_caller_are_described_without_the_quota_header() -> None:
    """Of the pages, only the health summary has a caller. Proves R-CONTRACT-4."""
    for name in ("metrics", "metrics.prometheus", "docs", "openapi", "health.summary"):
        responses = described()[name][2]["responses"]
        for status in ("200", "429"):
            headers = resolved(responses[status])["headers"]
            assert ("Svgx-Quota" in headers) is (name == "health.summary")


@pytest.mark.parametrize(
    "operation_id", [*(each.name for each in HTTP_OPERATIONS), "health.summary"]
)
def test_authenticated_callers_may_send_a_token_or_an_api_key(operation_id: str) -> None:
    """A token or an API key is enough. Some operations also accept a share link. Proves R-CONTRACT-4 and R-LIFE-7."""
    _, _, entry = described()[operation_id]
    with_links = {each.name for each in HTTP_OPERATIONS if each.admits_links}
    link: list[dict[str, list[str]]] = []
    if operation_id in with_links:
        link.append({"share_link": []})
    assert entry["security"] in ([], [{"bearer": []}, {"api_key": []}, *link])
    assert not link or entry["security"]
    schemes = DOCUMENT["components"]["securitySchemes"]
    assert set(schemes) == {"bearer", "api_key", "share_link"}
    assert (schemes["api_key"]["in"], schemes["api_key"]["name"]) == ("header", "X-API-Key")


def test_counted_pages_are_described_with_their_limit_and_moved_metrics_are_not() -> None:
    """Pages and the health summary have the rate-limit headers and 429. The gateway's own health has no 429.

    Metrics on a port of their own are not described.

    Proves R-LIMIT-15.
    """
    entries = described()
    for name in ("metrics", "metrics.prometheus", "docs", "openapi", "health.summary"):
        responses = entries[name][2]["responses"]
        assert "429" in responses
        assert "RateLimit" in responses["200"]["headers"]
    for name in ("health", "health.live", "health.ready"):
        assert "429" not in entries[name][2]["responses"]
    moved = openapi.document("1.2.3", with_metrics=False)
    assert {path for path in DOCUMENT["paths"] if path.startswith("/metrics")} == (
        DOCUMENT["paths"].keys() - moved["paths"].keys()
    )


@pytest.mark.parametrize("operation", HTTP_OPERATIONS, ids=lambda operation: operation.name)
def test_every_operation_has_a_valid_example(operation: Any) -> None:
    """The contract has an example of each required field, and the examples are valid. Proves R-CONTRACT-4."""
    examples = example_of(operation.request)
    fields = operation.request.model_fields
    required = {name: examples[name] for name in fields if fields[name].is_required()}
    operation.request.model_validate(required)
    operation.request.model_validate(examples)


@pytest.mark.parametrize(
    ("name", "statuses"),
    [
        ("health", {"200", "503"}),
        ("health.ready", {"200", "503"}),
        ("health.live", {"200"}),
        ("health.summary", {"200", "401", "403", "429", "500", "503", "504"}),
        ("openapi", {"200", "429", "503"}),
        ("docs", {"200", "429", "503"}),
        ("metrics", {"200", "429"}),
        ("metrics.prometheus", {"200", "429"}),
    ],
)
def test_every_page_is_described_with_all_statuses(name: str, statuses: set[str]) -> None:
    """An overloaded gateway refuses the documents. The summary asks other services. Proves R-CONTRACT-4."""
    responses = described()[name][2]["responses"]
    assert set(responses) == statuses
    shed = {"health.summary", "openapi", "docs"}
    assert ("overloaded" in str(responses.get("503"))) is (name in shed)
