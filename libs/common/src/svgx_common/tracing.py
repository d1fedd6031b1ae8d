"""OTLP traces, when `OTEL_EXPORTER_OTLP_ENDPOINT` is set; otherwise spans carry ids only, and cost next to nothing.

Sampling, headers and the rest follow OpenTelemetry's own environment variables.
"""

import os
import threading

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider, sampling
from opentelemetry.sdk.trace.export import BatchSpanProcessor

LAST_EXPORT = 2.0
"""Seconds a stopping process spends on its last spans."""


def configure(service: str, replica_id: str, version: str) -> TracerProvider:
    """Give this process's spans ids, and export them where there is a collector. Call once.

    Give the result to `finish` at the end.
    """
    endpoints = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    exporting = any(os.environ.get(name) for name in endpoints)
    resource = Resource.create(
        {
            "service.namespace": "svgx",
            "service.name": f"svgx-{service}",
            "service.instance.id": replica_id,
            "service.version": version,
        }
    )
    if exporting:
        provider = TracerProvider(resource=resource)
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    else:
        # Nothing is recorded, but one id still joins the log lines of one request across the services.
        provider = TracerProvider(sampler=sampling.ALWAYS_OFF, resource=resource)
    trace.set_tracer_provider(provider)
    return provider


def finish(provider: TracerProvider) -> None:
    """Send what is still queued. A collector that is away holds nobody up: the exporter alone would try for 30 s."""
    last = threading.Thread(target=provider.shutdown, daemon=True)
    last.start()
    last.join(LAST_EXPORT)


def current_trace_id() -> str:
    """The id of the trace this code runs in, as 32 hex digits; zeros outside of any."""
    return trace.format_trace_id(trace.get_current_span().get_span_context().trace_id)
