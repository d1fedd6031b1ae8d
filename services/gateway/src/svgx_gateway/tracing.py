"""The root of every trace: one span for each HTTP request."""

from opentelemetry import propagate, trace
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

tracer = trace.get_tracer("svgx.gateway")


class Tracing:
    """ASGI middleware: takes `traceparent` in, gives `traceresponse` (W3C Trace Context Level 2 draft) out."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI. WebSockets are not wrapped: their frames are sampled where they are handled."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        with tracer.start_as_current_span(
            scope["method"],  # the route adds its template; paths would make a name for each canvas
            context=propagate.extract(Headers(scope=scope)),
            kind=trace.SpanKind.SERVER,
            attributes={"http.request.method": scope["method"], "url.path": scope["path"]},
        ) as span:
            context = span.get_span_context()

            async def traced(message: Message) -> None:
                if message["type"] == "http.response.start":
                    span.set_attribute("http.response.status_code", message["status"])
                    MutableHeaders(scope=message)["traceresponse"] = (
                        f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"
                    )
                await send(message)

            await self._app(scope, receive, traced)
