"""One HTTP route for each operation of the contract."""

import json
import time
from collections.abc import Awaitable, Callable
from typing import Any

import structlog
from opentelemetry import trace
from pydantic import ValidationError
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from svgx_common import metrics
from svgx_common.bus import HEADER_FILENAME, HEADER_MEDIA_TYPE, Answer, Bus
from svgx_common.caller import Caller
from svgx_common.contract import OPERATIONS
from svgx_common.contract.errors import (
    BadRequest,
    Internal,
    SvgxError,
    TooLarge,
    UnsupportedMedia,
    from_validation,
)
from svgx_common.contract.operation import Empty, Http, Operation, RawRequest, RequestModel
from svgx_gateway import problems
from svgx_gateway.guard import Guard

log = structlog.get_logger(__name__)

Endpoint = Callable[[Request], Awaitable[Response]]


def build(bus: Bus, guard: Guard) -> list[Route]:
    """Routes for all operations with an HTTP form, each with and without its trailing slash."""
    routes = []
    for operation in OPERATIONS:
        if operation.http is not None:
            endpoint = _endpoint(operation, operation.http, bus, guard)
            path = operation.http.path.rstrip("/")
            routes += [
                Route(path + slash, endpoint, methods=[operation.http.method])
                for slash in ("", "/")
            ]
    return routes


def _endpoint(operation: Operation[Any, Any], http: Http, bus: Bus, guard: Guard) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        started = time.perf_counter()
        trace.get_current_span().update_name(f"{http.method} {http.path}")
        code, headers = "ok", dict[str, str]()
        try:
            _check_announced(request, operation.max_body)
            caller = await guard.admit(operation, request, headers)
            body = await _read(request, operation.max_body)
            message = _message(operation, http, request, body)
            await guard.check_canvas(operation, message, caller)
            answer = await _forward(operation, message, caller, bus)
            response = _response(operation, http, answer)
        except SvgxError as error:
            code = error.code
            response = problems.response(error)
        except ClientDisconnect:
            code = "client_gone"
            response = Response(status_code=499)
        except Exception:
            code = Internal.code
            log.exception("a request failed", operation=operation.name)
            response = problems.response(Internal())
        finally:
            metrics.observe("gateway", operation.name, code, time.perf_counter() - started)
        response.headers.update(headers)
        return response

    return endpoint


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"body: at most {limit} bytes", field="body", limit=limit)


def _check_announced(request: Request, limit: int) -> None:
    """What says that it is too large needs no further look."""
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > limit:
        raise _too_large(limit)


async def _read(request: Request, limit: int) -> bytes:
    """The body; refused as soon as what arrives is over the limit. Nobody's body is read before he may send one."""
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit:
            raise _too_large(limit)
        chunks.append(chunk)
    return b"".join(chunks)


def _message(
    operation: Operation[Any, Any], http: Http, request: Request, body: bytes
) -> RequestModel:
    model: type[RequestModel] = operation.request
    values: dict[str, Any] = {}
    if issubclass(model, RawRequest):
        _check_media_type(http, request)
        values["content"] = body
    elif http.method in ("GET", "DELETE"):
        values.update(request.query_params)
    elif body:
        _check_media_type(http, request)
        values.update(_json_object(body))
    values.update(request.path_params)
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise from_validation(error) from None


def _check_media_type(http: Http, request: Request) -> None:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type not in http.consumes:
        raise UnsupportedMedia(
            f"send the body as {' or '.join(http.consumes)}",
            field="content-type",
            limit=http.consumes[0],
        )


def _json_object(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        raise BadRequest("the body is not JSON", field="body") from None
    if not isinstance(value, dict):
        raise BadRequest("the body is not a JSON object", field="body")
    return value


async def _forward(
    operation: Operation[Any, Any], message: RequestModel, caller: Caller | None, bus: Bus
) -> Answer:
    header = caller.header() if caller else None
    if isinstance(message, RawRequest):
        params = json.dumps(message.model_dump(mode="json"))
        return await bus.call(
            operation.subject,
            message.content,
            caller=header,
            params=params,
            timeout=operation.timeout,
        )
    content = message.model_dump_json().encode()
    return await bus.call(operation.subject, content, caller=header, timeout=operation.timeout)


def _response(operation: Operation[Any, Any], http: Http, answer: Answer) -> Response:
    if operation.reply is Empty:
        return Response(status_code=http.status)
    headers = {"Cache-Control": "no-store"}
    filename = answer.headers.get(HEADER_FILENAME)
    if filename is not None:
        headers["Content-Disposition"] = f'attachment; filename="{filename}"'
    media_type = answer.headers.get(HEADER_MEDIA_TYPE, "application/octet-stream")
    return Response(answer.content, http.status, headers, media_type=media_type)
