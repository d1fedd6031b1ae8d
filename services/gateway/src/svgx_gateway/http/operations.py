"""The operations of the contract over HTTP."""

import asyncio
import functools
import re
import time
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import structlog
from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from svgx_common import metrics
from svgx_common.account_threads import AccountThreads
from svgx_common.contract import OPERATIONS
from svgx_common.contract.errors import Internal, SvgxError, Unavailable
from svgx_common.contract.operation import (
    Empty,
    Http,
    Operation,
    Redirect,
    RequestModel,
    is_raw,
    names_canvas,
)
from svgx_common.contract.policy import RateClass
from svgx_common.http.paths import sent_path
from svgx_common.messaging.bus import Answer, Bus
from svgx_common.messaging.caller import Caller
from svgx_common.messaging.headers import HEADER_LEFT_OUT, HEADER_MEDIA_TYPE, decode_filename
from svgx_gateway import audit
from svgx_gateway.http import problems
from svgx_gateway.http.circuit_breaker import CircuitBreakers
from svgx_gateway.http.compression import LARGE_BYTES, compress_large
from svgx_gateway.http.guard import Guard
from svgx_gateway.http.idempotency import Idempotency, fingerprint, parse_key
from svgx_gateway.http.messages import check_content_length, has_body, parse_request
from svgx_gateway.http.proxies import client_of
from svgx_gateway.memory.bodies import SMALL_BYTES, Bodies
from svgx_gateway.observability.notes import note_canvas, note_failure
from svgx_gateway.ratelimit.key import RateLimitKey
from svgx_gateway.request_fields import fields_of, text_of

CLIENT_GONE = "client_gone"
"""The outcome in the metrics when the client disconnected before the response."""

_UNQUOTED = "!#$&+-.^_`|~"
"""The characters that RFC 8187 does not encode, in addition to letters and digits."""

_FALLBACK_STEM = "canvas"
"""The stem of a download's ASCII name, if no part of its full stem can be written in ASCII letters or digits."""

_LATIN_LETTERS = str.maketrans(
    {"ß": "ss", "ẞ": "SS", "æ": "ae", "Æ": "AE", "œ": "oe", "Œ": "OE", "ø": "o", "Ø": "O"}
    | {"ł": "l", "Ł": "L", "đ": "d", "Đ": "D", "ð": "d", "Ð": "D", "þ": "th", "Þ": "Th", "ı": "i"}
)
"""Letters that Unicode does not decompose into ASCII letters and marks."""

COMPRESSED_BYTES = 500
"""Minimum size of a compressed response, in bytes. starlette-compress has the same limit."""

_RESPONSE = "svgx.response"

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class SharedParts:
    """The parts that all operation endpoints use."""

    bus: Bus
    guard: Guard
    idempotency: Idempotency
    breakers: CircuitBreakers
    bodies: Bodies
    validations: AccountThreads
    compressing_app: ASGIApp
    """An application that compresses and sends the response that an endpoint has put into the scope."""


async def _send_response(scope: Scope, receive: Receive, send: Send) -> None:
    """Send the response that an endpoint has put into the scope (ASGI)."""
    response: Response = scope[_RESPONSE]
    await response(scope, receive, send)


def operation_routes(
    bus: Bus,
    guard: Guard,
    idempotency: Idempotency,
    middleware: Sequence[Middleware],
    bodies: Bodies,
) -> list[Route]:
    """Return one route for each operation with an HTTP form.

    Responses from `COMPRESSED_BYTES` to below `LARGE_BYTES` pass through `middleware`, which compresses them on the
    event loop. Larger responses do not, because their compression would block the event loop.
    """
    compressing_app: ASGIApp = _send_response
    for each, args, kwargs in reversed(middleware):
        compressing_app = each(compressing_app, *args, **kwargs)
    shared = SharedParts(
        bus, guard, idempotency, CircuitBreakers(), bodies, AccountThreads(1), compressing_app
    )
    return [
        Route(
            operation.http.path,
            OperationEndpoint(operation, operation.http, shared),
            methods=[operation.http.method],
            name=operation.name,
        )
        for operation in OPERATIONS
        if operation.http is not None
    ]


