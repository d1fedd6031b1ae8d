"""Responses that refuse a request with a problem document: as bytes, or as a response for an application to send."""

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from opentelemetry import trace
from starlette.responses import JSONResponse

from svgx_common.contract.errors import PROBLEM_MEDIA_TYPE, SvgxError, problem_document
from svgx_common.http.security_headers import SECURITY_HEADERS
from svgx_common.tracing import UnrecordedSpan, traceresponse

HEADERS: Mapping[str, str] = {
    "content-type": PROBLEM_MEDIA_TYPE,
    "connection": "close",
    **{name.decode(): value.decode() for name, value in SECURITY_HEADERS},
}
"""The headers of every refusal that a protocol class sends without an application."""


def headers_and_body(error: SvgxError) -> tuple[dict[str, str], bytes]:
    """Return the headers and the body of a refusal that a protocol class sends without an application."""
    document, own_headers = _document_and_headers(error)
    body = json.dumps(document).encode()
    return {**HEADERS, **own_headers, "content-length": str(len(body))}, body


def encode(error: SvgxError) -> bytes:
    """Return an HTTP/1.1 response that closes its connection and has the problem document of an error."""
    headers, body = headers_and_body(error)
    lines = [f"HTTP/1.1 {error.status} {HTTPStatus(error.status).phrase}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def response(error: SvgxError, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """Return a response with the problem document of an error, for an application to send.

    The response has `traceresponse`, because no middleware of the services' HTTP application adds this header.
    """
    document, own_headers = _document_and_headers(error)
    all_headers = {**own_headers, **(headers or {})}
    return JSONResponse(document, error.status, all_headers, media_type=PROBLEM_MEDIA_TYPE)


def _document_and_headers(error: SvgxError) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the problem document of an error, and the header `traceresponse`.

    Without a current trace, the error gets a trace id of its own, because zeros are no valid trace id.
    """
    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        context = UnrecordedSpan().get_span_context()
    document = problem_document(error, trace.format_trace_id(context.trace_id))
    return document, {"traceresponse": traceresponse(context).decode()}
