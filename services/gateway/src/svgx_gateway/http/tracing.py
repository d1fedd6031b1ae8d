"""The span of each HTTP request. It is the root of the trace unless the client sends `traceparent`."""

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
        """Handle an HTTP request within a span. WebSockets pass, because their frames have their own sampled spans."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        with CurrentSpan(
            tracer,
            # The span's name. The endpoint adds its path template; a path would give each canvas a name of its own.
            scope["method"],
            trace.SpanKind.SERVER,
            parent=_propagator.extract(Headers(scope=scope)),
            attributes={"http.request.method": scope["method"], "url.path": scope["path"]},
        ) as span:
            context = span.get_span_context()

            async def send_traced(message: Message) -> None:
                if message["type"] == "http.response.start":
                    span.set_attribute("http.response.status_code", message["status"])
                    if message["status"] >= 500:
                        span.set_status(trace.StatusCode.ERROR)
                    header = b"00-%032x-%016x-%02x" % (
                        context.trace_id,
                        context.span_id,
                        context.trace_flags,
                    )
                    message["headers"] = [*message["headers"], (b"traceresponse", header)]
                await send(message)

            await self._app(scope, receive, send_traced)
