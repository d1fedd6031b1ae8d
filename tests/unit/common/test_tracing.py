"""Spans of requests to other processes, and of failures."""

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from svgx_common.tracing import CurrentSpan, client_span


def test_exception_is_recorded_by_its_type_without_its_text() -> None:
    """Proves R-OBS-4: the inner span fails, and the outer one does not."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("test")
    before = trace.get_current_span()
    with (
        CurrentSpan(tracer, "outer", trace.SpanKind.SERVER),
        pytest.raises(ValueError, match="secret"),
        CurrentSpan(tracer, "inner", trace.SpanKind.CLIENT, attributes={"a": "b"}),
    ):
        raise ValueError("secret")
    inner, outer = exporter.get_finished_spans()
    assert trace.get_current_span() is before
    assert inner.parent == outer.context
    assert inner.attributes == {"a": "b", "error.type": "ValueError"}
    assert not inner.status.is_ok
    assert "secret" not in inner.to_json()
    assert outer.status.is_unset


def test_client_span_within_an_unrecorded_trace_makes_no_span() -> None:
    """Proves R-OBS-4: without an outer span, and within a recorded one, a span is made."""
    exporter = InMemorySpanExporter()
    recorded = TracerProvider()
    recorded.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = recorded.get_tracer("test")
    unrecorded = TracerProvider(sampler=ALWAYS_OFF).get_tracer("test")
    with CurrentSpan(unrecorded, "root", trace.SpanKind.SERVER) as root:
        with client_span(tracer, "skipped"):
            assert trace.get_current_span() is root
        assert root.get_span_context().is_valid
    with (
        CurrentSpan(tracer, "root", trace.SpanKind.SERVER),
        client_span(tracer, "inner", {"a": "b"}),
    ):
        pass
    with client_span(tracer, "single"):
        pass
    inner, outer, single = exporter.get_finished_spans()
    assert [inner.name, outer.name, single.name] == ["inner", "root", "single"]
    assert (inner.parent, inner.kind) == (outer.context, trace.SpanKind.CLIENT)
    assert single.parent is None
