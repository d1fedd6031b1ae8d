"""The traces of one run of all services: requests, joins, edits, imports and compactions.

The stack of this file exports its spans to a receiver in this process. The stack is stopped before the tests look at
the spans, because the services export their last spans when they stop.
"""

import asyncio
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise

import httpx
import pytest

from svgx_common.contract.collab import HOCUSPOCUS_PATH
from svgx_devstack import DevStack
from tests.e2e.clients.hocuspocus import connect_hocuspocus
from tests.e2e.clients.workspace import Workspace, open_workspace
from tests.e2e.clients.yjs_driver import YjsDriver
from tests.e2e.operations.otlp import Span, run_receiver

TRACE_ID, CALLER_SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
UNSAMPLED_ID = "1bf7651916cd43dd8448eb211c80319c"

EDIT, SYNC, UPDATE = (f"svgx.canvas.{{canvas_id}}.{name}" for name in ("edit", "sync", "update"))
SOCKET = "GET /runtime/events/{canvas_id}"
IMPORT = "PUT /runtime/canvases/{canvas_id}/svg"


def path(*operations: tuple[str, str]) -> set[tuple[tuple[str, str], tuple[str, str]]]:
    """Return the edges of a path of operations (service, name), in which each operation is the parent of the next."""
    return set(pairwise(operations))


PARENTS = (
    path(
        ("gateway", "POST /runtime/canvases/"),
        ("gateway", "request svgx.state.canvas.create"),
        ("state", "process svgx.state.canvas.create"),
        ("state", "sql create_canvas"),
    )
    | path(
        ("gateway", "POST /auth/login"),
        ("gateway", "request svgx.auth.login"),
        ("auth", "process svgx.auth.login"),
        ("auth", "sql account_by_login"),
    )
    | path(
        ("gateway", SOCKET),
        ("gateway", "join"),
        ("gateway", "request svgx.state.canvas.access"),
        ("state", "process svgx.state.canvas.access"),
        ("state", "sql canvas_for"),
    )
    | path(
        ("gateway", "sync"),
        ("gateway", f"request {SYNC}"),
        ("gateway", "request svgx.collab.open"),
        ("collab", "process svgx.collab.open"),
        ("collab", "request svgx.state.journal.load"),
        ("state", "process svgx.state.journal.load"),
        ("state", "sql load_content"),
    )
    | path(("gateway", f"request {SYNC}"), ("collab", f"process {SYNC}"))
    | path(
        ("gateway", "edit"),
        ("gateway", f"request {EDIT}"),
        ("collab", f"process {EDIT}"),
        ("collab", "request svgx.state.journal.append"),
        ("state", "process svgx.state.journal.append"),
        ("state", "sql append_entries"),
    )
    | path(
        ("collab", f"process {EDIT}"),
        ("collab", f"publish {UPDATE}"),
        ("gateway", f"process {UPDATE}"),
    )
    | path(
        ("gateway", IMPORT),
        ("gateway", "request svgx.collab.import"),
        ("collab", "process svgx.collab.import"),
        ("collab", f"request {EDIT}"),
        ("collab", f"process {EDIT}"),
    )
    | path(
        ("collab", "process svgx.collab.import"),
        ("collab", f"request {SYNC}"),
        ("collab", f"process {SYNC}"),
    )
    | path(("state", "compact"), ("state", "sql add_snapshot"))
)
"""The edges from a parent to a child that the run must produce."""

LINKS = {
    (("gateway", "sync"), ("gateway", SOCKET)),
    (("gateway", "edit"), ("gateway", SOCKET)),
    (("gateway", f"request {EDIT}"), ("gateway", "edit")),
    (("gateway", "edit"), ("gateway", f"request {EDIT}")),
    (("collab", "request svgx.state.journal.append"), ("collab", f"process {EDIT}")),
    (("collab", f"publish {UPDATE}"), ("collab", f"process {EDIT}")),
}
"""The links that the run must produce, each as the operation of a span and the operation of the linked span."""

