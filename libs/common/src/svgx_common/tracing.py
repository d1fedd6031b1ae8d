"""OTLP traces, when `OTEL_EXPORTER_OTLP_ENDPOINT` is set; otherwise every span is a cheap no-op.

Sampling, headers and the rest follow OpenTelemetry's own environment variables.
"""

import os

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor


def configure(service: str, replica_id: str, version: str) -> TracerProvider | None:
    """Export this process's spans. Call once; `shutdown()` of the result sends what is still queued."""
    if not (os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT") or os.environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")):
        return None
    resource = Resource.create(
        {
            "service.namespace": "svgx",
            "service.name": f"svgx-{service}",
            "service.instance.id": replica_id,
            "service.version": version,
        }
    )
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    return provider
