"""Traces, and their export over OTLP.

Spans are exported when `OTEL_EXPORTER_OTLP_ENDPOINT` or `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` is set, unless
`OTEL_SDK_DISABLED` is true or the sampler is `always_off` or has a ratio of 0. Without export, spans only carry ids.
OpenTelemetry's own environment variables set the sampling and the headers of the exporter.

`docs/tracing.md` lists all spans. `messaging/spans.py` makes the spans of messages.
"""

import asyncio
import contextvars
import os
import threading
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType

from opentelemetry import context, trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider, sampling
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import Attributes

from svgx_common.configuration.telemetry_variables import (
    BATCH_SIZE,
    QUEUE_SIZE,
    exporting,
    records_roots,
)
from svgx_common.contract.errors import SvgxError

CANVAS_ID = "svgx.canvas.id"
USER_ID = "user.id"
_ID_ATTRIBUTES = {"user_id": USER_ID, "canvas_id": CANVAS_ID}
OUTCOME = "svgx.outcome"
"""The attribute with an error's code. A refusal, such as `not_found`, has it without an ERROR status."""

MAX_QUEUED_SPANS = 16_384
"""Maximum number of spans that wait for export. Further spans are dropped.

A busy gateway fills OpenTelemetry's default queue of 2048 spans in 0.5 s.
"""

BATCH_SPANS = 2048
"""Maximum number of spans in one export. Larger exports take less time for each span.

With OpenTelemetry's default of 512, exporting spans takes two thirds as long as recording them.
"""

LAST_EXPORT_SECONDS = 2.0
"""Time limit of a stopping process for the export of its last spans, in seconds. Beyond it, the spans are lost."""


_NO_LIMITS = SpanLimits(
    *(SpanLimits.UNSET,) * 3,
    max_span_attributes=SpanLimits.UNSET,
    max_event_attributes=SpanLimits.UNSET,
    max_link_attributes=SpanLimits.UNSET,
    max_attribute_length=SpanLimits.UNSET,
    max_span_attribute_length=SpanLimits.UNSET,
)
"""No limits, for spans that are not recorded. OpenTelemetry then reads no limits from variables."""


def _set_queue_defaults() -> None:
    """Set the variables of the queue that are not set, so that a batch fits into the queue."""
    try:
        batch = int(os.environ.get(BATCH_SIZE) or BATCH_SPANS)
        queue = int(os.environ.get(QUEUE_SIZE) or max(MAX_QUEUED_SPANS, batch))
    except ValueError:
        return  # OpenTelemetry uses its own defaults
    os.environ[QUEUE_SIZE] = str(queue)
    os.environ[BATCH_SIZE] = os.environ.get(BATCH_SIZE) or str(min(BATCH_SPANS, queue))


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
        from opentelemetry.exporter.otlp.proto.http import trace_exporter  # noqa: PLC0415

        from svgx_common.observability.span_encoding import EncodedSpans  # noqa: PLC0415

        # `EncodedSpans` has the only method that the exporter calls on the result of `encode_spans`.
        trace_exporter.encode_spans = EncodedSpans  # type: ignore[assignment,attr-defined]
        _set_queue_defaults()
        provider = ServiceTracerProvider(
            resource=resource, may_record_roots=records_roots(os.environ)
        )
        provider.add_span_processor(BatchSpanProcessor(trace_exporter.OTLPSpanExporter()))
    else:
        # Nothing is recorded, but the trace id still connects the log lines of one request across the services.
        provider = ServiceTracerProvider(
            sampler=sampling.ALWAYS_OFF,
            resource=resource,
            span_limits=_NO_LIMITS,
            may_record_roots=False,
        )
    trace.set_tracer_provider(provider)
    return provider


class ServiceTracerProvider(TracerProvider):
    """A tracer provider that knows whether it may record traces that begin in this process (`may_record_roots`).

    Code that runs for each edit checks this first, because a span costs time even when the sampler rejects it.
    """

    def __init__(
        self,
        *,
        resource: Resource | None = None,
        sampler: sampling.Sampler | None = None,
        span_limits: SpanLimits | None = None,
        may_record_roots: bool = True,
    ) -> None:
        super().__init__(resource=resource, sampler=sampler, span_limits=span_limits)
        self.may_record_roots = may_record_roots


def may_record_roots() -> bool:
    """Return whether this process may record a trace that begins in it."""
    provider = trace.get_tracer_provider()
    return isinstance(provider, ServiceTracerProvider) and provider.may_record_roots


class _OneResource(Resource):
    """A resource that is compared by identity, because a process has only one.

    The exporter hashes the resource for each span. OpenTelemetry's own hash dumps the resource as JSON, which
    takes a tenth of the export's time.
    """

    __eq__ = object.__eq__
    __hash__ = object.__hash__


def finish(provider: TracerProvider) -> None:
    """Export the queued spans, within `LAST_EXPORT_SECONDS`.

    The exporter's own limit is too long for a stopping process: it retries an unreachable collector for 30 s.
    """
    shutdown = threading.Thread(target=provider.shutdown, daemon=True)
    shutdown.start()
    shutdown.join(LAST_EXPORT_SECONDS)


def current_trace_id() -> str:
    """Return the id of the current trace as 32 hex digits; zeros without a trace."""
    return trace.format_trace_id(trace.get_current_span().get_span_context().trace_id)


def traceresponse(context: trace.SpanContext) -> bytes:
    """Return the value of the header `traceresponse` (W3C Trace Context Level 2 draft) for a span's context."""
    return b"00-%032x-%016x-%02x" % (context.trace_id, context.span_id, context.trace_flags)


