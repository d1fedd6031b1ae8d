"""Errors at the edge: `application/problem+json` (RFC 9457) with our code and the trace id."""

import math
from collections.abc import Iterable
from typing import Any

from starlette.responses import JSONResponse

from svgx_common.contract.errors import (
    PROBLEM_MEDIA_TYPE,
    MethodNotAllowed,
    SvgxError,
    problem_document,
)
from svgx_common.tracing import current_trace_id

RETRY = 1.0
"""Seconds after which what was not there is worth another try, where nobody knows better."""


def content(error: SvgxError) -> dict[str, Any]:
    """The problem document of an error."""
    return problem_document(error, current_trace_id())


def not_allowed(methods: Iterable[str]) -> JSONResponse:
    """405, which names the methods there are (RFC 9110, 15.5.6)."""
    answer = response(MethodNotAllowed())
    answer.headers["Allow"] = ", ".join(sorted(methods))
    return answer


def response(error: SvgxError) -> JSONResponse:
    """The HTTP answer of an error."""
    headers = {}
    retry_after = error.retry_after
    if retry_after is None and error.status == 503:
        retry_after = RETRY
    if retry_after is not None:
        headers["Retry-After"] = str(max(1, math.ceil(retry_after)))
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse(content(error), error.status, headers, media_type=PROBLEM_MEDIA_TYPE)
