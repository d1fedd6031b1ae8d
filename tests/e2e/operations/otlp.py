"""An OTLP/HTTP receiver in this process. It decodes the spans that services export."""

import asyncio
import gzip
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1 import trace_pb2 as proto


@dataclass(frozen=True, slots=True)
class Span:
    """A received span. The ids are in hex; `parent_id` is empty for a root span.

    `kind` is a name such as `SERVER`. `links` has the ids of the linked spans. The value of an attribute is its
    text or integer. It is 0 for an empty text and for all other types.
    """

    service: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    kind: str
    failed: bool
    links: tuple[str, ...]
    attributes: Mapping[str, str | int]
    resource: Mapping[str, str | int]

    @property
    def operation(self) -> tuple[str, str]:
        """Return the service's name without its prefix, and the span's name."""
        return self.service.removeprefix("svgx-"), self.name


class Receiver:
    """The spans that the HTTP server of `run_receiver` has received.

    `endpoint` is the value for `OTEL_EXPORTER_OTLP_ENDPOINT`.
    """

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self._spans: list[Span] = []
        self._arrived = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    async def wait_until(self, enough: Callable[[list[Span]], bool]) -> list[Span]:
        """Wait until `enough` returns true for the received spans, and return all of them."""
        while not enough(self._spans):
            self._arrived.clear()
            await self._arrived.wait()
        return list(self._spans)

    def receive(self, body: bytes) -> None:
        """Decode the body of one export request. Called in a thread of the HTTP server, not in the event loop."""
        request = ExportTraceServiceRequest.FromString(body)
        spans = []
        for group in request.resource_spans:
            resource = _values(group.resource.attributes)
            spans += [
                Span(
                    str(resource["service.name"]),
                    span.name,
                    span.trace_id.hex(),
                    span.span_id.hex(),
                    span.parent_span_id.hex(),
                    proto.Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
                    span.status.code == proto.Status.STATUS_CODE_ERROR,
                    tuple(link.span_id.hex() for link in span.links),
                    _values(span.attributes),
                    resource,
                )
                for scope in group.scope_spans
                for span in scope.spans
            ]
        self._loop.call_soon_threadsafe(self._add, spans)

    @property
    def spans(self) -> Sequence[Span]:
        """The spans that have been received."""
        return self._spans

    def _add(self, spans: list[Span]) -> None:
        self._spans += spans
        self._arrived.set()


def _values(attributes: Iterable[KeyValue]) -> dict[str, str | int]:
    return {each.key: each.value.string_value or each.value.int_value for each in attributes}


@contextmanager
def run_receiver() -> Iterator[Receiver]:
    """Run a receiver on a free port of the loopback interface."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            receiver.receive(body)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class uses this name
            """Write no access log."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiver = Receiver(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