def is_unrecorded(span: trace.Span) -> bool:
    """Return whether the span belongs to a trace that is not recorded. False without a trace."""
    if isinstance(span, UnrecordedSpan):
        return True
    context = span.get_span_context()
    return context.is_valid and not context.trace_flags.sampled


def in_recorded_trace() -> bool:
    """Return whether there is a current trace, and it is recorded."""
    span = trace.get_current_span()
    return not isinstance(span, UnrecordedSpan) and bool(
        span.get_span_context().trace_flags.sampled
    )


def recorded_context() -> trace.SpanContext | None:
    """Return the context of the current span, or None if it is not recorded."""
    span = trace.get_current_span()
    return span.get_span_context() if span.is_recording() else None


def client_span(
    tracer: trace.Tracer, name: str, attributes: Attributes = None
) -> AbstractContextManager[trace.Span | None]:
    """Return a context manager: a span around a request to a server, if the current trace is recorded.

    Outside of a trace there is no span, because a trace of one statement of a background task is useless.
    """
    if not in_recorded_trace():
        return NO_SPAN
    return CurrentSpan(tracer, name, trace.SpanKind.CLIENT, attributes=attributes)


NO_SPAN = nullcontext(None)
"""A context manager in place of a span."""


class CurrentSpan:
    """A span that is current within a `with` block. An exception that leaves the block is noted (see `note_exception`).

    The span does not record the exception's text and stack, which may hold secrets. OpenTelemetry's
    `start_as_current_span` records them, and costs a third more time.
    """

    __slots__ = ("_token", "span")

    def __init__(
        self,
        tracer: trace.Tracer,
        name: str,
        kind: trace.SpanKind,
        *,
        parent: context.Context | None = None,
        attributes: Attributes = None,
        links: Sequence[trace.SpanContext] = (),
    ) -> None:
        self.span = tracer.start_span(
            name, parent, kind, attributes, [trace.Link(each) for each in links]
        )

    def __enter__(self) -> trace.Span:
        self._token = context.attach(trace.set_span_in_context(self.span))
        return self.span

    def __exit__(
        self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None
    ) -> None:
        context.detach(self._token)
        if error is not None:
            note_exception(self.span, error)
        self.span.end()


def note_exception(span: trace.Span, error: BaseException) -> None:
    """Note the exception that ends a span. Refusals (status below 500) and cancellations are not failures."""
    if isinstance(error, SvgxError):
        note_code(span, error.code, failed=error.status >= 500)
    elif isinstance(error, asyncio.CancelledError):
        span.set_attribute(OUTCOME, "cancelled")
    else:
        span.set_attribute("error.type", type(error).__name__)
        span.set_status(trace.StatusCode.ERROR)


def note_ids(span: trace.Span, ids: Mapping[str, str]) -> None:
    """Add the ids that log lines also have, `user_id` and `canvas_id`, to a recorded span."""
    if span.is_recording():
        span.set_attributes(id_attributes(ids))


def id_attributes(ids: Mapping[str, str]) -> dict[str, str]:
    """Return the attributes of a span for the ids of the log lines."""
    return {_ID_ATTRIBUTES[name]: value for name, value in ids.items()}


def note_code(span: trace.Span, code: str, *, failed: bool) -> None:
    """Note the code of an error of the contract. With `failed`, the span gets the status ERROR."""
    span.set_attribute(OUTCOME, code)
    if failed:
        span.set_attribute("error.type", code)
        span.set_status(trace.StatusCode.ERROR)


# Messages carry only `traceparent` and `tracestate`. OpenTelemetry's default also reads and writes baggage, which no
# service uses.
_propagator = TraceContextTextMapPropagator()


def inject_trace(headers: dict[str, str]) -> None:
    """Add the headers that carry the current trace to another process."""
    _propagator.inject(headers)


def extract_trace(headers: Mapping[str, str]) -> context.Context:
    """Return the context of a trace that came from another process in these headers."""
    return _propagator.extract(headers)


class TraceOf:
    """A context manager that makes the trace of the first span in `origins` the current trace.

    Without `origins`, the current trace is a new one that is not recorded. Its id connects log lines.
    """

    __slots__ = ("_span", "_token")

    def __init__(self, origins: Sequence[trace.SpanContext]) -> None:
        self._span = trace.NonRecordingSpan(origins[0]) if origins else UnrecordedSpan()

    def __enter__(self) -> None:
        self._token = context.attach(trace.set_span_in_context(self._span))

    def __exit__(self, *_: object) -> None:
        context.detach(self._token)


_ids = RandomIdGenerator()


class UnrecordedSpan(trace.NonRecordingSpan):
    """The root of a trace that is not recorded. Its ids are made when first needed, because making them costs time."""

    def __init__(self) -> None:
        super().__init__(trace.INVALID_SPAN_CONTEXT)
        self._own_context: trace.SpanContext | None = None

    @property
    def is_used(self) -> bool:
        """Whether the ids were made."""
        return self._own_context is not None

    def get_span_context(self) -> trace.SpanContext:
        """Return the context, with ids."""
        if self._own_context is None:
            self._own_context = trace.SpanContext(
                _ids.generate_trace_id(), _ids.generate_span_id(), is_remote=False
            )
        return self._own_context


class UnrecordedTraces:
    """The contexts of short tasks that belong to no recorded trace.

    Tasks share a trace until one of them has used the trace's id, because a new trace costs time.
    """

    def __init__(self) -> None:
        self._outer = contextvars.copy_context()
        self._begin()

    def context(self) -> contextvars.Context:
        """Return the context of a new task."""
        if self._span.is_used:
            self._begin()
        return self._context.copy()

    def _begin(self) -> None:
        self._span = UnrecordedSpan()
        self._context = self._outer.copy()
        self._context.run(context.attach, trace.set_span_in_context(self._span))
