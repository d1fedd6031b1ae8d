"""The variables of OpenTelemetry."""

import pytest

from svgx_common.configuration.telemetry_variables import mistakes


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "hunter2"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "grpc://hunter2"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "hunter2"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Basic hunter2"),
        ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "api-key: hunter2"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "hunter2"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "hunter2"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/hunter2"),
        ("OTEL_BSP_SCHEDULE_DELAY", "-5"),
        ("OTEL_BSP_SCHEDULE_DELAY", "hunter2"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "0"),
        ("OTEL_TRACES_SAMPLER", "hunter2"),
        ("OTEL_TRACES_SAMPLER_ARG", "hunter2"),
        ("OTEL_TRACES_SAMPLER_ARG", "1.5"),
    ],
)
def test_wrong_variable_of_opentelemetry_is_named_without_its_value(name: str, value: str) -> None:
    """Proves R-CONFIG-2: OpenTelemetry itself quotes wrong values in its log lines, or ends with a traceback."""
    (line,) = mistakes({name: value})
    assert line.startswith(f"{name}: must be ")
    assert "hunter2" not in line


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://collector.example.org/v1/traces"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Basic%20abc, x-key=1"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "2.5"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", __file__),
        ("OTEL_BSP_SCHEDULE_DELAY", "50"),
        ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
        ("OTEL_TRACES_SAMPLER_ARG", "0.01"),
        ("OTEL_TRACES_SAMPLER_ARG", "1"),
        ("OTEL_TRACES_SAMPLER_ARG", "1.0"),
        ("OTEL_RESOURCE_ATTRIBUTES", "anything"),
        ("OTEL_TRACES_SAMPLER", ""),
    ],
)
def test_valid_variable_of_opentelemetry_is_accepted(name: str, value: str) -> None:
    """Proves R-CONFIG-2: the forms that OpenTelemetry documents are accepted."""
    assert list(mistakes({name: value})) == []