class OperationEndpoint:
    """The endpoint of one operation, as an ASGI application.

    FastAPI's own endpoints resolve dependencies and validate bodies by function signatures. This endpoint needs
    neither: the contract declares the fields of the request, and the guard decides whether the request is admitted.
    """

    def __init__(self, operation: Operation[Any, Any], http: Http, shared: SharedParts) -> None:
        self._operation = operation
        self._name = operation.name
        self._http = http
        self._bus = shared.bus
        self._guard = shared.guard
        self._idempotency = shared.idempotency
        self._breaker = shared.breakers.of(operation)
        self._supports_key = operation.supports_idempotency_key
        request: type[RequestModel] = operation.request
        self._names_canvas = names_canvas(request)
        self._is_quick_read = (
            http.method == "GET" and operation.rate is RateClass.READ and operation.repeatable
        )
        self._is_raw = is_raw(request)
        self._bodies = shared.bodies
        self._validations = shared.validations
        self._compressing_app = shared.compressing_app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle the request and send the response."""
        response = await self.respond(Request(scope, receive, send))
        if not COMPRESSED_BYTES <= len(response.body) < LARGE_BYTES:
            await response(scope, receive, send)
        else:
            scope[_RESPONSE] = response
            await self._compressing_app(scope, receive, send)

    async def respond(self, request: Request) -> Response:
        """Return the response. Turn each exception into an error response, and log unexpected exceptions."""
        started = time.perf_counter()
        code, headers = "ok", dict[str, str]()
        try:
            response = await self._handle(request, headers)
        except SvgxError as error:
            code = error.code
            response = problems.response(error)
        except ClientDisconnect:
            code = CLIENT_GONE
            response = Response(status_code=499)
        except asyncio.CancelledError:
            # At the end of a drain, uvicorn cancels all requests once, and sends the responses that follow at once.
            code = Unavailable.code
            response = problems.response(
                Unavailable("this gateway stops, and has no more time for the request; try again")
            )
        except Exception:
            code = Internal.code
            log.exception("a request failed", operation=self._name)
            response = problems.response(Internal())
        finally:
            if code != "ok":
                note_failure(request.scope, self._name, code)
            metrics.observe("gateway", self._name, code, time.perf_counter() - started)
        response.raw_headers.extend(Headers(headers).raw)
        await compress_large(response, request.headers)
        return response

    async def _handle(self, request: Request, headers: dict[str, str]) -> Response:
        operation = self._operation
        check_content_length(request, operation.max_body)
        if self._is_quick_read and not has_body(request):
            return await self._handle_read(request, headers)
        caller = await self._guard.admit(operation, request, headers)
        if not has_body(request):
            return await self._handle_body(request, b"", caller, headers)
        with self._bodies.keep(RateLimitKey.of(request, caller).key) as arriving:
            body = await arriving.read(request.stream(), operation.max_body)
            return await self._handle_body(request, body, caller, headers)

    async def _handle_read(self, request: Request, headers: dict[str, str]) -> Response:
        """Return the response to a request that only reads. Count the request while its service answers.

        Raise `TooManyRequests` in place of the service's answer or error if the limit was exceeded.
        """
        caller, counting = await self._guard.admit_read(self._operation, request, headers)
        try:
            return await self._handle_body(request, b"", caller, headers)
        finally:
            if counting is not None:
                await self._guard.finish_read(counting, headers)

    async def _handle_body(
        self, request: Request, body: bytes, caller: Caller | None, headers: dict[str, str]
    ) -> Response:
        operation = self._operation
        message = await self._parse(request, body, caller)
        if self._names_canvas and (canvas_id := getattr(message, "canvas_id", None)) is not None:
            note_canvas(request.scope, canvas_id)
        deadline = time.monotonic() + operation.timeout
        await self._guard.check_canvas(operation, message, caller, request, headers)
        if (
            caller is None
            or not self._supports_key
            or b"idempotency-key" not in fields_of(request.scope)
        ):
            self._guard.check_quota(operation, message, caller)
            return await self._forward(request, message, caller, deadline)
        target = f"{sent_path(request.scope)}?{request.scope['query_string'].decode('latin-1')}"
        pending = await self._idempotency.begin(
            caller,
            parse_key(text_of(request.scope, b"idempotency-key")),
            fingerprint(self._http.method, target, body),
            operation.timeout,
            address=client_of(request).address,
        )
        if isinstance(pending, Response):
            return pending  # the stored response of an earlier request with this key
        response = None
        try:
            self._guard.check_quota(operation, message, caller)
            response = await self._forward(request, message, caller, deadline)
        except asyncio.CancelledError:
            pending = None  # the operation may still run, so its key stays in use until the entry in Redis ends
            raise
        finally:
            if pending is not None:  # None if Redis is not reachable
                await self._idempotency.finish(pending, response, secret=operation.secret)
        return response

    async def _parse(self, request: Request, body: bytes, caller: Caller | None) -> RequestModel:
        """Return the request as the operation's model. A large JSON body is validated in a thread, one at a time."""
        if self._is_raw or len(body) <= SMALL_BYTES:
            return parse_request(self._operation, self._http, request, body)
        work = functools.partial(parse_request, self._operation, self._http, request, body)
        return await self._validations.run(RateLimitKey.of(request, caller).key, work)

    async def _forward(
        self, request: Request, message: RequestModel, caller: Caller | None, deadline: float
    ) -> Response:
        """Send the message to its service, and return the answer as a response.

        `deadline` is a time of the monotonic clock. Checks before this call may have used a part of the time.
        """
        remaining = max(0.001, deadline - time.monotonic())
        is_audited = caller is not None and audit.must_record(self._operation, message, caller)
        with self._breaker.attempt():
            try:
                answer = await self._bus.forward(
                    self._operation,
                    message,
                    caller=caller,
                    client=client_of(request),
                    timeout=remaining,
                )
            except (SvgxError, asyncio.CancelledError) as error:
                if is_audited and audit.is_outcome_unknown(error):
                    await self._record(request, message, caller, unknown=True)
                raise
        if is_audited:
            await self._record(request, message, caller)
        return self._response(answer, secure=request.scope["scheme"] == "https")

    async def _record(
        self,
        request: Request,
        message: RequestModel,
        caller: Caller | None,
        *,
        unknown: bool = False,
    ) -> None:
        assert caller is not None
        await audit.record(
            self._bus, self._operation, message, caller, client_of(request), unknown=unknown
        )

    def _response(self, answer: Answer, *, secure: bool) -> Response:
        """Return the service's answer as a response. `secure` means that the request came over TLS."""
        status = self._http.status
        if self._operation.reply is Empty:
            return Response(status_code=status)
        if self._operation.reply is Redirect:
            redirect = Redirect.model_validate_json(answer.content)
            return _redirect(self._http, redirect, secure=secure)
        headers = {}
        filename = decode_filename(answer.headers)
        if filename is not None:
            headers["Content-Disposition"] = content_disposition(filename)
        left_out = answer.headers.get(HEADER_LEFT_OUT)
        if left_out is not None:
            headers[HEADER_LEFT_OUT] = left_out
        media_type = answer.headers.get(HEADER_MEDIA_TYPE, "application/octet-stream")
        return Response(answer.content, status, headers, media_type=media_type)


