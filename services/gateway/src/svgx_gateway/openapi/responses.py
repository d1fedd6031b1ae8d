"""Responses in the OpenAPI document: those of each operation by status, with headers and problem types."""

from typing import Any

from svgx_common.contract.errors import (
    PROBLEM_MEDIA_TYPE,
    BadRequest,
    Conflict,
    DeadlineExceeded,
    ErrorBody,
    Forbidden,
    Internal,
    Invalid,
    NotFound,
    Overloaded,
    RequestTimeout,
    SvgxError,
    TooLarge,
    TooManyRequests,
    Unauthenticated,
    Unavailable,
    UnsupportedMedia,
)
from svgx_common.contract.operation import Blob, Empty, Http, Operation, Redirect, ReplyModel
from svgx_common.contract.policy import RateClass, Scope
from svgx_gateway.http import problems

REF = "#/components/schemas/{model}"

PROBLEM = {
    "type": "object",
    "required": ["type", "title", "status", "code", "detail", "trace_id"],
    "properties": {
        "type": {"type": "string", "format": "uri-reference"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "trace_id": {"type": "string", "pattern": "^[0-9a-f]{32}$"},
        **ErrorBody.model_json_schema(ref_template=REF)["properties"],
    },
}


def _header(description: str, example: str | int) -> dict[str, Any]:
    kind = "integer" if isinstance(example, int) else "string"
    return {"description": description, "schema": {"type": kind}, "example": example}


HEADERS: dict[str, Any] = {
    "RateLimit": _header(
        "Requests left (`r`), and seconds until the whole limit is available again (`t`).",
        '"read";r=99;t=1',
    ),
    "RateLimit-Policy": _header(
        "Requests allowed (`q`) in a window of `w` seconds.", '"read";q=100;w=60'
    ),
    "X-RateLimit-Limit": _header("Requests in the window.", 100),
    "X-RateLimit-Remaining": _header("Requests left.", 99),
    "X-RateLimit-Reset": _header("Seconds until the whole limit is available again.", 1),
    "Retry-After": _header("Seconds after which to try again.", 1),
    "WWW-Authenticate": _header("How to authenticate.", "Bearer"),
    "Location": _header("The address to go to.", "https://id.example.org/authorize?client_id=svgx"),
    "Set-Cookie": _header(
        "A value that the browser sends when it returns from the provider.",
        "svgx_browser=x; HttpOnly; SameSite=lax",
    ),
    "Content-Disposition": _header("The name of the file.", 'attachment; filename="plan.svg"'),
    "Svgx-Left-Out": _header(
        "Everything that is stored and not in the file, with reason and count (RFC 9651, a list). "
        "The header is missing when the file is complete.",
        '"image@href";reason="attribute_length";count=1',
    ),
    "Idempotency-Replayed": _header(
        "The response is the stored one of an earlier request.", "true"
    ),
    "traceresponse": _header(
        "The request's trace (W3C Trace Context Level 2).",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    ),
}
# Headers of every response to a request that was counted.
_RATE_LIMIT_HEADERS = (
    "RateLimit",
    "RateLimit-Policy",
    "X-RateLimit-Limit",
    "X-RateLimit-Remaining",
    "X-RateLimit-Reset",
)


class Responses:
    """The responses of operations. Problem responses are shared, and collected in `components`."""

    def __init__(self) -> None:
        self.components: dict[str, Any] = {}

    def of(self, operation: Operation[Any, Any], http: Http) -> dict[str, Any]:
        """Return all responses of an operation by status."""
        return {
            str(http.status): _success(operation, http),
            **self.problems(_errors(operation, http)),
        }

    def problems(self, errors: set[type[SvgxError]]) -> dict[str, Any]:
        """Return, for each status of these errors, a reference to one response with all problems of that status."""
        by_status: dict[int, list[type[SvgxError]]] = {}
        for error in sorted(errors, key=lambda each: (each.status, each.code)):
            by_status.setdefault(error.status, []).append(error)
        references = {}
        for status, kinds in by_status.items():
            name = "-".join(kind.code for kind in kinds)
            self.components.setdefault(name, _problem(status, kinds))
            references[str(status)] = {"$ref": f"#/components/responses/{name}"}
        return references


def _errors(operation: Operation[Any, Any], http: Http) -> set[type[SvgxError]]:
    errors = {*operation.errors, Invalid, TooLarge, Internal, Unavailable, Overloaded}
    errors |= {DeadlineExceeded}
    if operation.rate is not RateClass.UNLIMITED:
        errors.add(TooManyRequests)
    if operation.scope is not Scope.PUBLIC:
        errors |= {Unauthenticated, Forbidden}
        if http.method == "POST":
            errors.add(Conflict)
    if operation.canvas_role is not None:
        errors.add(NotFound)
    if http.method not in ("GET", "DELETE"):
        errors |= {BadRequest, RequestTimeout, UnsupportedMedia}
    return errors


def _success(operation: Operation[Any, Any], http: Http) -> dict[str, Any]:
    names = [
        *(() if operation.rate is RateClass.UNLIMITED else _RATE_LIMIT_HEADERS),
        "traceresponse",
    ]
    if http.method == "POST" and operation.scope is not Scope.PUBLIC:
        names.append("Idempotency-Replayed")
    success: dict[str, Any] = {"description": operation.summary}
    if operation.reply is Blob:
        names += ["Content-Disposition", "Svgx-Left-Out"]
        binary = {"type": "string", "format": "binary"}
        success["content"] = {
            each: {"schema": {} if each == "application/json" else binary} for each in http.produces
        }
    elif operation.reply is Redirect:
        names += ["Location", "Set-Cookie"]
    elif operation.reply is not Empty and issubclass(operation.reply, ReplyModel):
        reference = {"$ref": REF.format(model=operation.reply.__name__)}
        success["content"] = {"application/json": {"schema": reference}}
    success["headers"] = _references(names)
    return success


def _problem(status: int, kinds: list[type[SvgxError]]) -> dict[str, Any]:
    names = [*_RATE_LIMIT_HEADERS, "traceresponse"]
    if status in (429, 503):
        names.append("Retry-After")
    if status == 401:
        names.append("WWW-Authenticate")
    samples = [problems.content(kind()) for kind in kinds]
    schema = {
        "allOf": [{"$ref": REF.format(model="Problem")}],
        "properties": {
            "status": {"const": status},
            "code": {"enum": [each["code"] for each in samples]},
            "type": {"enum": [each["type"] for each in samples]},
        },
    }
    return {
        "description": " ".join(kind.title() for kind in kinds),
        "headers": _references(names),
        "content": {
            PROBLEM_MEDIA_TYPE: {
                "schema": schema,
                "examples": {each["code"]: {"value": each} for each in samples},
            }
        },
    }


def _references(names: list[str]) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}
