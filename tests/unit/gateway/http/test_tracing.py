"""The spans of HTTP requests, with a small application in place of the gateway."""

import httpx
import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from svgx_common.contract.errors import NotFound, Unavailable
from svgx_gateway.http import problems, tracing
from svgx_gateway.http.routes import Application, RouteTable
from svgx_gateway.http.tracing import MAX_TRACE_STATE_LENGTH, Tracing
from svgx_gateway.observability.notes import note_canvas, note_failure, note_user
from svgx_gateway.observability.request_log import MAX_PATH_LENGTH, RequestLog

ERRORS = {"missing": NotFound(), "away": Unavailable()}


async def respond(request: Request) -> Response:
    """Return the response, or raise the exception, that the canvas id selects."""
    canvas_id = request.path_params["canvas_id"]
    note_canvas(request.scope, canvas_id)
    note_user(request.scope, "ann")
    if canvas_id == "broken":
        raise ZeroDivisionError("secret")
    if (error := ERRORS.get(canvas_id)) is not None:
        note_failure(request.scope, "state.canvas.get", error.code)
        return problems.response(error)
    return Response()


async def span_of(
    monkeypatch: pytest.MonkeyPatch,
    path: str,
    method: str = "GET",
    headers: dict[str, str] | None = None,
) -> ReadableSpan:
    """Send one request, and return its span."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(tracing, "tracer", provider.get_tracer("test"))
    app = Application(
        openapi_url=None,
        routes=[RouteTable([Route("/canvases/{canvas_id}", respond, methods=["GET"])])],
        exception_handlers={
            404: problems.handle_http_exception,
            405: problems.handle_http_exception,
            Exception: problems.handle_exception,
        },
        middleware=[Middleware(Tracing), Middleware(RequestLog, every_request=False)],
    )
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as http:
        await http.request(method, path, headers=headers)
    (span,) = exporter.get_finished_spans()
    assert "secret" not in span.to_json()
    return span


@pytest.mark.parametrize(
    ("request_line", "name", "status", "outcome"),
    [
        ("GET /canvases/plan?token=secret", "GET /canvases/{canvas_id}", 200, None),
        ("GET /canvases/missing", "GET /canvases/{canvas_id}", 404, "not_found"),
        ("GET /canvases/away", "GET /canvases/{canvas_id}", 503, "unavailable"),
        ("GET /canvases/broken", "GET /canvases/{canvas_id}", 500, "500"),
        ("DELETE /canvases/plan", "DELETE /canvases/{canvas_id}", 405, None),
        ("PROPFIND /canvases/plan", "HTTP /canvases/{canvas_id}", 405, None),
        ("GET /nowhere/plan", "GET", 404, None),
        ("INVENTED /nowhere/plan", "HTTP", 404, None),
    ],
)
async def test_span_of_a_request_follows_opentelemetry_conventions(
    monkeypatch: pytest.MonkeyPatch,
    request_line: str,
    name: str,
    status: int,
    outcome: str | None,
) -> None:
    """A client puts no text of its own into a span's name, and only a 5xx is an error. Proves R-OBS-4."""
    method, path = request_line.split()
    span = await span_of(monkeypatch, path, method)
    attributes = dict(span.attributes or {})
    assert span.name == name
    assert attributes["http.response.status_code"] == status
    assert attributes["http.request.method"] == ("_OTHER" if name.startswith("HTTP") else method)
    assert attributes["url.path"] == path.partition("?")[0]
    assert attributes.get("http.route") == (name.partition(" ")[2] or None)
    assert attributes.get("svgx.outcome") == outcome
    assert (span.status.status_code is StatusCode.ERROR) == (status >= 500)
    assert attributes.get("error.type") == (outcome if status >= 500 else None)
    if method == "GET" and "http.route" in attributes:
        canvas_id = path.split("/")[2].partition("?")[0]
        assert (attributes["svgx.canvas.id"], attributes["user.id"]) == (canvas_id, "ann")


async def test_path_in_a_span_is_short_and_has_no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """A token after an encoded question mark is a part of the path, and is redacted. Proves R-OBS-4 and R-OBS-5."""
    span = await span_of(monkeypatch, "/nowhere/plan%3Ftoken=secret" + "x" * 1000)
    assert span.attributes is not None
    path = str(span.attributes["url.path"])
    assert path.startswith("/nowhere/plan?token=[redacted]")
    assert len(path) <= MAX_PATH_LENGTH


@pytest.mark.parametrize("length", [MAX_TRACE_STATE_LENGTH, MAX_TRACE_STATE_LENGTH + 1])
async def test_trace_state_beyond_512_characters_is_ignored(
    monkeypatch: pytest.MonkeyPatch, length: int
) -> None:
    """A client cannot fill the exporter's queue and the messages to services with its trace state. Proves R-OBS-4."""
    members = ",".join(f"{name}={'x' * 200}" for name in "abc")[:length]
    assert len(members) == length
    headers = {"traceparent": f"00-{'a' * 32}-{'b' * 16}-01", "tracestate": members}
    span = await span_of(monkeypatch, "/canvases/plan", headers=headers)
    assert span.context is not None
    assert span.context.trace_id == int("a" * 32, 16)
    kept = span.context.trace_state.to_header()
    assert kept == (members if length <= MAX_TRACE_STATE_LENGTH else "")