BURST = 100
"""Number of edits that a client makes without a pause, so that some batches have several edits."""


@dataclass
class Run:
    """The ids, spans, responses, metrics and logs of the run."""

    canvas: str = ""
    hocuspocus_canvas: str = ""
    """The id of the canvas that only a Hocuspocus client edits."""
    owner: str = ""
    spans: list[Span] = field(default_factory=list)
    responses: dict[str, httpx.Response] = field(default_factory=dict)
    metrics: dict[str, str] = field(default_factory=dict)
    """The OpenMetrics text of gateway, collab and state."""
    log: list[dict[str, object]] = field(default_factory=list)
    """The log lines of the gateway with a sampling ratio of 0."""
    collab_log: str = ""
    """The log of collab."""

    def of(self, *operation: str) -> list[Span]:
        """Return the spans of an operation (service, name)."""
        return [span for span in self.spans if span.operation == operation]

    def is_of_hocuspocus(self, span: Span) -> bool:
        """Return whether a span belongs to the canvas of the Hocuspocus client."""
        return span.attributes.get("svgx.canvas.id") == self.hocuspocus_canvas


@pytest.fixture(scope="module")
async def run(tmp_path_factory: pytest.TempPathFactory, driver: YjsDriver) -> Run:
    """Use all services with tracing on, use a gateway with a sampling ratio of 0, and stop the stack."""
    run = Run()
    with run_receiver() as receiver:
        settings = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint,
            "OTEL_BSP_SCHEDULE_DELAY": "50",
            "OTEL_RESOURCE_ATTRIBUTES": "k8s.pod.name=svgx-0,k8s.namespace.name=drawings",
            "COMPACT_AFTER_ENTRIES": "3",
        }
        async with (
            asyncio.timeout(120),
            DevStack(tmp_path_factory.mktemp("traced"), settings=settings) as stack,
        ):
            async with open_workspace(stack, driver) as workspace:
                await use_services(run, workspace)
                await receiver.wait_until(has_compaction)
                await read_metrics(run, stack)
            ratio = {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "ACCESS_LOG": "true"}
            name = await stack.add_replica(
                "gateway", settings={**ratio, "OTEL_TRACES_SAMPLER_ARG": "0"}
            )
            url = f"http://127.0.0.1:{stack.port(name)}"
            async with open_workspace(stack, driver, url=url) as workspace:
                await use_unsampled_gateway(run, workspace)
            log = await asyncio.to_thread(stack.log_path(name).read_text)
            run.log = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
            run.collab_log = await asyncio.to_thread(stack.log_path("collab").read_text)
        run.spans = list(receiver.spans)
    return run


def has_compaction(spans: Iterable[Span]) -> bool:
    """Return whether a canvas was compacted."""
    return any(span.name == "compact" for span in spans)


async def use_services(run: Run, workspace: Workspace) -> None:
    """Make the requests, edits and imports of `PARENTS`, and requests that are refused."""
    owner = workspace.owner
    run.owner = (await owner.request("GET", "/auth/me")).json()["id"]
    created = await owner.request(
        "POST",
        "/runtime/canvases/",
        json={"name": "traced"},
        headers={"traceparent": f"00-{TRACE_ID}-{CALLER_SPAN}-01"},
    )
    run.responses["created"] = created
    run.canvas = created.json()["id"]
    client, other = await workspace.connect_many(run.canvas, 2)
    await client.burst(BURST)
    await workspace.driver.wait_saved([client])
    await client.add_element("seen")
    await workspace.driver.wait_for_elements([other], "seen")
    run.hocuspocus_canvas = await workspace.create_canvas()
    hocuspocus = await connect_hocuspocus(workspace, run.hocuspocus_canvas)
    await workspace.driver.wait_synced([hocuspocus])
    await hocuspocus.add_element("named")
    await workspace.driver.wait_saved([hocuspocus])
    await owner.import_svg(run.canvas, b"<svg xmlns='http://www.w3.org/2000/svg'><rect/></svg>")
    run.responses["missing"] = await owner.request("GET", "/runtime/canvases/missing")
    run.responses["no path"] = await owner.request("GET", "/no/such/path")
    run.responses["invalid"] = await owner.request("POST", "/runtime/canvases/", json={"name": 7})
    stranger = await workspace.create_user()
    session = workspace.api.session_of(stranger)
    run.responses["forbidden"] = await session.request("GET", f"/runtime/canvases/{run.canvas}")
    await workspace.destroy_all()


