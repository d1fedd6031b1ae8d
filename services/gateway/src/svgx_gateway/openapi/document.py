"""The OpenAPI 3.1 document, derived from the contract: each operation with its statuses, headers and problem types."""

from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from svgx_common.contract import OPERATIONS
from svgx_common.contract.errors import ErrorBody
from svgx_common.contract.operation import Http, Operation, RawRequest, ReplyModel, example_of
from svgx_common.contract.policy import Scope
from svgx_common.health import HealthReport
from svgx_gateway.openapi.pages import path_items_of_pages
from svgx_gateway.openapi.responses import HEADERS, PROBLEM, REF, Responses
from svgx_gateway.openapi.security import SECURITY_SCHEMES, SIGNED_IN, WITH_LINK

DESCRIPTION = """\
Canvases for drawing together, their members and their content. Log in with `POST /auth/login`, and send the access
token as `Authorization: Bearer …`. Every path works with and without a trailing slash. Errors are
`application/problem+json` (RFC 9457) with a `code` and a `trace_id`. Lists are sent in pages: `next` is the `cursor` of
the next page, and null on the last page. Times are RFC 3339 in UTC. An operation with the header `Idempotency-Key` is
executed once for each key, even when the request is sent again. Programs change elements with
`POST /runtime/canvases/{canvas_id}/elements/batch`. Live clients edit a canvas over the WebSocket
`/runtime/events/{canvas_id}` with y-protocols, over `/runtime/hocuspocus` with the protocol of Hocuspocus 4, or over
`/runtime/events` with JSON (`docs/asyncapi.yaml`).
"""

IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "The same request with the same key is executed once. Keys of different callers never collide.",
    "schema": {"type": "string", "pattern": "^[\\x21-\\x7e]{1,255}$"},
    "example": "6f0f3f0f9b1d2f1c",
}


def document(version: str, *, with_metrics: bool = True) -> dict[str, Any]:
    """Return the document: each operation that has an HTTP route, and the health, metrics and documentation paths.

    `with_metrics` means that the API port serves the metrics.
    """
    models: set[type[BaseModel]] = {ErrorBody, HealthReport}
    for operation in OPERATIONS:
        if operation.http is not None:
            models.add(operation.request)
            reply = operation.json_reply or operation.reply
            if issubclass(reply, ReplyModel):
                models.add(reply)
    ordered = sorted(models, key=lambda model: model.__name__)
    _, definitions = models_json_schema(
        [(model, "validation") for model in ordered], ref_template=REF
    )
    schemas = dict(definitions.get("$defs", {}))
    schemas["Problem"] = PROBLEM
    responses = Responses()
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS:
        if operation.http is not None:
            entry = _operation(operation, operation.http, schemas, responses)
            paths.setdefault(operation.http.path, {})[operation.http.method.lower()] = entry
    paths |= path_items_of_pages(responses, with_metrics=with_metrics)
    return {
        "openapi": "3.1.0",
        "info": {"title": "SVGX Engine", "version": version, "description": DESCRIPTION},
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "responses": responses.components,
            "headers": HEADERS,
            "securitySchemes": SECURITY_SCHEMES,
        },
    }


def _operation(
    operation: Operation[Any, Any], http: Http, schemas: dict[str, Any], responses: Responses
) -> dict[str, Any]:
    schema = schemas[operation.request.__name__]
    entry: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "tags": [operation.service],
        "parameters": _parameters(operation, http, schema),
        "responses": responses.of(operation, http),
        "security": _security(operation),
    }
    body = _body(operation, http, schema)
    if body is not None:
        entry["requestBody"] = body
    if "description" in schema and (body is None or "application/json" not in body["content"]):
        entry["description"] = schema["description"]
    return entry


def _security(operation: Operation[Any, Any]) -> list[dict[str, list[str]]]:
    if operation.scope is Scope.PUBLIC:
        return []
    return WITH_LINK if operation.admits_links else SIGNED_IN


def _parameters(
    operation: Operation[Any, Any], http: Http, schema: dict[str, Any]
) -> list[dict[str, Any]]:
    in_path = set(http.path_fields)
    in_query = http.method in ("GET", "DELETE")
    required = set(schema.get("required", ()))
    examples = example_of(operation.request)
    parameters = [
        {
            "name": http.cookie_name if name == http.cookie else name,
            "in": "cookie" if name == http.cookie else "path" if name in in_path else "query",
            "required": name in in_path or name in required,
            "schema": _without_null(field),
            **({"example": examples[name]} if name in examples else {}),
        }
        for name, field in schema.get("properties", {}).items()
        if name in in_path or in_query
    ]
    if operation.supports_idempotency_key:
        parameters.append(IDEMPOTENCY_KEY)
    return parameters


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema without null, because a parameter can be left out but cannot be null."""
    options = [each for each in schema.get("anyOf", []) if each != {"type": "null"}]
    if not options:
        return schema
    rest = {key: value for key, value in schema.items() if key not in ("anyOf", "default")}
    return {**rest, **options[0]} if len(options) == 1 else {**rest, "anyOf": options}


def _body(
    operation: Operation[Any, Any], http: Http, schema: dict[str, Any]
) -> dict[str, Any] | None:
    if issubclass(operation.request, RawRequest):
        binary = {
            "schema": {"type": "string", "contentMediaType": http.consumes[0]},
            "example": example_of(operation.request)["content"],
        }
        return {"required": True, "content": dict.fromkeys(http.consumes, binary)}
    in_path = set(http.path_fields)
    fields = {
        name: field for name, field in schema.get("properties", {}).items() if name not in in_path
    }
    if http.method in ("GET", "DELETE") or not fields:
        return None
    required = sorted(set(schema.get("required", ())) - in_path)
    content = {
        "schema": {
            **({"description": schema["description"]} if "description" in schema else {}),
            "type": "object",
            "properties": fields,
            "required": required,
            "additionalProperties": False,
        },
        "example": {
            name: example
            for name, example in example_of(operation.request).items()
            if name not in in_path
        },
    }
    return {"required": bool(required), "content": {"application/json": content}}
