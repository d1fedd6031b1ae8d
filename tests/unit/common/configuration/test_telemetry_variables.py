"""The environment variables of OpenTelemetry."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from svgx_common.configuration.telemetry_variables import (
    exporting,
    ignored,
    mistakes,
    records_roots,
)

EXPORTER = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}
RATIO = {"OTEL_TRACES_SAMPLER": "traceidratio"}

CONFIGURE = """
import os
from svgx_common import tracing
tracing.configure("auth", "replica", "1")
os._exit(0)
"""


def start(environment: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    """Set up OpenTelemetry in a new process with these variables."""
    return subprocess.run(
        [sys.executable, "-c", CONFIGURE],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "hunter2"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "grpc://hunter2"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/hunter2"),
        ("OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY", "/hunter2"),
        ("OTEL_BSP_SCHEDULE_DELAY", "-5"),
        ("OTEL_BSP_SCHEDULE_DELAY", "0"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "0"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", " -1 "),
    ],
)
def test_value_that_prevents_every_export_is_refused(name: str, value: str) -> None:
    """Proves R-CONFIG-2: with these values, OpenTelemetry ends with a traceback or fails at each export."""
    (line,) = mistakes({**EXPORTER, name: value})
    assert line.startswith(f"{name}: must be ")
    assert "hunter2" not in line
    assert list(ignored({**EXPORTER, name: value})) == []


def test_batch_beyond_the_queue_is_refused() -> None:
    """Proves R-CONFIG-2: with a batch that is larger than the queue, OpenTelemetry ends the start with a traceback."""
    environment = {"OTEL_BSP_MAX_QUEUE_SIZE": "10", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "11"}
    (line,) = mistakes({**EXPORTER, **environment})
    assert line == "OTEL_BSP_MAX_EXPORT_BATCH_SIZE: must be at most OTEL_BSP_MAX_QUEUE_SIZE"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OTEL_EXPORTER_OTLP_HEADERS", "hunter2"),
        ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "api-key: hunter2"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "a=1,hunter2"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "hunter2"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "hunter2"),
        ("OTEL_BSP_SCHEDULE_DELAY", "hunter2"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "1.5"),
        ("OTEL_TRACES_SAMPLER", "hunter2"),
        ("OTEL_TRACES_SAMPLER", "jaeger_remote"),
        ("OTEL_TRACES_SAMPLER", "parentbased_jaeger_remote"),
        ("OTEL_TRACES_SAMPLER_ARG", "hunter2"),
        ("OTEL_TRACES_SAMPLER_ARG", "1.5"),
        ("OTEL_TRACES_SAMPLER_ARG", "nan"),
    ],
)
def test_value_that_opentelemetry_ignores_gives_a_warning(name: str, value: str) -> None:
    """Proves R-CONFIG-2: the service starts, and the warning has the name and not the value."""
    environment = {**RATIO, **EXPORTER, name: value}
    assert list(mistakes(environment)) == []
    ((variable, reason),) = ignored(environment)
    assert (variable, reason.startswith("must be ")) == (name, True)
    assert "hunter2" not in reason


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://collector.example.org/v1/traces"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Basic%20abc, x-key=1"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "Authorization=Basic abc=="),
        ("OTEL_EXPORTER_OTLP_HEADERS", "Authorization=Bearer a.b-c_d,"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "2.5"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "1e1"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", " GZIP"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", __file__),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", str(Path(__file__).parent)),
        ("OTEL_BSP_SCHEDULE_DELAY", "50"),
        ("OTEL_BSP_EXPORT_TIMEOUT", "0"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "1024"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "20000"),
        ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
        ("OTEL_TRACES_SAMPLER", "Always_On"),
        ("OTEL_TRACES_SAMPLER_ARG", "0.01"),
        ("OTEL_TRACES_SAMPLER_ARG", "1e-3"),
        ("OTEL_RESOURCE_ATTRIBUTES", "anything"),
        ("OTEL_TRACES_SAMPLER", ""),
    ],
)
def test_value_that_opentelemetry_reads_is_accepted(name: str, value: str) -> None:
    """Proves R-CONFIG-2: there is neither an error nor a warning."""
    environment = {**RATIO, **EXPORTER, name: value}
    assert list(mistakes(environment)) == []
    assert list(ignored(environment)) == []


@pytest.mark.parametrize(
    "off",
    [{}, {**EXPORTER, "OTEL_SDK_DISABLED": "true"}, {**EXPORTER, "OTEL_SDK_DISABLED": "True"}],
)
def test_variables_are_not_checked_while_nothing_is_exported(off: dict[str, str]) -> None:
    """Proves R-CONFIG-2: another program of the same environment may have its own exporter."""
    environment = {
        "OTEL_BSP_MAX_QUEUE_SIZE": "0",
        "OTEL_TRACES_SAMPLER": "hunter2",
        "OTEL_ATTRIBUTE_COUNT_LIMIT": "hunter2",
        "OTEL_EXPORTER_OTLP_HEADERS": "hunter2",
        **off,
    }
    assert list(mistakes(environment)) == []
    assert list(ignored(environment)) == []
    assert start(environment).returncode == 0


@pytest.mark.parametrize(
    "environment",
    [
        {"OTEL_BSP_MAX_QUEUE_SIZE": "1024"},
        {"OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "20000"},
        {"OTEL_BSP_MAX_QUEUE_SIZE": "x"},
        {"OTEL_EXPORTER_OTLP_HEADERS": "Authorization=Basic abc=="},
        {"OTEL_TRACES_SAMPLER": "parentbased_jaeger_remote"},
    ],
)
def test_opentelemetry_starts_with_accepted_values(environment: dict[str, str]) -> None:
    """Proves R-CONFIG-2: this product's defaults for the other variables fit these values."""
    started = start({**EXPORTER, **environment})
    assert started.returncode == 0, started.stderr


@pytest.mark.parametrize(
    ("environment", "exports", "roots"),
    [
        ({}, True, True),
        ({"OTEL_TRACES_SAMPLER": "always_off"}, False, False),
        ({"OTEL_TRACES_SAMPLER": "Always_Off"}, False, False),
        ({"OTEL_TRACES_SAMPLER": "parentbased_always_off"}, True, False),
        (
            {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0"},
            False,
            True,
        ),
        ({**RATIO, "OTEL_TRACES_SAMPLER_ARG": "0.0"}, False, True),
        ({**RATIO, "OTEL_TRACES_SAMPLER_ARG": "0.001"}, True, True),
        ({**RATIO, "OTEL_TRACES_SAMPLER_ARG": "wrong"}, True, True),
        (RATIO, True, True),
        # The ratio has no effect with another sampler.
        ({"OTEL_TRACES_SAMPLER_ARG": "0"}, True, True),
        ({"OTEL_SDK_DISABLED": "true"}, False, True),
    ],
)
def test_ratio_of_zero_and_always_off_switch_recording_off(
    environment: dict[str, str], exports: bool, roots: bool
) -> None:
    """Proves R-OBS-4: a ratio of 0 or `always_off` stops the export, even for a caller's sampled `traceparent`.

    `parentbased_always_off` switches off only the traces that begin in this process.
    """
    assert exporting({**EXPORTER, **environment}) == exports
    assert records_roots({**EXPORTER, **environment}) == roots
    assert not exporting(environment), "without an endpoint"