async def use_unsampled_gateway(run: Run, workspace: Workspace) -> None:
    """Make a request with a sampled `traceparent`, and edits, through a gateway that records no traces."""
    parent = f"00-{UNSAMPLED_ID}-{CALLER_SPAN}-01"
    run.responses["unsampled"] = await workspace.owner.request(
        "GET", "/auth/me", headers={"traceparent": parent}
    )
    canvas = await workspace.create_canvas()
    client = await workspace.connect(canvas)
    await workspace.driver.wait_synced([client])
    await client.burst(10)
    await workspace.driver.wait_saved([client])
    await workspace.destroy_all()


async def read_metrics(run: Run, stack: DevStack) -> None:
    """Read the metrics of the services as OpenMetrics, and check that the text format has no exemplars."""
    accept = {"Accept": "application/openmetrics-text; version=1.0.0"}
    for service in ("gateway", "collab", "state"):
        async with httpx.AsyncClient(base_url=stack.service_url(service), headers=accept) as http:
            run.metrics[service] = (await http.get("/metrics/prometheus")).text
            plain = await http.get("/metrics/prometheus", headers={"Accept": "text/plain"})
            assert "trace_id" not in plain.text


def exemplars(text: str, metric: str) -> set[str]:
    """Return the trace ids of a histogram's exemplars."""
    return set(
        re.findall(rf'^{metric}_bucket.*# {{trace_id="([0-9a-f]{{32}})"}}', text, re.MULTILINE)
    )


def test_run_produces_every_edge_between_services(run: Run) -> None:
    """The spans of a request, and of an edit, are connected from the gateway to PostgreSQL. Proves R-OBS-4."""
    by_id = {span.span_id: span for span in run.spans}
    parents = {
        (by_id[span.parent_id].operation, span.operation)
        for span in run.spans
        if span.parent_id in by_id
    }
    links = {
        (span.operation, by_id[link].operation)
        for span in run.spans
        for link in span.links
        if link in by_id
    }
    assert parents >= PARENTS, PARENTS - parents
    assert links >= LINKS, LINKS - links


def test_every_parent_and_link_is_a_received_span(run: Run) -> None:
    """No span names a missing parent, and a child has the trace of its parent. Proves R-OBS-4."""
    by_id = {span.span_id: span for span in run.spans}
    assert len(by_id) == len(run.spans)
    orphans = {
        span.operation
        for span in run.spans
        if span.parent_id not in by_id and span.parent_id not in ("", CALLER_SPAN)
    }
    assert orphans == set()
    assert {link for span in run.spans for link in span.links} <= by_id.keys()
    for span in run.spans:
        if span.parent_id in by_id:
            assert by_id[span.parent_id].trace_id == span.trace_id, span


def test_only_requests_and_client_messages_and_background_work_begin_traces(run: Run) -> None:
    """A message, SQL statement or request within a trace begins no trace of its own. Proves R-OBS-4."""
    roots = {span.operation for span in run.spans if not span.parent_id}
    pattern = r"sync|edit|compact|(GET|POST|PUT) /\S+|GET|request svgx\.\S+"
    assert {root for root in roots if not re.fullmatch(pattern, root[1])} == set()
    background = {name for _, name in roots if name.startswith("request ")}
    assert not {name for name in background if "canvas" in name or "journal" in name}, background


