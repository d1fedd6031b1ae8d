"""Spans."""

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from svgx_common.tracing import CurrentSpan, client_span


def test_an_error_is_in_the_trace_by_its_type_and_not_by_its_text() -> None:
    """Proves R-OBS-4: of the inner span, inside the outer one."""
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


def test_what_is_asked_within_a_trace_that_is_not_recorded_costs_no_span() -> None:
    """Proves R-OBS-4: its context goes on; by itself, and within one that is recorded, there is a span."""
    exporter = InMemorySpanExporter()
    recorded = TracerProvider()
    recorded.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = recorded.get_tracer("test")
    silent = TracerProvider(sampler=ALWAYS_OFF).get_tracer("test")
    with CurrentSpan(silent, "root", trace.SpanKind.SERVER) as root:
        with client_span(tracer, "unseen"):
            assert trace.get_current_span() is root
        assert root.get_span_context().is_valid
    with (
        CurrentSpan(tracer, "root", trace.SpanKind.SERVER),
        client_span(tracer, "inner", {"a": "b"}),
    ):
        pass
    with client_span(tracer, "alone"):
        pass
    inner, outer, alone = exporter.get_finished_spans()
    assert [inner.name, outer.name, alone.name] == ["inner", "root", "alone"]
    assert (inner.parent, inner.kind) == (outer.context, trace.SpanKind.CLIENT)
    assert alone.parent is None
