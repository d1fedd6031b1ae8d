"""The answering side of the bus: handlers for operations, with bounds, deadlines and a drain that loses nothing.

It answers the NATS micro protocol's `$SRV.PING/INFO/STATS` (ADR-32) in the wire form of `nats.micro`, but does not
use that module's endpoints: they run one request at a time, drop what is in flight on stop and send an exception's
text to the caller.
"""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import structlog
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError
from nats.micro.service import EndpointInfo, EndpointStats, ServiceInfo, ServicePing, ServiceStats
from opentelemetry import propagate, trace
from pydantic import ValidationError

from svgx_common import metrics
from svgx_common.contract import operations_of
from svgx_common.contract.errors import (
    DeadlineExceeded,
    Internal,
    Overloaded,
    SvgxError,
    Unavailable,
    from_validation,
)
from svgx_common.contract.operation import (
    Blob,
    Operation,
    RawRequest,
    Reply,
    ReplyModel,
    Request,
    RequestModel,
)
from svgx_common.messaging import caller as callers
from svgx_common.messaging.bus import (
    HEADER_CALLER,
    HEADER_CLIENT,
    HEADER_DEADLINE,
    HEADER_FILENAME,
    HEADER_MEDIA_TYPE,
    HEADER_PARAMS,
    Bus,
    Headers,
)
from svgx_common.messaging.caller import Caller, Client
from svgx_common.tracing import CurrentSpan

log = structlog.get_logger(__name__)
tracer = trace.get_tracer("svgx.bus")

GIVE_UP = 2.0
"""Seconds a cancelled handler has to end."""


_UNKNOWN = Client()


@dataclass(frozen=True, slots=True)
class Call:
    """What surrounds a request. `deadline` is a Unix time in seconds."""

    caller: Caller | None
    deadline: float
    client: Client = _UNKNOWN

    def signed_in(self) -> Caller:
        """The caller; raises `Internal` where the gateway let nobody through, which is a defect of ours."""
        if self.caller is None:
            raise Internal
        return self.caller


Handler = Callable[[Request, Call], Awaitable[Reply]]


@dataclass(slots=True)
class _Endpoint:
    operation: Operation[Any, Any]
    handler: Callable[[Any, Call], Awaitable[Any]]
    requests: int = 0
    errors: int = 0
    busy_ns: int = 0
    last_error: str = ""
    subscription: Subscription | None = field(default=None)