def test_trace_of_the_caller_continues_in_the_response(run: Run) -> None:
    """The gateway adopts `traceparent`, and names the trace in the response. Proves R-OBS-4."""
    assert run.responses["created"].headers["traceresponse"].split("-")[1] == TRACE_ID
    (root,) = (span for span in run.spans if span.parent_id == CALLER_SPAN)
    assert root.trace_id == TRACE_ID
    assert root.operation == ("gateway", "POST /runtime/canvases/")


def test_batches_have_a_link_to_each_edit(run: Run) -> None:
    """Each edit has a link from exactly one batch, and some batches have several edits. Proves R-OBS-4."""
    edits = {span.span_id for span in run.of("gateway", "edit")}
    assert len(edits) > BURST
    batches = run.of("gateway", f"request {EDIT}")
    linked = [link for batch in batches for link in batch.links]
    assert sorted(linked) == sorted(edits)
    sizes = [batch.attributes["messaging.batch.message_count"] for batch in batches]
    assert sizes == [len(batch.links) for batch in batches]
    assert max(map(int, sizes)) > 1
    applied = run.of("collab", f"process {EDIT}")
    for batch, size in zip(batches, sizes, strict=True):
        processed = [span for span in applied if span.parent_id == batch.span_id]
        assert {span.attributes["messaging.batch.message_count"] for span in processed} == {size}


def kinds(spans: Iterable[Span]) -> set[str]:
    """Return the kinds of spans."""
    return {span.kind for span in spans}


def test_spans_of_messages_follow_the_conventions(run: Run) -> None:
    """The operation type sets the span's kind, and a destination's template has no canvas id. Proves R-OBS-4."""
    messages = [span for span in run.spans if "messaging.system" in span.attributes]
    sent = [span for span in messages if span.attributes["messaging.operation.type"] == "send"]
    processed = [span for span in messages if span not in sent]
    assert (kinds(sent), kinds(processed)) == ({"PRODUCER"}, {"CONSUMER"})
    for span in messages:
        attributes = span.attributes
        template = attributes.get("messaging.destination.template")
        destination = template or attributes["messaging.destination.name"]
        assert span.name == f"{attributes['messaging.operation.name']} {destination}"
        assert (attributes["messaging.system"], attributes["server.address"]) == (
            "nats",
            "127.0.0.1",
        )
        if template is not None:
            canvas_id = str(attributes["svgx.canvas.id"])
            name = str(template).format(canvas_id=canvas_id)
            assert attributes["messaging.destination.name"] == name
    (processed_import,) = run.of("collab", "process svgx.collab.import")
    assert processed_import.attributes["messaging.consumer.group.name"] == "svgx-collab"
    assert kinds(run.of("gateway", "edit")) == kinds(run.of("gateway", SOCKET)) == {"SERVER"}
    assert kinds(run.of("state", "sql append_entries")) == {"CLIENT"}


def test_spans_name_the_route_the_canvas_the_user_and_the_pod(run: Run) -> None:
    """An operator finds the traces of a canvas, an account or a pod. Proves R-OBS-4."""
    ids = {"svgx.canvas.id": run.canvas, "user.id": run.owner}
    expected = {
        ("gateway", IMPORT): {"http.route": "/runtime/canvases/{canvas_id}/svg", **ids},
        ("gateway", SOCKET): {"http.route": "/runtime/events/{canvas_id}", **ids},
        ("gateway", "edit"): {"http.route": "/runtime/events/{canvas_id}", **ids},
        ("gateway", "sync"): {"http.route": "/runtime/events/{canvas_id}", **ids},
        ("gateway", "join"): {"http.route": "/runtime/events/{canvas_id}", **ids},
        ("collab", "process svgx.collab.import"): ids,
        ("collab", f"process {EDIT}"): {"svgx.canvas.id": run.canvas},
    }
    for operation, attributes in expected.items():
        spans = [each for each in run.of(*operation) if not run.is_of_hocuspocus(each)]
        assert spans, operation
        for span in spans:
            assert span.attributes.items() >= attributes.items(), operation
    for name in ("join", "sync", "edit"):
        routes = {
            each.attributes["http.route"]
            for each in run.of("gateway", name)
            if run.is_of_hocuspocus(each)
        }
        assert routes == {HOCUSPOCUS_PATH}, name
    answered = run.of("state", "process svgx.state.canvas.access")
    assert any(span.attributes.items() >= ids.items() for span in answered)
    for span in run.spans:
        assert span.resource["k8s.pod.name"] == "svgx-0"
        assert span.resource["k8s.namespace.name"] == "drawings"
        assert span.resource["service.instance.id"]


