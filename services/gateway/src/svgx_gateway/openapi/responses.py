"""Responses in the OpenAPI document: the responses of each operation by status, with headers and problem types."""

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
    "Svgx-Quota": _header(
        "The most used quota of bytes, from 80 % on: of the caller's account and, once the caller's role is checked, "
        "of the canvas in the request. The numbers of canvases have no header. `reset` is in seconds.",
        '"account_journal_bytes_per_day";used=450;limit=512;status=near;reset=3600',
    ),
    "Retry-After": _header("Seconds after which to try again.", 1),
    "Accept-Encoding": _header("The accepted codings of a body.", "identity"),
    "WWW-Authenticate": _header("How to authenticate.", "Bearer"),
    "Location": _header(
        "The address of the redirect.", "https://id.example.org/authorize?client_id=svgx"
    ),
    "Set-Cookie": _header(
        "A value that the browser sends when it returns from the provider.",
        "svgx_browser=x; HttpOnly; SameSite=lax",
    ),
    "Content-Disposition": _header(
        "The name of the file (RFC 6266): in ASCII, and in full.",
        "attachment; filename=\"Cafe.svg\"; filename*=UTF-8''Caf%C3%A9.svg",
    ),
    "Svgx-Left-Out": _header(
        "The stored content that is not in the file, with reasons and counts (a list, RFC 9651). "
        "The header is missing when the file is complete.",
        '"image@href";reason="attribute_length";count=1',
    ),
    "Idempotency-Replayed": _header(
        "The response is the stored response of an earlier request.", "true"
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

_BINARY = {"type": "string", "format": "binary"}

_ALWAYS_COUNTED = frozenset({Unauthenticated, Forbidden, TooManyRequests})
"""The problems of requests that the guard refuses. These requests count against a rate limit, even when the operation
has no rate limit."""


def headers_of_page(*, signed_in: bool, traced: bool) -> dict[str, Any]:
    """Return the headers of a counted page: its rate limit, a caller's quota, and the trace where the page has one."""
    quota = ("Svgx-Quota",) if signed_in else ()
    trace = ("traceresponse",) if traced else ()
    return _references([*_RATE_LIMIT_HEADERS, *quota, *trace])


class Responses:
    """The responses of operations. Problem responses are shared, and collected in `components`."""

    def __init__(self) -> None:
        self.components: dict[str, Any] = {}

    def of(self, operation: Operation[Any, Any], http: Http) -> dict[str, Any]:
        """Return all responses of an operation by status."""
        counted = operation.rate is not RateClass.UNLIMITED
        signed_in = operation.scope is not Scope.PUBLIC
        return {
            str(http.status): _success(operation, http),
            **self.problems(errors_of(operation, http), counted=counted, signed_in=signed_in),
        }

    def problems(
        self, errors: set[type[SvgxError]], *, counted: bool = True, signed_in: bool = True
    ) -> dict[str, Any]:
        """Return, for each status of these errors, a reference to one response with all problems of that status.

        `counted` means that all requests count against a rate limit. Requests with a problem in `_ALWAYS_COUNTED` count
        in any case. `signed_in` means that a caller is known, except with status 401.
        """
        by_status: dict[int, list[type[SvgxError]]] = {}
        for error in sorted(errors, key=lambda each: (each.status, each.code)):
            by_status.setdefault(error.status, []).append(error)
        references = {}
        for status, kinds in by_status.items():
            name = "-".join(kind.code for kind in kinds)
            with_limits = counted or not _ALWAYS_COUNTED.isdisjoint(kinds)
            if not with_limits:
                name += ".uncounted"
            if not signed_in and status != 401:
                name += ".public"
            with_quota = signed_in and status != 401
            self.components.setdefault(
                name, _problem(status, kinds, counted=with_limits, with_quota=with_quota)
            )
            references[str(status)] = {"$ref": f"#/components/responses/{name}"}
        return references


def errors_of(operation: Operation[Any, Any], http: Http) -> set[type[SvgxError]]:
    """Return the errors that an operation may have over HTTP."""
    errors = {*operation.errors, Invalid, TooLarge, Internal, Unavailable, Overloaded}
    errors |= {
        DeadlineExceeded,
        RequestTimeout,
    }  # a GET or DELETE may have a body, which is read and refused
    if operation.rate is not RateClass.UNLIMITED or operation.scope is not Scope.PUBLIC:
        errors.add(TooManyRequests)
    if operation.scope is not Scope.PUBLIC:
        errors |= {Unauthenticated, Forbidden}
    if operation.supports_idempotency_key:
        errors.add(Conflict)
    if operation.canvas_role is not None:
        errors.add(NotFound)
    if http.method not in ("GET", "DELETE"):
        errors |= {BadRequest, UnsupportedMedia}
    return errors


def _success(operation: Operation[Any, Any], http: Http) -> dict[str, Any]:
    names = [
        *(() if operation.rate is RateClass.UNLIMITED else _RATE_LIMIT_HEADERS),
        *(() if operation.scope is Scope.PUBLIC else ("Svgx-Quota",)),
        "traceresponse",
    ]
    if operation.supports_idempotency_key:
        names.append("Idempotency-Replayed")
    success: dict[str, Any] = {"description": operation.summary}
    if operation.reply is Blob:
        names += ["Content-Disposition", "Svgx-Left-Out"]
        success["content"] = {each: {"schema": _BINARY} for each in http.produces}
        if operation.json_reply is not None:
            reference = {"$ref": REF.format(model=operation.json_reply.__name__)}
            success["content"]["application/json"] = {"schema": reference}
    elif operation.reply is Redirect:
        names += ["Location", "Set-Cookie"]
    elif operation.reply is not Empty and issubclass(operation.reply, ReplyModel):
        reference = {"$ref": REF.format(model=operation.reply.__name__)}
        success["content"] = {"application/json": {"schema": reference}}
    success["headers"] = _references(names)
    return success


def _problem(
    status: int, kinds: list[type[SvgxError]], *, counted: bool, with_quota: bool
) -> dict[str, Any]:
    names = [*(_RATE_LIMIT_HEADERS if counted else ()), "traceresponse"]
    if with_quota:
        names.append("Svgx-Quota")
    if status in (429, 503) or Conflict in kinds:  # 409 while the same request is being executed
        names.append("Retry-After")
    if status == 401:
        names.append("WWW-Authenticate")
    if status == 415:
        names.append("Accept-Encoding")
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
