"""The spans of HTTP requests and handshakes. Each span begins a trace, unless the client sends `traceparent`.

Names and attributes follow OpenTelemetry's semantic conventions for HTTP.
https://opentelemetry.io/docs/specs/semconv/http/http-spans/
"""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass

import structlog
from opentelemetry import trace
from opentelemetry.context import Context
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from svgx_common.logs import redact
from svgx_common.tracing import CurrentSpan, extract_trace, id_attributes, note_code, traceresponse
from svgx_gateway.observability.notes import notes_of
from svgx_gateway.observability.request_log import MAX_PATH_LENGTH
from svgx_gateway.request_fields import fields_of

tracer = trace.get_tracer("svgx.gateway")

_NO_PARENT = Context()
"""The context of a request without `traceparent`. The current context may be that of an earlier request."""

MAX_TRACE_STATE_LENGTH = 512
"""Largest number of characters of a `tracestate` that is continued. A longer `tracestate` is ignored.

It is the smallest limit that W3C permits. OpenTelemetry accepts 8192 characters, but every span of the trace keeps the
`tracestate` until its export, and every message to a service carries it.
"""

_METHODS = frozenset(
    {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE"}
)
"""The methods that may appear in the name of a span. Otherwise, a client could choose the name."""

_HANDSHAKE = "svgx.handshake"

_RESPONSES = ("websocket.accept", "websocket.http.response.start")
"""The messages that answer a handshake."""


def handshake_of(scope: Scope) -> trace.SpanContext | None:
    """Return the context of the span of a WebSocket's handshake, or None without this middleware."""
    handshake: trace.SpanContext | None = scope.get(_HANDSHAKE)
    return handshake


@dataclass(frozen=True, slots=True)
class _Handshake:
    """The span of a handshake that is not answered yet. `end` ends the span."""

    span: trace.Span
    end: contextlib.ExitStack


class Tracing:
    """ASGI middleware that reads `traceparent` and sends `traceresponse` (W3C Trace Context Level 2 draft)."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle an HTTP request, or the handshake of a WebSocket, within a span."""
        if scope["type"] == "websocket":
            await self._trace_handshake(scope, receive, send)
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        with _server_span(scope) as span:
            context = span.get_span_context()

            async def send_traced(message: Message) -> None:
                if message["type"] == "http.response.start":
                    _note_response(span, scope, message["status"])
                    message["headers"] = [
                        *message["headers"],
                        (b"traceresponse", traceresponse(context)),
                    ]
                await send(message)

            await self._app(scope, receive, send_traced)

    async def _trace_handshake(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a WebSocket. The span ends with the handshake, because a connection lasts for hours.

        Later log lines of the connection still have the trace id of the handshake.
        """
        with contextlib.ExitStack() as stack:
            span = stack.enter_context(_server_span(scope))
            context = scope[_HANDSHAKE] = span.get_span_context()
            structlog.contextvars.bind_contextvars(trace_id=trace.format_trace_id(context.trace_id))
            # `send_traced` lives as long as the connection. It must not keep the span and the stack, which take 2 kB.
            handshake = [_Handshake(span, stack)]

            async def send_traced(message: Message) -> None:
                if handshake and message["type"] in _RESPONSES:
                    opening = handshake.pop()
                    _note_response(opening.span, scope, message.get("status", 101))
                    headers = [
                        *message.get("headers", ()),
                        (b"traceresponse", traceresponse(context)),
                    ]
                    await send({**message, "headers": headers})
                    opening.end.close()
                else:
                    await send(message)

            await self._app(scope, receive, send_traced)


def _server_span(scope: Scope) -> CurrentSpan:
    """Return the span of a request. `_note_response` adds its route, status and ids.

    The name of the span never has the path of the request, because each canvas would then have its own span name.
    """
    method = scope.get("method", "GET")  # a handshake is a GET request
    if method not in _METHODS:
        method = "HTTP"
    parent = _NO_PARENT if b"traceparent" not in fields_of(scope) else _sent_parent(scope)
    server = CurrentSpan(tracer, method, trace.SpanKind.SERVER, parent=parent)
    if server.span.is_recording():
        server.span.set_attributes(
            {
                "http.request.method": "_OTHER" if method == "HTTP" else method,
                "url.scheme": scope.get("scheme", "http"),
                # A client may put a token into the path by mistake.
                "url.path": redact(scope["path"][:MAX_PATH_LENGTH]),
            }
        )
    return server


def _sent_parent(scope: Scope) -> Context:
    """Return the context that the client sent."""
    headers: Mapping[str, str] = Headers(scope=scope)
    if len(headers.get("tracestate", "")) > MAX_TRACE_STATE_LENGTH:
        headers = {"traceparent": headers.get("traceparent", "")}
    return extract_trace(headers)


def _note_response(span: trace.Span, scope: Scope, status: int) -> None:
    """Add the route, the status and the ids to the span. Only a status of 500 and above counts as an error."""
    if not span.is_recording():
        return
    notes = notes_of(scope)
    attributes: dict[str, str | int] = {"http.response.status_code": status}
    if notes.route is not None:
        method = scope.get("method", "GET")
        span.update_name(f"{method if method in _METHODS else 'HTTP'} {notes.route}")
        attributes["http.route"] = notes.route
    attributes.update(id_attributes(notes.ids))
    span.set_attributes(attributes)
    if status >= 500 or notes.code is not None:
        note_code(span, notes.code or str(status), failed=status >= 500)
