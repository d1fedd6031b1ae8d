"""OTLP traces, when `OTEL_EXPORTER_OTLP_ENDPOINT` is set; otherwise spans carry ids only, and cost next to nothing.

Sampling, headers and the rest follow OpenTelemetry's own environment variables.
"""

import os
import threading
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType

from opentelemetry import context, trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider, sampling
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.util.types import Attributes

QUEUE = 16_384
"""Spans that wait to be sent; what comes on top is dropped. OpenTelemetry's 2048 are half a second of a gateway's."""

BATCH = 2048
"""Spans sent at once. With OpenTelemetry's 512, a busy gateway's requests cost two thirds of what is in them."""

LAST_EXPORT = 2.0
"""Seconds a stopping process spends on its last spans."""


def configure(service: str, replica_id: str, version: str) -> TracerProvider:
    """Give this process's spans ids, and export them where there is a collector. Call once.

    Give the result to `finish` at the end.
    """
    endpoints = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    exporting = any(os.environ.get(name) for name in endpoints)
    resource = _OneResource(
        Resource.create(
            {
                "service.namespace": "svgx",
                "service.name": f"svgx-{service}",
                "service.instance.id": replica_id,
                "service.version": version,
            }
        ).attributes
    )
    if exporting:
        os.environ.setdefault("OTEL_BSP_MAX_QUEUE_SIZE", str(QUEUE))
        os.environ.setdefault("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", str(BATCH))
        provider = TracerProvider(resource=resource)
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    else:
        # Nothing is recorded, but one id still joins the log lines of one request across the services.
        provider = TracerProvider(sampler=sampling.ALWAYS_OFF, resource=resource)
    trace.set_tracer_provider(provider)
    return provider


class _OneResource(Resource):
    """The process's only one. The exporter hashes it for each span, which as JSON takes a tenth of its time."""

    __eq__ = object.__eq__
    __hash__ = object.__hash__


def finish(provider: TracerProvider) -> None:
    """Send what is still queued. A collector that is away holds nobody up: the exporter alone would try for 30 s."""
    last = threading.Thread(target=provider.shutdown, daemon=True)
    last.start()
    last.join(LAST_EXPORT)


def current_trace_id() -> str:
    """The id of the trace this code runs in, as 32 hex digits; zeros outside of any."""
    return trace.format_trace_id(trace.get_current_span().get_span_context().trace_id)


def client_span(
    tracer: trace.Tracer, name: str, attributes: Attributes = None
) -> AbstractContextManager[object]:
    """A span of what this process asks of another one; no span within one that is not recorded.

    There it would only cost: the outer one's context says all that travels on, that nothing is recorded included.
    """
    outer = trace.get_current_span()
    if outer.get_span_context().is_valid and not outer.is_recording():
        return _NOTHING
    return CurrentSpan(tracer, name, trace.SpanKind.CLIENT, attributes=attributes)


_NOTHING = nullcontext()


class CurrentSpan:
    """A span around a `with`, current inside. An exception that leaves it makes it an error, by its type alone.

    OpenTelemetry's own `start_as_current_span` would add the exception's text and stack, which a trace is no place for,
    and costs a third more.
    """

    __slots__ = ("_span", "_token")

    def __init__(
        self,
        tracer: trace.Tracer,
        name: str,
        kind: trace.SpanKind,
        *,
        parent: context.Context | None = None,
        attributes: Attributes = None,
    ) -> None:
        self._span = tracer.start_span(name, parent, kind, attributes)

    def __enter__(self) -> trace.Span:
        self._token = context.attach(trace.set_span_in_context(self._span))
        return self._span

    def __exit__(
        self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None
    ) -> None:
        context.detach(self._token)
        if kind is not None:
            self._span.set_attribute("error.type", kind.__name__)
            self._span.set_status(trace.StatusCode.ERROR)
        self._span.end()
