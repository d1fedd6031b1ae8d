"""Spans of requests to other processes, and of failures."""

import asyncio

import pytest
from opentelemetry import propagate, trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from svgx_common.contract.errors import (
    Conflict,
    Forbidden,
    Internal,
    NotFound,
    Overloaded,
    SvgxError,
    TooManyRequests,
    Unavailable,
)
from svgx_common.metrics import exemplar
from svgx_common.tracing import (
    CurrentSpan,
    TraceOf,
    UnrecordedTraces,
    client_span,
    current_trace_id,
    is_unrecorded,
)


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


def test_client_span_is_made_within_a_recorded_trace_only() -> None:
    """Proves R-OBS-4: no span is made without an outer span, or within an unrecorded one."""
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
    inner, outer = exporter.get_finished_spans()
    assert [inner.name, outer.name] == ["inner", "root"]
    assert (inner.parent, inner.kind) == (outer.context, trace.SpanKind.CLIENT)


@pytest.mark.parametrize(
    ("error", "outcome", "failed"),
    [
        (NotFound(), "not_found", False),
        (Forbidden("secret"), "forbidden", False),
        (Conflict(), "conflict", False),
        (TooManyRequests(), "too_many_requests", False),
        (asyncio.CancelledError(), "cancelled", False),
        (Internal(), "internal", True),
        (Unavailable("secret"), "unavailable", True),
        (Overloaded(), "overloaded", True),
    ],
)
def test_only_failures_of_the_service_have_the_status_error(
    error: SvgxError | asyncio.CancelledError, outcome: str, failed: bool
) -> None:
    """Proves R-OBS-4: a refusal sets no ERROR, because the collector's tail sampling keeps each trace with an ERROR."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with (
        pytest.raises(type(error)),
        CurrentSpan(provider.get_tracer("test"), "a", trace.SpanKind.PRODUCER),
    ):
        raise error
    (span,) = exporter.get_finished_spans()
    assert span.attributes is not None
    assert span.attributes["svgx.outcome"] == outcome
    assert span.attributes.get("error.type") == (outcome if failed else None)
    assert (span.status.status_code is trace.StatusCode.ERROR) == failed
    assert "secret" not in span.to_json()


def test_unrecorded_trace_has_one_id_in_all_tasks_and_headers() -> None:
    """Proves R-OBS-4: log lines have a trace id, and no exemplar names it."""

    async def read() -> str:
        return current_trace_id()

    async def read_in_tasks() -> set[str]:
        with TraceOf(()):
            return {
                await asyncio.create_task(read()),
                await asyncio.create_task(read()),
                trace_id_in_headers(),
            }

    def trace_id_in_headers() -> str:
        carrier: dict[str, str] = {}
        propagate.inject(carrier)
        version, trace_id, span_id, flags = carrier["traceparent"].split("-")
        assert (version, flags, len(span_id)) == ("00", "00", 16)
        assert is_unrecorded(trace.get_current_span())
        assert exemplar() is None
        return trace_id

    first, second = asyncio.run(read_in_tasks()), asyncio.run(read_in_tasks())
    assert (len(first), len(second), len(first | second)) == (1, 1, 2)
    assert "0" * 32 not in first


def test_span_within_the_trace_of_an_ended_span_is_its_child() -> None:
    """Proves R-OBS-4: a commit continues the trace of a batch that was applied before."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("test")
    spans = [tracer.start_span(name) for name in "ab"]
    origins = [span.get_span_context() for span in spans]
    for span in spans:
        span.end()
    with TraceOf(origins):
        assert exemplar() == {"trace_id": trace.format_trace_id(origins[0].trace_id)}
        with client_span(tracer, "commit"):
            pass
    commit = exporter.get_finished_spans()[-1]
    assert (commit.name, commit.parent) == ("commit", origins[0])


def test_used_id_of_an_unrecorded_trace_is_not_given_to_later_tasks() -> None:
    """Proves R-OBS-4: once a task has used its trace id, new tasks get another one. Earlier tasks keep the used id."""
    traces = UnrecordedTraces()
    shared = [traces.context() for _ in range(3)]
    first = shared[0].run(current_trace_id)
    assert {each.run(current_trace_id) for each in shared} == {first}
    assert traces.context().run(current_trace_id) != first
    assert current_trace_id() == "0" * 32
