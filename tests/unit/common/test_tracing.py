"""Spans."""

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from svgx_common.tracing import Spanning


def test_an_error_is_in_the_trace_by_its_type_and_not_by_its_text() -> None:
    """Proves R-OBS-4: of the inner span, inside the outer one."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("test")
    before = trace.get_current_span()
    with (
        Spanning(tracer, "outer", trace.SpanKind.SERVER),
        pytest.raises(ValueError, match="secret"),
        Spanning(tracer, "inner", trace.SpanKind.CLIENT, attributes={"a": "b"}),
    ):
        raise ValueError("secret")
    inner, outer = exporter.get_finished_spans()
    assert trace.get_current_span() is before
    assert inner.parent == outer.context
    assert inner.attributes == {"a": "b", "error.type": "ValueError"}
    assert not inner.status.is_ok
    assert "secret" not in inner.to_json()
    assert outer.status.is_unset
