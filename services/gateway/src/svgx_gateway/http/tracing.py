"""The root of every trace: one span for each HTTP request."""

from opentelemetry import trace
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from svgx_common.tracing import CurrentSpan

tracer = trace.get_tracer("svgx.gateway")

# No baggage: what strangers pack would travel to every service.
_incoming = TraceContextTextMapPropagator()


class Tracing:
    """ASGI middleware: takes `traceparent` in, gives `traceresponse` (W3C Trace Context Level 2 draft) out."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI. WebSockets are not wrapped: their frames are sampled where they are handled."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        with CurrentSpan(
            tracer,
            scope["method"],  # the route adds its template; paths would make a name for each canvas
            trace.SpanKind.SERVER,
            parent=_incoming.extract(Headers(scope=scope)),
            attributes={"http.request.method": scope["method"], "url.path": scope["path"]},
        ) as span:
            context = span.get_span_context()

            async def traced(message: Message) -> None:
                if message["type"] == "http.response.start":
                    span.set_attribute("http.response.status_code", message["status"])
                    if message["status"] >= 500:
                        span.set_status(trace.StatusCode.ERROR)
                    response = b"00-%032x-%016x-%02x" % (
                        context.trace_id,
                        context.span_id,
                        context.trace_flags,
                    )
                    message["headers"] = [*message["headers"], (b"traceresponse", response)]
                await send(message)

            await self._app(scope, receive, traced)
