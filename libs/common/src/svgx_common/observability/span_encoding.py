"""Spans as bytes of OTLP, for the exporter.

OpenTelemetry's encoder builds a protobuf object for each span, attribute and value, which takes longer than recording
the span. Here, the bytes of names and attributes are cached, because most of them repeat. OpenTelemetry's encoder still
encodes resources, scopes and spans with rare parts, such as links.
"""

import functools
import struct
from collections.abc import Sequence
from typing import Any

from opentelemetry.exporter.otlp.proto.common import trace_encoder
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind, StatusCode

_SCOPE_SPANS, _SPANS = 0x12, 0x12
"""The tags (field number and wire type) of `ResourceSpans.scope_spans` and `ScopeSpans.spans`."""

_RESOURCE_SPANS, _NAME, _ATTRIBUTES = 0x0A, 0x2A, 0x4A
"""The tags of `ExportTraceServiceRequest.resource_spans`, `Span.name` and `Span.attributes`."""

_pack_ids = struct.Struct(">2s16s2s8s").pack
_pack_kind_and_times = struct.Struct("<BBBQBQ").pack
_pack_flags = struct.Struct("<HI").pack
_KIND_NUMBERS = {
    SpanKind.INTERNAL: 1,
    SpanKind.SERVER: 2,
    SpanKind.CLIENT: 3,
    SpanKind.PRODUCER: 4,
    SpanKind.CONSUMER: 5,
}
_REMOTE_IS_KNOWN, _REMOTE = 0x100, 0x200
"""Flags of a span. The first is always set, and means that `_REMOTE` is valid.

`_REMOTE` means that the parent is in another process.
"""

_SINGLE_VALUE_TYPES = frozenset({str, int, float, bool})
_EMPTY_STATUS = b"\x7a\x00"


class EncodedSpans:
    """An encoded request, in place of the protobuf object that the exporter expects."""

    def __init__(self, spans: Sequence[ReadableSpan]) -> None:
        self._content = encode_spans(spans)

    def SerializePartialToString(self) -> bytes:  # noqa: N802  # the exporter calls this name
        """Return the bytes."""
        return self._content


def encode_spans(spans: Sequence[ReadableSpan]) -> bytes:
    """Return an `ExportTraceServiceRequest` with these spans."""
    groups: dict[tuple[Any, Any], list[ReadableSpan]] = {}
    for span in spans:
        groups.setdefault((span.resource, span.instrumentation_scope), []).append(span)
    return b"".join(_encode_group(group) for group in groups.values())


def _encode_group(spans: list[ReadableSpan]) -> bytes:
    """Return the field `resource_spans` with the spans of one resource and scope."""
    resource_spans = trace_encoder.encode_spans(spans[:1]).resource_spans[0]
    scope_spans = resource_spans.scope_spans[0]
    del scope_spans.spans[:]
    content = scope_spans.SerializeToString()
    content += b"".join([_field(_SPANS, _encode_span(span)) for span in spans])
    del resource_spans.scope_spans[:]
    return _field(
        _RESOURCE_SPANS, resource_spans.SerializeToString() + _field(_SCOPE_SPANS, content)
    )


def _encode_span(span: ReadableSpan) -> bytes:
    """Return a `Span`.

    OpenTelemetry's encoder encodes a span with rare parts. The same encoder handles a span with a value that does
    not fit into protobuf, such as a huge number, because it leaves out only this value.
    """
    try:
        content = _encode_plain(span)
    except ValueError:
        content = None
    if content is None:
        encoded = trace_encoder.encode_spans([span]).resource_spans[0].scope_spans[0].spans[0]
        content = encoded.SerializeToString()
    return content


def _encode_plain(span: ReadableSpan) -> bytes | None:
    """Return a `Span`, or None for a span with rare parts."""
    context, parent, attributes = span.context, span.parent, span.attributes or {}
    start, end = span.start_time, span.end_time
    if (
        context is None
        or start is None
        or end is None
        or context.trace_state
        or span.events
        or span.links
        or span.status.status_code is not StatusCode.UNSET
        or span.dropped_attributes
    ):
        return None
    fields = []
    for name, value in attributes.items():
        if type(value) not in _SINGLE_VALUE_TYPES:
            return None
        fields.append(_encode_attribute(name, value))
    flags = _REMOTE_IS_KNOWN
    parent_id = b""
    if parent is not None:
        parent_id = b"\x22\x08" + parent.span_id.to_bytes(8, "big")
        if parent.is_remote:
            flags |= _REMOTE
    return b"".join(
        [
            _pack_ids(
                b"\x0a\x10",
                context.trace_id.to_bytes(16, "big"),
                b"\x12\x08",
                context.span_id.to_bytes(8, "big"),
            ),
            parent_id,
            _encode_name(span.name),
            _pack_kind_and_times(0x30, _KIND_NUMBERS[span.kind], 0x39, start, 0x41, end),
            *fields,
            _EMPTY_STATUS,
            _pack_flags(0x0185, flags),
        ]
    )


@functools.lru_cache(maxsize=1024)
def _encode_name(name: str) -> bytes:
    return _field(_NAME, name.encode())


@functools.lru_cache(maxsize=4096, typed=True)
def _encode_attribute(name: str, value: str | int | float) -> bytes:
    """Return the field of an attribute. The cache is typed, because `True`, 1 and 1.0 are equal."""
    if isinstance(value, bool):
        encoded = AnyValue(bool_value=value)
    elif isinstance(value, str):
        encoded = AnyValue(string_value=value)
    elif isinstance(value, int):
        encoded = AnyValue(int_value=value)
    else:
        encoded = AnyValue(double_value=value)
    return _field(_ATTRIBUTES, KeyValue(key=name, value=encoded).SerializeToString())


def _field(tag: int, content: bytes) -> bytes:
    """Return a field with its length."""
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    head = bytearray((tag,))
    while size >= 0x80:
        head.append(size & 0x7F | 0x80)
        size >>= 7
    head.append(size)
    return bytes(head) + content
