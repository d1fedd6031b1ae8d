"""The encoding of spans for the exporter, compared with OpenTelemetry's own."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.common import trace_encoder
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from svgx_common.observability.span_encoding import encode_spans

REMOTE = "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01"


def spans_of(record: Any, limits: SpanLimits | None = None) -> Sequence[ReadableSpan]:
    """Call `record` with a tracer provider, and return the spans that it records."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(resource=Resource({"service.name": "svgx"}), span_limits=limits)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    record(provider)
    return exporter.get_finished_spans()


def read(content: bytes) -> dict[tuple[str, bytes], list[str]]:
    """Return the spans in an export, grouped by scope and resource."""
    request = ExportTraceServiceRequest.FromString(content)
    return {
        (scope.scope.name, group.resource.SerializeToString(deterministic=True)): [
            str(span) for span in scope.spans
        ]
        for group in request.resource_spans
        for scope in group.scope_spans
    }


def assert_equal_to_opentelemetry(spans: Sequence[ReadableSpan]) -> None:
    """Fail unless both encoders give equal spans."""
    assert spans
    assert read(encode_spans(spans)) == read(trace_encoder.encode_spans(spans).SerializeToString())


@pytest.mark.parametrize("kind", list(trace.SpanKind))
@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"a": "b", "long": "x" * 300, "name": "ä☃"},
        {"true": True, "one": 1, "float": 1.0, "big": 2**62, "negative": -1, "empty": ""},
        {"list": ["a", "b"], "numbers": (1, 2)},
        {"too_big": 2**70, "kept": 1},
    ],
)
def test_span_is_encoded_as_by_opentelemetry(
    kind: trace.SpanKind, attributes: Mapping[str, Any]
) -> None:
    """Proves R-OBS-4: each field of a span reaches the collector."""

    def record(provider: TracerProvider) -> None:
        tracer = provider.get_tracer("one")
        remote = TraceContextTextMapPropagator().extract({"traceparent": REMOTE})
        with tracer.start_as_current_span("out", remote, kind, attributes):
            with tracer.start_as_current_span("in" * 100):
                pass
            provider.get_tracer("two", "1").start_span("other").end()

    assert_equal_to_opentelemetry(spans_of(record))


def test_span_with_rare_parts_is_encoded_as_by_opentelemetry() -> None:
    """Proves R-OBS-4: links, events, trace states, errors and the number of dropped attributes are not lost."""

    def record(provider: TracerProvider) -> None:
        tracer = provider.get_tracer("one")
        headers = {"traceparent": REMOTE, "tracestate": "a=b"}
        parent = TraceContextTextMapPropagator().extract(headers)
        origin = trace.get_current_span(parent).get_span_context()
        tracer.start_span("stated", parent).end()
        tracer.start_span("linked", links=[trace.Link(origin, {"a": 1})]).end()
        tracer.start_span("dropped", attributes={"a": 1, "b": 2, "c": 3}).end()
        failed = tracer.start_span("failed")
        failed.add_event("event", {"a": True})
        failed.set_status(trace.StatusCode.ERROR, "text")
        failed.end()

    assert_equal_to_opentelemetry(spans_of(record, SpanLimits(max_span_attributes=2)))