def test_spans_contain_no_access_tokens(run: Run) -> None:
    """No span contains the access token of a WebSocket's URL. Every access token begins with "eyJ". Proves R-OBS-5."""
    values = {str(value) for span in run.spans for value in (*span.attributes.values(), span.name)}
    assert "/runtime/events/" + run.canvas in values
    assert not [value for value in values if "eyJ" in value or "token=" in value]


def test_refused_requests_leave_no_failed_span(run: Run) -> None:
    """Requests with status 404, 403 or 422 leave no span with the status ERROR. Proves R-OBS-4."""
    statuses = {name: response.status_code for name, response in run.responses.items()}
    assert statuses == {
        "created": 201,
        "missing": 404,
        "no path": 404,
        "invalid": 422,
        "forbidden": 403,
        "unsampled": 200,
    }
    traces = {
        response.headers["traceresponse"].split("-")[1] for response in run.responses.values()
    }
    assert [span for span in run.spans if span.trace_id in traces and span.failed] == []
    refused = {
        (span.operation, span.attributes["svgx.outcome"])
        for span in run.spans
        if "svgx.outcome" in span.attributes
    }
    access = "svgx.state.canvas.access"
    assert refused >= {
        (("gateway", "GET /runtime/canvases/{canvas_id}"), "not_found"),
        (("gateway", f"request {access}"), "not_found"),
        (("state", f"process {access}"), "not_found"),
        (("state", f"process {access}"), "forbidden"),
        (("gateway", "POST /runtime/canvases/"), "invalid"),
    }


def test_histograms_of_requests_saves_and_commits_have_exemplars(run: Run) -> None:
    """Each exemplar names a recorded trace. The text format has no exemplars. Proves R-OBS-4."""
    traces = {span.trace_id for span in run.spans}
    for service, metric in (
        ("gateway", "svgx_engine_request_duration_seconds"),
        ("gateway", "svgx_engine_live_saved_seconds"),
        ("collab", "svgx_engine_request_duration_seconds"),
        ("collab", "svgx_engine_collab_commit_seconds"),
        ("state", "svgx_engine_request_duration_seconds"),
        ("state", "svgx_engine_journal_commit_seconds"),
    ):
        found = exemplars(run.metrics[service], metric)
        assert found, (service, metric)
        assert found <= traces, (service, metric)


def test_sampling_ratio_of_zero_records_no_span_and_logs_trace_ids(run: Run) -> None:
    """The gateway records no connection, edit or request, even if the caller sampled the trace. Proves R-OBS-4."""
    assert UNSAMPLED_ID not in {span.trace_id for span in run.spans}
    traceresponse = run.responses["unsampled"].headers["traceresponse"].split("-")
    assert (traceresponse[1], traceresponse[3]) == (UNSAMPLED_ID, "00")
    lines = [line for line in run.log if line["event"] in ("request", "websocket opened")]
    assert {line["event"] for line in lines} == {"request", "websocket opened"}
    assert UNSAMPLED_ID in {line["trace_id"] for line in lines}
    recorded = {span.trace_id for span in run.spans}
    for line in lines:
        assert re.fullmatch("[0-9a-f]{32}", str(line["trace_id"])), line
        assert line["trace_id"] not in recorded, line
    (opened,) = (line for line in lines if line["event"] == "websocket opened")
    holding = [line for line in run.collab_log.splitlines() if "holding a canvas" in line]
    assert json.loads(holding[-1])["trace_id"] == opened["trace_id"], "collab's trace id"
