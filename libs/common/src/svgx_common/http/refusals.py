"""Responses that refuse a request with a problem document: as bytes, or as a response for an application to send."""

import json
from collections.abc import Mapping
from http import HTTPStatus

from starlette.responses import JSONResponse

from svgx_common.contract.errors import PROBLEM_MEDIA_TYPE, SvgxError, problem_document
from svgx_common.http.security_headers import SECURITY_HEADERS
from svgx_common.tracing import current_trace_id

HEADERS: Mapping[str, str] = {
    "content-type": PROBLEM_MEDIA_TYPE,
    "connection": "close",
    **{name.decode(): value.decode() for name, value in SECURITY_HEADERS},
}
"""The headers of every refusal that a protocol class sends without an application."""


def problem_body(error: SvgxError) -> bytes:
    """Return the problem document of an error as JSON text."""
    return json.dumps(problem_document(error, current_trace_id())).encode()


def encode(error: SvgxError) -> bytes:
    """Return an HTTP/1.1 response that closes its connection and has the problem document of an error."""
    body = problem_body(error)
    headers = {**HEADERS, "content-length": str(len(body))}
    lines = [f"HTTP/1.1 {error.status} {HTTPStatus(error.status).phrase}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def response(error: SvgxError, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """Return a response with the problem document of an error, for an application to send."""
    document = problem_document(error, current_trace_id())
    return JSONResponse(document, error.status, headers, media_type=PROBLEM_MEDIA_TYPE)
