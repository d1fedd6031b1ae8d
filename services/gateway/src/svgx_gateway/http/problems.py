"""Errors as HTTP responses: `application/problem+json` (RFC 9457) with the error's code and the trace id."""

import math
from typing import Any

import structlog
from opentelemetry import trace
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.websockets import WebSocket

from svgx_common.contract.errors import (
    PROBLEM_MEDIA_TYPE,
    BadRequest,
    Internal,
    MethodNotAllowed,
    NotFound,
    SvgxError,
    UnsupportedMedia,
    problem_document,
)
from svgx_common.http import refusals
from svgx_common.tracing import current_trace_id

log = structlog.get_logger(__name__)

RETRY_AFTER_SECONDS = 1.0
"""Seconds in `Retry-After` of a 503, unless the error sets another time."""


def content(error: SvgxError) -> dict[str, Any]:
    """Return the problem document of an error."""
    return problem_document(error, current_trace_id())


def response(error: SvgxError) -> JSONResponse:
    """Return the HTTP response of an error."""
    headers = {}
    retry_after = error.retry_after
    if retry_after is None and error.status == 503:
        retry_after = RETRY_AFTER_SECONDS
    if retry_after is not None:
        headers["Retry-After"] = str(max(1, math.ceil(retry_after)))
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if isinstance(error, UnsupportedMedia) and error.field == "content-encoding":
        headers["Accept-Encoding"] = (
            "identity"  # the accepted codings of a body (RFC 9110, 15.5.16)
        )
    if not trace.get_current_span().get_span_context().is_valid:
        # The pages of the metrics are not within `Tracing`, which adds `traceresponse` to all other responses.
        return refusals.response(error, headers)
    return JSONResponse(content(error), error.status, headers, media_type=PROBLEM_MEDIA_TYPE)


async def handle_http_exception(_: Request, error: Exception) -> Response:
    """Return the response of an `HTTPException`, which routing raises for an unknown path or a wrong method."""
    match error:
        case HTTPException(status_code=404):
            return response(NotFound("no operation has this path"))
        case HTTPException(status_code=405):
            answer = response(MethodNotAllowed())
            answer.headers.update(error.headers or {})  # `Allow` (RFC 9110, 15.5.6)
            return answer
        case _:
            return response(BadRequest())


async def handle_exception(connection: Request | WebSocket, error: Exception) -> Response:
    """Log an exception that no endpoint handled, and return its response. For a WebSocket, only raise it again."""
    if isinstance(connection, WebSocket):
        raise error
    log.error("a request failed", path=connection.url.path, exc_info=error)
    return response(Internal())
