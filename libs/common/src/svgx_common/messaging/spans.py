"""The spans of messages, after OpenTelemetry's semantic conventions for messaging.

The sender's span has the kind PRODUCER, and the receiver's span has the kind CONSUMER. This also applies to a request
with a reply, because the conventions derive the kind from the type of the messaging operation (`send`, `process`). A
request's span ends with the reply.
https://opentelemetry.io/docs/specs/semconv/messaging/messaging-spans/
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any
from urllib.parse import ParseResult

from nats.aio.client import Client
from opentelemetry import trace

from svgx_common.contract.operation import Channel, Operation
from svgx_common.contract.transport import queue_group
from svgx_common.messaging.headers import Headers
from svgx_common.tracing import (
    CANVAS_ID,
    NO_SPAN,
    CurrentSpan,
    UnrecordedSpan,
    extract_trace,
    in_recorded_trace,
    inject_trace,
    is_unrecorded,
)

tracer = trace.get_tracer("svgx.bus")

BATCH_SIZE = "messaging.batch.message_count"

Attributes = dict[str, str | int]


@dataclass(frozen=True, slots=True)
class Batch:
    """A message with several parts, such as edits or journal entries. `size` is their number, or None if unknown.

    `origins` are the recorded spans that the parts come from.
    """

    size: int | None
    origins: Sequence[trace.SpanContext] = ()


class MessageSpans:
    """The spans of the messages of one connection to NATS."""

    def __init__(self, connection: Client) -> None:
        self._connection = connection
        self._url: ParseResult | None = None
        """The address of the server that `_server` describes."""
        self._server: Attributes = {}

    def ask(
        self, operation: Operation[Any, Any], batch: Batch | None = None
    ) -> AbstractContextManager[trace.Span | None]:
        """Return the span of a request. It begins a new trace when no trace is current."""
        if is_unrecorded(trace.get_current_span()):
            return NO_SPAN
        attributes = _attributes("request", "send", operation.subject)
        return self._sending(f"request {operation.subject}", attributes, batch)

    def ask_holder(
        self, channel: Channel[Any], canvas_id: str, batch: Batch | None = None
    ) -> AbstractContextManager[trace.Span | None]:
        """Return the span of a request to the holder of a canvas. It never begins a new trace."""
        return self._on_canvas("request", channel, canvas_id, batch)

    def publish(
        self, channel: Channel[Any], canvas_id: str, batch: Batch
    ) -> AbstractContextManager[trace.Span | None]:
        """Return the span of a message without a reply. It never begins a new trace."""
        return self._on_canvas("publish", channel, canvas_id, batch)

    def _on_canvas(
        self, operation: str, channel: Channel[Any], canvas_id: str, batch: Batch | None
    ) -> AbstractContextManager[trace.Span | None]:
        if not in_recorded_trace():
            return NO_SPAN
        attributes = _attributes(operation, "send", channel.subject_of(canvas_id=canvas_id))
        attributes["messaging.destination.template"] = channel.subject
        attributes[CANVAS_ID] = canvas_id
        return self._sending(f"{operation} {channel.subject}", attributes, batch)

    def _sending(self, name: str, attributes: Attributes, batch: Batch | None) -> CurrentSpan:
        self._add_server(attributes)
        links: Sequence[trace.SpanContext] = ()
        if batch is not None:
            links = batch.origins
            if batch.size is not None:
                attributes[BATCH_SIZE] = batch.size
        kind = trace.SpanKind.PRODUCER
        return CurrentSpan(tracer, name, kind, attributes=attributes, links=links)

    def answer(self, operation: Operation[Any, Any], headers: Headers) -> CurrentSpan:
        """Return the span in which a service answers a request. Its parent is the request's span."""
        processing = _processing(operation.subject, headers)
        if processing.span.is_recording():
            attributes = _attributes("process", "process", operation.subject)
            attributes["messaging.consumer.group.name"] = queue_group(operation.service)
            self._add_server(attributes)
            processing.span.set_attributes(attributes)
        return processing

    def receive(
        self, channel: Channel[Any], canvas_id: str, headers: Mapping[str, str] | None
    ) -> AbstractContextManager[trace.Span | None]:
        """Return the span in which a message on a canvas's channel is processed. Without a trace there is no span."""
        if not headers or "traceparent" not in headers:
            return NO_SPAN
        processing = _processing(channel.subject, headers)
        if processing.span.is_recording():
            attributes = _attributes("process", "process", channel.subject_of(canvas_id=canvas_id))
            attributes["messaging.destination.template"] = channel.subject
            attributes[CANVAS_ID] = canvas_id
            self._add_server(attributes)
            processing.span.set_attributes(attributes)
        return processing

    def _add_server(self, attributes: Attributes) -> None:
        url = self._connection.connected_url
        if url is None:
            return
        if url is not self._url:
            # Reading the parts of an address takes longer than all other attributes.
            self._url = url
            self._server = {
                "server.address": url.hostname or "",
                "server.port": url.port or 4222,
            }
        attributes.update(self._server)


def trace_headers(*, first: bool) -> Headers | None:
    """Return the headers that carry the current trace to another process, or None.

    The first attempt to send edits of an unrecorded trace has no headers, because headers cost time. Later attempts
    have the headers, because their failures may be logged.
    """
    if first and isinstance(trace.get_current_span(), UnrecordedSpan):
        return None
    headers: Headers = {}
    inject_trace(headers)
    return headers or None


def _processing(destination: str, headers: Mapping[str, str]) -> CurrentSpan:
    """Return a receiver's span. The caller adds the attributes only if the span is recorded, to save time."""
    parent = extract_trace(headers)
    return CurrentSpan(tracer, f"process {destination}", trace.SpanKind.CONSUMER, parent=parent)


def _attributes(name: str, kind: str, subject: str) -> Attributes:
    return {
        "messaging.system": "nats",
        "messaging.operation.name": name,
        "messaging.operation.type": kind,
        "messaging.destination.name": subject,
    }
