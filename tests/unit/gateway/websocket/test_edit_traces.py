"""The spans of edits and their batches, with a bus that answers each request of an outbox."""

import asyncio
from typing import cast

import pytest
from opentelemetry.sdk.trace import ReadableSpan, sampling
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanContext, StatusCode, TraceFlags, format_trace_id
from starlette.websockets import WebSocket

from svgx_common.contract.collab import Saved
from svgx_common.contract.errors import NotFound, SvgxError, Unavailable
from svgx_common.contract.policy import CanvasRole, Role
from svgx_common.messaging import holder, spans
from svgx_common.messaging.bus import Answer, Bus
from svgx_common.messaging.caller import Caller
from svgx_common.messaging.wire import encode
from svgx_common.tracing import ServiceTracerProvider
from svgx_gateway.observability import socket_spans
from svgx_gateway.websocket import outbox as module
from svgx_gateway.websocket.connection import Connection
from svgx_gateway.websocket.outbox import Outbox
from tests.log_reader import read_logs
from tests.unit.gateway.message_spans import message_spans

HANDSHAKE = SpanContext(1, 2, False, TraceFlags(TraceFlags.SAMPLED))


class AnsweringBus:
    """A bus that notes the headers of requests, and answers with the given errors and then with success."""

    def __init__(self, errors: list[SvgxError], rejected: tuple[int, ...]) -> None:
        self.spans = message_spans()
        self.headers: list[dict[str, str] | None] = []
        self._errors = errors
        self._saved = Saved(1, rejected, "epoch")

    async def wait_connected(self, _: float) -> None:
        """Return at once."""

    async def request(
        self, _: str, __: bytes, headers: dict[str, str] | None = None, *, timeout: float
    ) -> Answer:
        assert timeout > 0
        self.headers.append(headers)
        if self._errors:
            raise self._errors.pop(0)
        return Answer(encode(self._saved), {})


class Sampler(sampling.Sampler):
    """A sampler that records the edits with the given numbers, counted from 0, and all children of recorded spans."""

    def __init__(self, recorded: set[int]) -> None:
        self._recorded = recorded
        self._roots = 0
        self._children = sampling.ParentBased(sampling.ALWAYS_OFF)

    def should_sample(self, parent_context, trace_id, name, *args, **kwargs):  # type: ignore[no-untyped-def]
        """Decide by the number of an edit. A child is recorded if its parent is."""
        chosen: sampling.Sampler = self._children
        if name == "edit":
            chosen = sampling.ALWAYS_ON if self._roots in self._recorded else sampling.ALWAYS_OFF
            self._roots += 1
        return chosen.should_sample(parent_context, trace_id, name, *args, **kwargs)

    def get_description(self) -> str:
        """Return a name."""
        return "numbers"


def record_edits(
    monkeypatch: pytest.MonkeyPatch, recorded: set[int] | None
) -> InMemorySpanExporter:
    """Record the edits with the given numbers, and return the exporter of the spans. With None, recording is off."""
    exporter = InMemorySpanExporter()
    provider = ServiceTracerProvider(sampler=Sampler(recorded or set()))
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(module, "may_record_roots", lambda: recorded is not None)
    for tracing in (socket_spans, spans):
        monkeypatch.setattr(tracing, "tracer", provider.get_tracer("test"))
    return exporter


def connect() -> Connection:
    """Return a connection of an editor, with a recorded handshake."""
    return Connection(
        cast(WebSocket, None),
        Caller("u", "ann", Role.EDITOR, "s"),
        CanvasRole.EDITOR,
        wants_saved=False,
        handshake=HANDSHAKE,
    )


async def send(
    monkeypatch: pytest.MonkeyPatch,
    recorded: set[int] | None,
    *,
    errors: list[SvgxError] | None = None,
    rejected: tuple[int, ...] = (),
) -> tuple[AnsweringBus, list[ReadableSpan]]:
    """Send three edits in one batch, and return the bus and the spans.

    `recorded` has the numbers of the recorded edits; with None, recording is off.
    """
    exporter = record_edits(monkeypatch, recorded)
    monkeypatch.setattr(holder, "RETRY_SECONDS", 0.0)
    bus = AnsweringBus(errors or [], rejected)
    connection = connect()
    outbox = Outbox(cast(Bus, bus), "canvas", connection.close)
    for number in range(3):
        outbox.add(connection, b"update", number)
    async with asyncio.timeout(10):
        await outbox.wait_until_empty()
    await outbox.stop()
    return bus, list(exporter.get_finished_spans())


