"""The spans of a WebSocket after its handshake: the join of a canvas, requests and edits.

A connection lasts for hours, so requests and edits begin new traces, with a link to the handshake's span.
"""

from collections.abc import Collection
from contextlib import AbstractContextManager

from opentelemetry import trace

from svgx_common.tracing import (
    CANVAS_ID,
    NO_SPAN,
    OUTCOME,
    USER_ID,
    CurrentSpan,
    TraceOf,
    may_record_roots,
    note_exception,
)

tracer = trace.get_tracer("svgx.gateway")

_NO_PARENT = trace.set_span_in_context(trace.INVALID_SPAN)


def join(
    route: str, canvas_id: str, user_id: str, handshake: trace.SpanContext | None
) -> AbstractContextManager[trace.Span | None]:
    """Return the span in which a connection joins its canvas. It belongs to the handshake's trace.

    `route` is the template of the WebSocket's path.
    """
    if handshake is None:
        return NO_SPAN
    parent = trace.set_span_in_context(trace.NonRecordingSpan(handshake))
    joining = CurrentSpan(tracer, "join", trace.SpanKind.INTERNAL, parent=parent)
    _note(joining.span, route, canvas_id, user_id)
    return joining


def request(
    name: str, route: str, canvas_id: str, user_id: str, handshake: trace.SpanContext | None
) -> AbstractContextManager[object]:
    """Return the span of a client's message that the gateway forwards to a service.

    When no spans are recorded, continue the trace of the handshake.
    """
    if not may_record_roots():
        return NO_SPAN if handshake is None else TraceOf([handshake])
    links = _recorded(handshake)
    span = CurrentSpan(tracer, name, trace.SpanKind.SERVER, parent=_NO_PARENT, links=links)
    _note(span.span, route, canvas_id, user_id)
    return span


class EditSpans:
    """The recorded spans of the edits of one batch. Each lasts from the edit's arrival to its commit."""

    __slots__ = ("_spans",)

    def __init__(self) -> None:
        self._spans: dict[int, trace.Span] = {}
        """The spans by the indexes of their edits."""

    def begin(
        self,
        index: int,
        *,
        route: str,
        canvas_id: str,
        user_id: str,
        handshake: trace.SpanContext | None,
        size: int,
    ) -> None:
        """Begin the trace of an edit of `size` bytes, if the sampler chooses it."""
        links = [trace.Link(each) for each in _recorded(handshake)]
        span = tracer.start_span("edit", _NO_PARENT, trace.SpanKind.SERVER, links=links)
        if span.is_recording():
            _note(span, route, canvas_id, user_id)
            span.set_attribute("messaging.message.body.size", size)
            self._spans[index] = span

    def contexts(self) -> list[trace.SpanContext]:
        """Return the contexts of the spans."""
        return [span.get_span_context() for span in self._spans.values()]

    def link(self, request: trace.Span | None) -> None:
        """Link each edit except the first to the batch's request, which belongs to the trace of the first edit."""
        if request is not None:
            for span in list(self._spans.values())[1:]:
                span.add_link(request.get_span_context())

    def end(self, rejected: Collection[int]) -> None:
        """End the spans after the commit. A rejected edit is not an error of the service."""
        for index, span in self._spans.items():
            if index in rejected:
                span.set_attribute(OUTCOME, "rejected")
            span.end()

    def fail(self, error: BaseException) -> None:
        """End the spans that have not ended yet, because the batch could not be committed."""
        for span in self._spans.values():
            if span.is_recording():
                note_exception(span, error)
                span.end()


def _recorded(handshake: trace.SpanContext | None) -> list[trace.SpanContext]:
    return [handshake] if handshake is not None and handshake.trace_flags.sampled else []


def _note(span: trace.Span, route: str, canvas_id: str, user_id: str) -> None:
    if span.is_recording():
        span.set_attributes({"http.route": route, CANVAS_ID: canvas_id, USER_ID: user_id})
