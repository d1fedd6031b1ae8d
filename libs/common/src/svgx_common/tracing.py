"""Traces, and their export over OTLP.

Spans are exported when `OTEL_EXPORTER_OTLP_ENDPOINT` or `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` is set, unless
`OTEL_SDK_DISABLED` is true. Otherwise spans only carry ids. OpenTelemetry's own environment variables set the sampling
and the headers of the exporter.
"""

import os
import threading
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType

from opentelemetry import context, trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider, sampling
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.util.types import Attributes

from svgx_common.configuration.telemetry_variables import BATCH_SIZE, QUEUE_SIZE, exporting

QUEUE = 16_384
"""Spans that may wait for export; further spans are dropped. A busy gateway fills OpenTelemetry's default, 2048, in
0.5 s.
"""

BATCH = 2048
"""Spans in one export. Larger exports take less time for each span: with OpenTelemetry's default of 512, exporting
spans takes two thirds as long as recording them.
"""

LAST_EXPORT = 2.0
"""Seconds a stopping process may spend on the export of its last spans."""


_NO_LIMITS = SpanLimits(
    *(SpanLimits.UNSET,) * 3,
    max_span_attributes=SpanLimits.UNSET,
    max_event_attributes=SpanLimits.UNSET,
    max_link_attributes=SpanLimits.UNSET,
    max_attribute_length=SpanLimits.UNSET,
    max_span_attribute_length=SpanLimits.UNSET,
)
"""Limits that are not read from variables, for spans that are not recorded."""


def _set_queue_defaults() -> None:
    """Set the variables of the queue that are not set, so that a batch fits into the queue."""
    try:
        batch = int(os.environ.get(BATCH_SIZE) or BATCH)
        queue = int(os.environ.get(QUEUE_SIZE) or max(QUEUE, batch))
    except ValueError:
        return  # OpenTelemetry uses its own defaults
    os.environ[QUEUE_SIZE] = str(queue)
    os.environ[BATCH_SIZE] = os.environ.get(BATCH_SIZE) or str(min(BATCH, queue))


def configure(service: str, replica_id: str, version: str) -> TracerProvider:
    """Set the tracer provider of this process and return it. Call once, and pass the result to `finish` at the end."""
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
    if exporting(os.environ):
        # Importing the exporter takes a twentieth of a service's start.
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415
            OTLPSpanExporter,
        )

        _set_queue_defaults()
        provider = TracerProvider(resource=resource)
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    else:
        # Nothing is recorded, but the trace id still connects the log lines of one request across the services.
        provider = TracerProvider(
            sampler=sampling.ALWAYS_OFF, resource=resource, span_limits=_NO_LIMITS
        )
    trace.set_tracer_provider(provider)
    return provider


class _OneResource(Resource):
    """A resource that is compared by identity, because a process has only one.

    The exporter hashes the resource for each span. OpenTelemetry's own hash dumps the resource as JSON, which
    takes a tenth of the export's time.
    """

    __eq__ = object.__eq__
    __hash__ = object.__hash__


def finish(provider: TracerProvider) -> None:
    """Export the queued spans, within `LAST_EXPORT` seconds.

    The exporter has no such limit: it retries an unreachable collector for 30 s.
    """
    shutdown = threading.Thread(target=provider.shutdown, daemon=True)
    shutdown.start()
    shutdown.join(LAST_EXPORT)


def current_trace_id() -> str:
    """Return the id of the current trace as 32 hex digits; zeros without a trace."""
    return trace.format_trace_id(trace.get_current_span().get_span_context().trace_id)


def client_span(
    tracer: trace.Tracer, name: str, attributes: Attributes = None
) -> AbstractContextManager[object]:
    """Return a context manager: a client span around a request to another process.

    Within a span that is not recorded, no span is made, because it would not be recorded either. The outer span's
    context then travels with the request, and says that the trace is not recorded.
    """
    outer = trace.get_current_span()
    if outer.get_span_context().is_valid and not outer.is_recording():
        return _NO_SPAN
    return CurrentSpan(tracer, name, trace.SpanKind.CLIENT, attributes=attributes)


_NO_SPAN = nullcontext()


class CurrentSpan:
    """A span that is current within a `with` block. An exception that leaves the block marks the span as failed.

    The span records only the exception's type. OpenTelemetry's `start_as_current_span` also records the text and the
    stack, which may hold secrets, and costs a third more time.
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