async def test_edit_without_recording_makes_no_span_and_no_header(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Only a repeated batch has a trace id, because its failure may be logged. Proves R-OBS-4."""
    bus, finished = await send(monkeypatch, None)
    assert (bus.headers, finished) == ([None], [])
    bus, finished = await send(monkeypatch, None, errors=[Unavailable(retry_after=0.001)])
    assert finished == []
    first, second = bus.headers
    assert first is None
    assert second is not None
    assert second["traceparent"].endswith("-00")


@pytest.mark.parametrize("recorded", [{0}, {1}, {0, 1, 2}, {1, 2}, set[int]()])
async def test_batch_continues_the_trace_of_the_first_recorded_edit_and_links_to_all(
    monkeypatch: pytest.MonkeyPatch, recorded: set[int]
) -> None:
    """Each recorded edit has a link to its handshake, and all but the first have a link to the batch.

    Proves R-OBS-4.
    """
    bus, finished = await send(monkeypatch, recorded)
    edits = [span for span in finished if span.name == "edit"]
    requests = [span for span in finished if span.name != "edit"]
    assert len(edits) == len(recorded)
    if not recorded:
        assert (bus.headers, requests) == ([None], [])
        return
    (request,) = requests
    assert request.name == "request svgx.canvas.{canvas_id}.edit"
    assert request.parent == edits[0].context
    assert [link.context for link in request.links] == [edit.context for edit in edits]
    assert request.attributes is not None
    assert request.attributes["messaging.batch.message_count"] == 3
    (headers,) = bus.headers
    assert headers is not None
    assert format_trace_id(edits[0].context.trace_id) in headers["traceparent"]
    assert [[link.context for link in edit.links] for edit in edits] == [
        [HANDSHAKE],
        *([[HANDSHAKE, request.context]] * (len(edits) - 1)),
    ]
    assert {edit.parent for edit in edits} == {None}


@pytest.mark.parametrize(
    ("error", "failed"), [(NotFound(), False), (Unavailable(), True)], ids=["refused", "failed"]
)
async def test_edits_of_a_failed_batch_have_its_outcome(
    monkeypatch: pytest.MonkeyPatch, error: SvgxError, failed: bool
) -> None:
    """An edit of a deleted canvas is no failure of the service. Proves R-OBS-4."""
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.0)
    _, finished = await send(monkeypatch, {0, 1, 2}, errors=[error] * 100)
    assert len(finished) == 4
    for span in finished:
        assert (span.attributes or {}).get("svgx.outcome") == error.code
        assert (span.status.status_code is StatusCode.ERROR) == failed


async def test_malformed_edit_is_rejected_without_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A malformed edit is a fault of the client, and not of the service. Proves R-OBS-4."""
    _, finished = await send(monkeypatch, {0, 1, 2}, rejected=(1,))
    edits = [span for span in finished if span.name == "edit"]
    outcomes = [(edit.attributes or {}).get("svgx.outcome") for edit in edits]
    assert outcomes == [None, "rejected", None]
    assert {span.status.status_code for span in finished} == {StatusCode.UNSET}


async def test_discarded_edits_have_ended_spans(monkeypatch: pytest.MonkeyPatch) -> None:
    """The spans of edits end also if the outbox stops before the commit or before the request. Proves R-OBS-4."""
    exporter = record_edits(monkeypatch, {0, 1})
    monkeypatch.setattr(module, "BATCH_INTERVAL_SECONDS", 3600.0)
    bus, asked = AnsweringBus([], ()), asyncio.Event()

    async def request(*_: object, **__: object) -> Answer:
        asked.set()
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(bus, "request", request)
    connection = connect()
    outbox = Outbox(cast(Bus, bus), "canvas", connection.close)
    outbox.add(connection, b"update", 0)
    async with asyncio.timeout(10):
        await asked.wait()
    outbox.add(connection, b"update", 1)
    with read_logs("gateway") as log:
        await outbox.stop()
        assert [line["event"] for line in log.read()] == ["unsaved edits were discarded"]
    edits = [span for span in exporter.get_finished_spans() if span.name == "edit"]
    assert [(edit.attributes or {}).get("svgx.outcome") for edit in edits] == ["cancelled"] * 2
