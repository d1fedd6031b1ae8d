"""The spans of HTTP requests and handshakes: roots of their traces, unless the client sends `traceparent`."""

import contextlib

import structlog
from opentelemetry import trace
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from svgx_common.tracing import CurrentSpan

tracer = trace.get_tracer("svgx.gateway")

# Only `traceparent` and `tracestate` are read. Baggage is not, because a client's baggage would reach every service.
_propagator = TraceContextTextMapPropagator()


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
        with _server_span(scope, scope["method"]) as span:
            context = span.get_span_context()

            async def send_traced(message: Message) -> None:
                if message["type"] == "http.response.start":
                    span.set_attribute("http.response.status_code", message["status"])
                    if message["status"] >= 500:
                        span.set_status(trace.StatusCode.ERROR)
                    message["headers"] = [*message["headers"], _traceresponse(context)]
                await send(message)

            await self._app(scope, receive, send_traced)

    async def _trace_handshake(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a WebSocket. The span ends with the handshake, because a connection lasts for hours.

        Later log lines of the connection still have the trace id of the handshake.
        """
        with contextlib.ExitStack() as handshake:
            span = handshake.enter_context(_server_span(scope, "WEBSOCKET"))
            context = span.get_span_context()
            structlog.contextvars.bind_contextvars(trace_id=trace.format_trace_id(context.trace_id))

            async def send_traced(message: Message) -> None:
                if message["type"] in ("websocket.accept", "websocket.http.response.start"):
                    span.set_attribute("http.response.status_code", message.get("status", 101))
                    headers = [*message.get("headers", ()), _traceresponse(context)]
                    await send({**message, "headers": headers})
                    handshake.close()
                else:
                    await send(message)

            await self._app(scope, receive, send_traced)


def _server_span(scope: Scope, name: str) -> CurrentSpan:
    """Return the span of a request. An endpoint adds its path template to the name.

    A path in the name would give each canvas a name of its own.
    """
    return CurrentSpan(
        tracer,
        name,
        trace.SpanKind.SERVER,
        parent=_propagator.extract(Headers(scope=scope)),
        attributes={"http.request.method": scope.get("method", "GET"), "url.path": scope["path"]},
    )


def _traceresponse(context: trace.SpanContext) -> tuple[bytes, bytes]:
    return b"traceresponse", b"00-%032x-%016x-%02x" % (
        context.trace_id,
        context.span_id,
        context.trace_flags,
    )