class Responder:
    """Answers a service's operations. `concurrency` handlers run at a time; `backlog` more may wait."""

    def __init__(
        self, bus: Bus, version: str, *, concurrency: int = 64, backlog: int = 1024
    ) -> None:
        self._bus = bus
        self._version = version
        self._name = f"svgx-{bus.service}"
        self._started = datetime.now(UTC)
        self._slots = asyncio.Semaphore(concurrency)
        self._limit = concurrency + backlog
        self._endpoints: dict[str, _Endpoint] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def answer(
        self, operation: Operation[Request, Reply], handler: Handler[Request, Reply]
    ) -> None:
        """Register the handler of an operation; a handler of the wrong type does not pass mypy."""
        if operation.service != self._bus.service or operation.subject in self._endpoints:
            raise ValueError(f"{operation.subject} is not this service's, or has a handler already")
        self._endpoints[operation.subject] = _Endpoint(operation, handler)

    async def start(self) -> None:
        """Join the queue group. Raises `ValueError` when an operation of the contract has no handler."""
        missing = {op.subject for op in operations_of(self._bus.service)} - set(self._endpoints)
        if missing:
            raise ValueError(f"operations without a handler: {', '.join(sorted(missing))}")
        await self.announce()
        await self.join()

    async def join(self) -> None:
        """Take requests for every registered operation."""
        for endpoint in self._endpoints.values():
            endpoint.subscription = await self._bus.connection.subscribe(
                endpoint.operation.subject,
                queue=self._name,
                cb=self._receiver(endpoint),
            )

    async def announce(self) -> None:
        """Answer `$SRV.PING/INFO/STATS`."""
        for verb, reply in (("PING", self._ping), ("INFO", self._info), ("STATS", self._stats)):
            for suffix in ("", f".{self._name}", f".{self._name}.{self._bus.replica_id}"):
                await self._bus.connection.subscribe(
                    f"$SRV.{verb}{suffix}", cb=self._answer_with(reply)
                )

    async def drain(self) -> None:
        """Leave the queue group, then finish everything that has arrived."""
        subscriptions = [
            endpoint.subscription
            for endpoint in self._endpoints.values()
            if endpoint.subscription is not None
        ]
        try:
            try:
                await self._bus.leave(subscriptions)
            except (SvgxError, NatsError, TimeoutError) as error:
                log.warning("could not leave the queue group", error=type(error).__name__)
            while self._tasks:
                await asyncio.wait(self._tasks)
        finally:
            await self._give_up()

    async def _give_up(self) -> None:
        """Cancel what was not finished in time: its callers are told, instead of waiting in vain."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=GIVE_UP)

    def _receiver(self, endpoint: _Endpoint) -> Callable[[Msg], Awaitable[None]]:
        async def receive(message: Msg) -> None:
            if len(self._tasks) >= self._limit:
                await self._bus.refuse(message.reply, Overloaded(retry_after=1.0))
                return
            task = asyncio.create_task(self._take(endpoint, message))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

        return receive

    async def _take(self, endpoint: _Endpoint, message: Msg) -> None:
        try:
            async with self._slots:
                await self._run(endpoint, message)
        except asyncio.CancelledError:
            # The service gives up, or something that the handler waited for was cancelled.
            log.warning("a request was given up", operation=endpoint.operation.name)
            await self._bus.refuse(
                message.reply, Unavailable("the service stopped before it answered")
            )

    async def _run(self, endpoint: _Endpoint, message: Msg) -> None:
        started = time.perf_counter_ns()
        operation = endpoint.operation
        headers = message.headers or {}
        with CurrentSpan(
            tracer,
            f"answer {operation.name}",
            trace.SpanKind.SERVER,
            parent=propagate.extract(headers),
        ) as span:
            code = Unavailable.code
            try:
                reply = await self._handle(endpoint, message, headers)
                await self._reply(message, reply)
                code = "ok"
            except SvgxError as error:
                code = error.code
                await self._bus.refuse(message.reply, error)
            except Exception:
                code = Internal.code
                log.exception("a handler failed", operation=operation.name)
                await self._bus.refuse(message.reply, Internal())
            finally:
                elapsed = time.perf_counter_ns() - started
                endpoint.requests += 1
                endpoint.busy_ns += elapsed
                if code != "ok":
                    endpoint.errors += 1
                    endpoint.last_error = code
                    span.set_status(trace.StatusCode.ERROR, code)
                metrics.observe(self._bus.service, operation.name, code, elapsed / 1e9)

    async def _handle(
        self, endpoint: _Endpoint, message: Msg, headers: Headers
    ) -> ReplyModel | Blob:
        deadline = _deadline(headers, endpoint.operation.timeout)
        patience = deadline - time.time()
        if patience <= 0:
            raise DeadlineExceeded("nobody waits for this request any more; it was not started")
        limit = asyncio.timeout(patience)
        try:
            async with limit:
                body = await self._bus.body(message, limit=endpoint.operation.max_body)
                request = _request(endpoint.operation, headers, body)
                caller = headers.get(HEADER_CALLER)
                client = headers.get(HEADER_CLIENT)
                call = Call(
                    callers.from_header(caller) if caller else None,
                    deadline,
                    callers.client_from_header(client) if client else _UNKNOWN,
                )
                reply: ReplyModel | Blob = await endpoint.handler(request, call)
                return reply
        except TimeoutError:
            if not limit.expired():
                raise  # the handler's own, and no matter of the caller's
            raise DeadlineExceeded from None

    async def _reply(self, message: Msg, reply: ReplyModel | Blob) -> None:
        headers: Headers = {}
        if isinstance(reply, Blob):
            content = reply.content
            headers[HEADER_MEDIA_TYPE] = reply.media_type
            if reply.filename is not None:
                headers[HEADER_FILENAME] = reply.filename
        else:
            content = reply.model_dump_json().encode()
            headers[HEADER_MEDIA_TYPE] = "application/json"
        await self._bus.respond(message.reply, content, headers)

    def _answer_with(self, reply: Callable[[], dict[str, Any]]) -> Callable[[Msg], Awaitable[None]]:
        async def answer(message: Msg) -> None:
            await self._bus.respond(message.reply, json.dumps(reply()).encode())

        return answer

    def _identity(self) -> dict[str, Any]:
        return {
            "name": self._name,
            "id": self._bus.replica_id,
            "version": self._version,
            "metadata": {},
        }

    def _ping(self) -> dict[str, Any]:
        return ServicePing(**self._identity()).to_dict()

    def _info(self) -> dict[str, Any]:
        endpoints = [
            EndpointInfo(
                name=endpoint.operation.name.replace(".", "-"),
                subject=subject,
                queue_group=self._name,
                metadata={},
            )
            for subject, endpoint in self._endpoints.items()
        ]
        return ServiceInfo(
            **self._identity(), description=self._name, endpoints=endpoints
        ).to_dict()

    def _stats(self) -> dict[str, Any]:
        endpoints = [
            EndpointStats(
                name=endpoint.operation.name.replace(".", "-"),
                subject=subject,
                queue_group=self._name,
                num_requests=endpoint.requests,
                num_errors=endpoint.errors,
                last_error=endpoint.last_error,
                processing_time=endpoint.busy_ns,
                average_processing_time=endpoint.busy_ns // max(1, endpoint.requests),
            )
            for subject, endpoint in self._endpoints.items()
        ]
        return ServiceStats(
            **self._identity(), started=self._started, endpoints=endpoints
        ).to_dict()


def _deadline(headers: Headers, default: float) -> float:
    value = headers.get(HEADER_DEADLINE, "")
    return int(value) / 1000 if value.isdecimal() else time.time() + default


def _request(operation: Operation[Any, Any], headers: Headers, body: bytes) -> RequestModel:
    model: type[RequestModel] = operation.request
    try:
        if issubclass(model, RawRequest):
            request = model.model_validate_json(headers.get(HEADER_PARAMS, "{}"))
            return request.model_copy(update={"content": body})
        return model.model_validate_json(body or b"{}")
    except ValidationError as error:
        raise from_validation(error) from None