def content_disposition(filename: str) -> str:
    """Return the header value for a download (RFC 6266): an ASCII name for old clients, and the full name.

    The ASCII name has only letters, digits, hyphens and the dot before its extension, because clients disagree on the
    meaning of quotes, backslashes and percent signs.
    """
    stem, _, extension = filename.rpartition(".")
    parts = unicodedata.normalize("NFKD", stem.translate(_LATIN_LETTERS))
    letters = "".join(part for part in parts if not unicodedata.combining(part))
    ascii_stem = re.sub(r"[^A-Za-z0-9]+", "-", letters).strip("-")[:80].strip("-")
    ascii_stem = ascii_stem or _FALLBACK_STEM
    full = quote(filename, safe=_UNQUOTED)
    return f"attachment; filename=\"{ascii_stem}.{extension}\"; filename*=UTF-8''{full}"


def _redirect(http: Http, redirect: Redirect, *, secure: bool) -> Response:
    """Return the redirect with its cookie. With `secure`, the browser sends the cookie over TLS only."""
    response = Response(status_code=http.status, headers={"Location": redirect.location})
    response.set_cookie(
        http.cookie_name,
        redirect.remember,
        max_age=redirect.seconds,
        path=http.cookie_path,
        secure=secure,
        httponly=True,
        samesite="lax",  # the browser comes back from another site
    )
    return response
