"""A real collector with the shipped configuration. `make traces-check` runs these tests."""

import asyncio
import subprocess
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import StatusCode

from svgx_devstack import DevStack
from tests.deploy.go_program import JAEGER
from tests.deploy.traces import jaeger
from tests.deploy.traces.jaeger import CONFIGURATION, Jaeger
from tests.e2e.clients.workspace import open_workspace
from tests.e2e.clients.yjs_driver import YjsDriver
from tests.limits import HIGH_LIMITS

DECISION_WAIT = "3s"
"""Time from the first span of a trace to the decision whether the collector keeps the trace.

It is shorter than the shipped 95 s, and long enough for all spans of the tests' traces to arrive.
"""

KINDS = {"usual": (1000, 0.01), "failed": (20, 0.01), "slow": (20, 1.2)}
"""For each kind of trace, the number of traces and the seconds that each takes."""

Found = TypeVar("Found")

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module", autouse=True)
def installed() -> None:
    """Build Jaeger if it is missing. If it cannot be built, skip the tests, or fail them where `CI` is set."""
    JAEGER.require()


@pytest.fixture(scope="module")
async def traces(
    installed: None, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Jaeger]:
    """Run a collector, and a Jaeger that stores its traces."""
    async with jaeger.run(tmp_path_factory.mktemp("jaeger"), DECISION_WAIT) as running:
        yield running


async def wait_for(condition: Callable[[], Awaitable[Found | None]]) -> Found:
    """Call `condition` until it returns a value, and return the value. The test's time limit ends the wait."""
    while True:
        if (found := await condition()) is not None:
            return found
        await asyncio.sleep(0.2)


def test_shipped_configuration_is_valid() -> None:
    """The collector accepts the shipped file, with each of its components and settings."""
    command = [str(JAEGER.path), "validate", f"--config=file:{CONFIGURATION}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


async def test_collector_keeps_failed_and_slow_traces_and_a_share_of_the_others(
    traces: Jaeger,
) -> None:
    """Proves R-OBS-4: all traces with errors, all slow ones, and a tenth of the others reach Jaeger."""
    await asyncio.to_thread(send_traces, traces.endpoint)

    async def kept() -> Counter[str] | None:
        found = Counter(
            span["operationName"]
            for trace in await traces.traces("sampled")
            for span in trace["spans"]
        )
        complete = all(found[kind] == KINDS[kind][0] for kind in ("failed", "slow"))
        return found if complete else None

    found = await wait_for(kept)
    print(f"\nkept: {dict(found)}")
    assert 50 <= found["usual"] <= 150


def send_traces(endpoint: str) -> None:
    """Send traces of each kind, the usual ones first. Each trace has one span."""
    provider = TracerProvider(resource=Resource({"service.name": "sampled"}))
    exporter = OTLPSpanExporter(f"{endpoint}/v1/traces")
    provider.add_span_processor(BatchSpanProcessor(exporter))
    tracer = provider.get_tracer("tests")
    for kind, (number, seconds) in KINDS.items():
        for _ in range(number):
            end = time.time_ns()
            span = tracer.start_span(kind, start_time=end - int(seconds * 1e9))
            if kind == "failed":
                span.set_status(StatusCode.ERROR)
            span.end(end)
    provider.shutdown()


async def test_failed_request_is_found_in_jaeger_by_its_trace_id(
    traces: Jaeger, driver: YjsDriver, tmp_path: Path
) -> None:
    """The trace id in a problem document finds the trace, with the error and the spans of gateway and state.

    Proves R-OBS-4.
    """
    settings = {**HIGH_LIMITS, "OTEL_EXPORTER_OTLP_ENDPOINT": traces.endpoint}
    async with (
        DevStack(tmp_path / "stack", settings=settings) as stack,
        open_workspace(stack, driver) as workspace,
    ):
        canvas_id = await workspace.create_canvas("Traced")
        headers = {"Authorization": f"Bearer {await workspace.owner.access_token()}"}
        database = stack.process("postgres")
        database.restart = False
        await database.stop()
        async with httpx.AsyncClient(base_url=stack.url, headers=headers, timeout=30) as http:
            answer = await http.get(f"/runtime/canvases/{canvas_id}")
        assert answer.status_code == 503
        trace_id = answer.json()["trace_id"]

        async def complete() -> dict[str, Any] | None:
            trace = await traces.trace(trace_id)
            return trace if trace is not None and services_of(trace) >= expected else None

        expected = {"svgx-gateway", "svgx-state"}
        trace = await wait_for(complete)
        await database.start()
    root = next(span for span in trace["spans"] if not span["references"])
    tags = {tag["key"]: tag["value"] for tag in root["tags"]}
    assert root["operationName"] == "GET /runtime/canvases/{canvas_id}"
    assert tags["error"] is True
    assert tags["svgx.canvas.id"] == canvas_id
    assert expected <= await traces.services()


def services_of(trace: dict[str, Any]) -> set[str]:
    """Return the names of the services in a trace."""
    return {process["serviceName"] for process in trace["processes"].values()}
