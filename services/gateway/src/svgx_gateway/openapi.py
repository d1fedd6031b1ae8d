"""The OpenAPI 3.1 document, read from the contract."""

from typing import Any

from pydantic.json_schema import models_json_schema

from svgx_common.contract import OPERATIONS
from svgx_common.contract.errors import (
    DeadlineExceeded,
    ErrorBody,
    Forbidden,
    Internal,
    Invalid,
    SvgxError,
    TooLarge,
    Unauthenticated,
    Unavailable,
)
from svgx_common.contract.operation import Empty, Http, Operation, RawRequest, ReplyModel
from svgx_common.contract.policy import Scope
from svgx_gateway import problems

_REF = "#/components/schemas/{model}"
_PROBLEM = {
    "type": "object",
    "required": ["type", "title", "status", "code", "detail", "trace_id"],
    "properties": {
        "type": {"type": "string", "format": "uri-reference"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "trace_id": {"type": "string"},
        **ErrorBody.model_json_schema(ref_template=_REF)["properties"],
    },
}


def document(version: str) -> dict[str, Any]:
    """Every operation that has an HTTP form."""
    models = {operation.request for operation in OPERATIONS if operation.http} | {
        operation.reply
        for operation in OPERATIONS
        if operation.http and issubclass(operation.reply, ReplyModel)
    }
    ordered = sorted(models, key=lambda model: model.__name__)
    _, definitions = models_json_schema(
        [(model, "validation") for model in ordered] + [(ErrorBody, "validation")],
        ref_template=_REF,
    )
    components = dict(definitions.get("$defs", {}))
    components["Problem"] = _PROBLEM
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS:
        if operation.http is not None:
            entry = _operation(operation, operation.http, components)
            paths.setdefault(operation.http.path, {})[operation.http.method.lower()] = entry
    return {
        "openapi": "3.1.0",
        "info": {"title": "SVGX Engine", "version": version},
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
            },
        },
    }


def _operation(
    operation: Operation[Any, Any], http: Http, components: dict[str, Any]
) -> dict[str, Any]:
    schema = components[operation.request.__name__]
    in_path = set(http.path_fields)
    in_query = http.method in ("GET", "DELETE")
    properties, required = schema.get("properties", {}), set(schema.get("required", ()))
    entry: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "tags": [operation.service],
        "parameters": [
            {
                "name": name,
                "in": "path" if name in in_path else "query",
                "required": name in in_path or name in required,
                "schema": field,
            }
            for name, field in properties.items()
            if name in in_path or in_query
        ],
        "responses": _responses(operation, http),
        "security": [] if operation.scope is Scope.PUBLIC else [{"bearer": []}],
    }
    if issubclass(operation.request, RawRequest):
        binary = {"schema": {"type": "string", "format": "binary"}}
        entry["requestBody"] = {"required": True, "content": dict.fromkeys(http.consumes, binary)}
    elif not in_query:
        fields = {name: field for name, field in properties.items() if name not in in_path}
        body = {
            "type": "object",
            "properties": fields,
            "required": sorted(required - in_path),
            "additionalProperties": False,
        }
        entry["requestBody"] = {
            "required": bool(body["required"]),
            "content": {"application/json": {"schema": body}},
        }
    return entry


def _responses(operation: Operation[Any, Any], http: Http) -> dict[str, Any]:
    success: dict[str, Any] = {"description": "OK"}
    if operation.reply is not Empty:
        if issubclass(operation.reply, ReplyModel):
            content = {
                "application/json": {
                    "schema": {"$ref": _REF.format(model=operation.reply.__name__)}
                }
            }
        else:
            content = {"*/*": {"schema": {"type": "string", "format": "binary"}}}
        success["content"] = content
    general: tuple[type[SvgxError], ...] = (
        Invalid,
        TooLarge,
        Internal,
        Unavailable,
        DeadlineExceeded,
    )
    if operation.scope is not Scope.PUBLIC:
        general += (Unauthenticated, Forbidden)
    by_status: dict[int, set[str]] = {}
    for error in (*operation.errors, *general):
        by_status.setdefault(error.status, set()).add(error.title())
    problem = {problems.MEDIA_TYPE: {"schema": {"$ref": _REF.format(model="Problem")}}}
    return {str(http.status): success} | {
        str(status): {"description": " ".join(sorted(titles)), "content": problem}
        for status, titles in sorted(by_status.items())
    }
