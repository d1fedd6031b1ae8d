"""Pages in the OpenAPI document that are not operations: health, metrics, documentation."""

from typing import Any

from svgx_common.contract.errors import (
    DeadlineExceeded,
    Forbidden,
    Internal,
    Overloaded,
    TooManyRequests,
    Unauthenticated,
    Unavailable,
)
from svgx_gateway.openapi.responses import REF, Responses, headers_of_page
from svgx_gateway.openapi.security import SIGNED_IN

_STATUS = {
    "type": "object",
    "required": ["status"],
    "properties": {
        "status": {"enum": ["ok", "starting", "draining", "failing"]},
        "service": {"type": "string"},
        "version": {"type": "string"},
        "revision": {"type": "string"},
        "reason": {"type": "string"},
        "dependencies": {
            "type": "object",
            "additionalProperties": {
                "type": "object",
                "required": ["ok", "required"],
                "properties": {
                    "ok": {"type": "boolean"},
                    "required": {"type": "boolean"},
                    "error": {"type": "string"},
                    "detail": {"type": "string"},
                },
            },
        },
    },
}
_SUMMARY = {
    "type": "object",
    "required": ["status", "missing", "silent", "services"],
    "properties": {
        "status": {"enum": ["ok", "degraded"]},
        "missing": {
            "description": "The services without a replica that answers requests",
            "type": "array",
            "items": {"type": "string"},
        },
        "silent": {
            "description": "The replicas that do not answer, as `service/id`",
            "type": "array",
            "items": {"type": "string"},
        },
        "services": {
            "type": "object",
            "additionalProperties": {
                "type": "array",
                "items": {"$ref": REF.format(model="HealthReport")},
            },
        },
    },
}
_ANY = {"type": "object"}
_TEXT = {"type": "string"}


def path_items_of_pages(responses: Responses, *, with_metrics: bool) -> dict[str, Any]:
    """Return the path items of the pages, with the pages of the metrics if the API port serves them."""
    overall = _page(
        "health", "Whether the gateway has started and is not stopping", "application/json", _STATUS
    )
    overall["responses"]["503"] = {
        **overall["responses"]["200"],
        "description": "The gateway is starting or stopping; `reason` says which.",
    }
    ready = _page("health", "Whether the gateway can serve requests", "application/json", _STATUS)
    ready["responses"]["503"] = {
        **ready["responses"]["200"],
        "description": "The gateway cannot serve requests; `reason` names the cause.",
    }
    summary = _page(
        "health", "Health of every replica of every service", "application/json", _SUMMARY
    )
    summary["security"] = SIGNED_IN
    summary["responses"] |= responses.problems(
        {
            *(Unauthenticated, Forbidden, TooManyRequests),
            *(Internal, Unavailable, Overloaded, DeadlineExceeded),
        }
    )
    summary["responses"]["200"]["headers"] = headers_of_page(signed_in=True, traced=True)
    live = _page("health", "Whether the process is alive", "application/json", _STATUS)
    pages = {
        "/health/": {"get": {**overall, "operationId": "health"}},
        "/health/ready": {"get": {**ready, "operationId": "health.ready"}},
        "/health/live": {"get": {**live, "operationId": "health.live"}},
        "/health/summary/": {"get": {**summary, "operationId": "health.summary"}},
    }
    rate_limited = {
        "/openapi.json": ("openapi", _page("docs", "This document", "application/json", _ANY)),
        "/docs": ("docs", _page("docs", "This document as a web page", "text/html", _TEXT)),
    }
    if with_metrics:
        text = _page("metrics", "Metrics for Prometheus", "text/plain", _TEXT)
        rate_limited |= {
            "/metrics/": ("metrics", _page("metrics", "Metrics as JSON", "application/json", _ANY)),
            "/metrics/prometheus": ("metrics.prometheus", text),
        }
    for path, (name, page) in rate_limited.items():
        is_metrics = page["tags"] == ["metrics"]
        page["responses"]["200"]["headers"] = headers_of_page(
            signed_in=False, traced=not is_metrics
        )
        page["responses"] |= responses.problems({TooManyRequests}, signed_in=False)
        if not is_metrics:  # load shedding never refuses the metrics
            page["responses"] |= responses.problems({Overloaded}, counted=False, signed_in=False)
        pages[path] = {"get": {**page, "operationId": name}}
    return pages


def _page(tag: str, summary: str, media_type: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {
        "summary": summary,
        "tags": [tag],
        "security": [],
        "responses": {"200": {"description": summary, "content": {media_type: {"schema": schema}}}},
    }
