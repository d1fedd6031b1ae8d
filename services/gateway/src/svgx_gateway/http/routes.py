"""The operations of the contract over HTTP."""

import time
from collections.abc import Awaitable, Callable
from typing import Any

import structlog
from opentelemetry import trace
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import compile_path
from starlette.types import ASGIApp, Receive, Scope, Send

from svgx_common import metrics
from svgx_common.contract import OPERATIONS
from svgx_common.contract.errors import Internal, SvgxError
from svgx_common.contract.operation import (
    Empty,
    Http,
    Operation,
    Redirect,
)
from svgx_common.messaging.bus import Answer, Bus
from svgx_common.messaging.headers import HEADER_FILENAME, HEADER_MEDIA_TYPE
from svgx_gateway.http import problems
from svgx_gateway.http.circuits import Circuits
from svgx_gateway.http.clients import client_of
from svgx_gateway.http.compression import compress_large
from svgx_gateway.http.guard import Guard
from svgx_gateway.http.idempotency import Idempotency, applies, check_key, fingerprint
from svgx_gateway.http.messages import check_announced, message_of, read_body

log = structlog.get_logger(__name__)

Endpoint = Callable[[Request], Awaitable[Response]]


class Operations:
    """ASGI middleware: all operations with an HTTP form, each with and without its trailing slash.

    It stands in front of FastAPI, which has the pages and WebSockets, and not in it: what FastAPI and its router put
    around every request, for what operations do not use, is a twelfth of what a request costs (decision 22).
    """

    def __init__(self, app: ASGIApp, bus: Bus, guard: Guard, idempotency: Idempotency) -> None:
        self._app = app
        edge = _Edge(bus, guard, idempotency)
        by_path: dict[str, dict[str, Endpoint]] = {}
        for operation in OPERATIONS:
            if operation.http is not None:
                path = operation.http.path.rstrip("/")
                by_path.setdefault(path, {})[operation.http.method] = edge.endpoint(
                    operation, operation.http
                )
        self._written_out = {
            path: _ByMethod(endpoints) for path, endpoints in by_path.items() if "{" not in path
        }
        self._templates = [
            (compile_path(path)[0], _ByMethod(endpoints))
            for path, endpoints in by_path.items()
            if "{" in path
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI. What is no operation is the application's."""
        app = self._find(scope) if scope["type"] == "http" else None
        await (app or self._app)(scope, receive, send)

    def _find(self, scope: Scope) -> ASGIApp | None:
        path = scope["path"].removesuffix("/")
        # Written out before templates: `/admin/users/restore` is no account, whatever the method.
        if (found := self._written_out.get(path)) is not None:
            scope["path_params"] = {}
            return found
        for pattern, endpoints in self._templates:
            if (match := pattern.match(path)) is not None:
                scope["path_params"] = match.groupdict()
                return endpoints
        return None


class _ByMethod:
    """One for all methods of a path."""

    def __init__(self, endpoints: dict[str, Endpoint]) -> None:
        self._endpoints = dict(endpoints)
        if "GET" in endpoints:
            self._endpoints["HEAD"] = endpoints["GET"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        endpoint = self._endpoints.get(scope["method"])
        if endpoint is None:
            response: Response = problems.not_allowed(self._endpoints)
        else:
            response = await endpoint(Request(scope, receive, send))
        await response(scope, receive, send)


class _Edge:
    def __init__(self, bus: Bus, guard: Guard, idempotency: Idempotency) -> None:
        self._bus = bus
        self._guard = guard
        self._idempotency = idempotency
        self._circuits = Circuits()

    def endpoint(self, operation: Operation[Any, Any], http: Http) -> Endpoint:
        """Whatever happens becomes an answer, is counted, and is logged when it is a defect."""
        name = f"{http.method} {http.path}"

        async def endpoint(request: Request) -> Response:
            started = time.perf_counter()
            trace.get_current_span().update_name(name)
            code, headers = "ok", dict[str, str]()
            try:
                response = await self._answer(operation, http, request, headers)
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
            response.raw_headers.extend(
                (name.lower().encode(), value.encode()) for name, value in headers.items()
            )
            await compress_large(response, request.headers)
            return response

        return endpoint

    async def _answer(
        self,
        operation: Operation[Any, Any],
        http: Http,
        request: Request,
        headers: dict[str, str],
    ) -> Response:
        check_announced(request, operation.max_body)
        caller = await self._guard.admit(operation, request, headers)
        body = await read_body(request, operation.max_body)
        message = message_of(operation, http, request, body)
        deadline = time.monotonic() + operation.timeout
        await self._guard.check_canvas(operation, message, caller)

        async def forward() -> Response:
            # The time limit is for all of it, the look at the role included.
            left = max(0.001, deadline - time.monotonic())
            with self._circuits.of(operation).passage():
                answer = await self._bus.forward(
                    operation,
                    message,
                    caller=caller,
                    client=client_of(request),
                    timeout=left,
                )
            return _response(operation, http, answer, secure=request.scope["scheme"] == "https")

        key = request.headers.get("idempotency-key")
        if key is None or caller is None or not applies(operation, http):
            return await forward()
        target = f"{request.url.path}?{request.url.query}"
        ticket = await self._idempotency.begin(
            caller,
            check_key(key),
            fingerprint(http.method, target, body),
            operation.timeout,
        )
        if isinstance(ticket, Response):
            return ticket
        if ticket is None:
            return await forward()
        response = None
        try:
            response = await forward()
        except SvgxError as error:
            response = problems.response(error)
            raise
        finally:
            await self._idempotency.finish(ticket, response, secret=operation.secret)
        return response


def _response(
    operation: Operation[Any, Any], http: Http, answer: Answer, *, secure: bool
) -> Response:
    if operation.reply is Empty:
        return Response(status_code=http.status)
    if operation.reply is Redirect:
        return _redirect(http, Redirect.model_validate_json(answer.content), secure=secure)
    headers = {}
    filename = answer.headers.get(HEADER_FILENAME)
    if filename is not None:
        headers["Content-Disposition"] = f'attachment; filename="{filename}"'
    media_type = answer.headers.get(HEADER_MEDIA_TYPE, "application/octet-stream")
    return Response(answer.content, http.status, headers, media_type=media_type)


def _redirect(http: Http, redirect: Redirect, *, secure: bool) -> Response:
    """`secure`: whether the cookie is for TLS only, as this request was."""
    response = Response(status_code=http.status, headers={"Location": redirect.location})
    response.set_cookie(
        http.cookie_name,
        redirect.remember,
        max_age=redirect.seconds,
        path=http.cookie_path,
        secure=secure,
        httponly=True,
        samesite="lax",  # it comes back from another site
    )
    return response
