"""Requests built from the examples of the OpenAPI document, and checks of responses against it."""

from typing import Any

import httpx
from jsonschema import Draft202012Validator

_OPTIONAL_HEADERS = (
    *("Accept-Encoding", "Idempotency-Replayed", "Retry-After", "Svgx-Left-Out", "Svgx-Quota"),
    # A response of `state.value.canvas` has no file name.
    "Content-Disposition",
)


def example_request(document: dict[str, Any], method: str, path: str) -> dict[str, Any]:
    """Return the options of `httpx.AsyncClient.request` for the operation's example: query parameters and body."""
    operation = document["paths"][path][method]
    request: dict[str, Any] = {
        "params": {
            parameter["name"]: parameter["example"]
            for parameter in operation.get("parameters", [])
            if parameter["in"] == "query" and "example" in parameter
        }
    }
    for media_type, content in operation.get("requestBody", {}).get("content", {}).items():
        if media_type == "application/json":
            request["json"] = content["example"]
        else:
            request |= {"content": content["example"], "headers": {"Content-Type": media_type}}
    return request


def check_response(
    document: dict[str, Any], response: httpx.Response, operation: dict[str, Any]
) -> None:
    """Assert that the response has the headers and the JSON content that the document describes for its status."""
    status = response.status_code
    described = operation["responses"][str(status)]
    # A response has rate-limit headers only if the gateway counted the request. The gateway does not count a request
    # with a too large announced size (413). For an operation without a rate limit, it counts only refused callers (401
    # and 403).
    unlimited = not any(
        "RateLimit" in each.get("headers", {}) for each in operation["responses"].values()
    )
    uncounted = status == 413 or (unlimited and status not in (401, 403))
    if "$ref" in described:
        described = document["components"]["responses"][described["$ref"].rpartition("/")[2]]
    for header in described.get("headers", {}):
        if header not in _OPTIONAL_HEADERS and not (uncounted and "RateLimit" in header):
            assert header in response.headers, header
    content = described.get("content")
    assert bool(content) == bool(response.content)
    media_type = response.headers.get("content-type", "").partition(";")[0]
    if content and media_type in content and "json" in media_type:
        schema = {**content[media_type]["schema"], "components": document["components"]}
        Draft202012Validator(schema).validate(response.json())
