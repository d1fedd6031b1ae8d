"""The configuration of the OpenTelemetry collector. `make traces-check` runs a collector with it."""

from pathlib import Path
from typing import Any

import yaml

from svgx_common.contract import OPERATIONS
from svgx_gateway.websocket import outbox

CONFIGURATION = Path(__file__).parents[2] / "deploy" / "otel" / "collector.yaml"


def test_collector_decides_about_a_trace_after_the_longest_request_has_ended() -> None:
    """Only the end of a request or an edit shows the collector whether the request or edit was slow. Proves R-OBS-4."""
    configuration: dict[str, Any] = yaml.safe_load(CONFIGURATION.read_text())
    pipeline = configuration["service"]["pipelines"]["traces"]
    assert "tail_sampling" in pipeline["processors"]
    for kind in ("receivers", "processors", "exporters"):
        assert set(pipeline[kind]) <= configuration[kind].keys()
    sampling = configuration["processors"]["tail_sampling"]
    policies = {policy["type"]: policy for policy in sampling["policies"]}
    assert policies["status_code"]["status_code"] == {"status_codes": ["ERROR"]}
    assert policies["latency"]["latency"]["threshold_ms"] <= 1000
    longest = max(outbox.RETRY_SECONDS, *(operation.timeout for operation in OPERATIONS))
    assert float(sampling["decision_wait"].removesuffix("s")) > longest
