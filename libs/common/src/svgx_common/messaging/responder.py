"""The responder of a service runs the handlers of operations, with limits and deadlines. Its drain loses no request.

The responder does not use the endpoints of `nats.micro`, because they run one request at a time, drop the requests in
progress on stop, and send an exception's text to the caller. `micro.py` still answers the discovery requests of the
NATS micro protocol.
"""

import asyncio
import functools
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import structlog
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError
from opentelemetry import context, trace
from pydantic import ValidationError

from svgx_common import metrics
from svgx_common.account_threads import AccountThreads
from svgx_common.contract import operations_of
from svgx_common.contract.errors import (
    DeadlineExceeded,
    Internal,
    Invalid,
    Overloaded,
    SvgxError,
    TooLarge,
    Unavailable,
    from_validation,
)
from svgx_common.contract.operation import (
    Blob,
    Operation,
    Reply,
    ReplyModel,
    Request,
    RequestModel,
    is_raw,
    names_canvas,
)
from svgx_common.contract.policy import Pool
from svgx_common.messaging.bus import Bus
from svgx_common.messaging.caller import Caller, Client
from svgx_common.messaging.headers import (
    HEADER_CALLER,
    HEADER_CLIENT,
    HEADER_FILENAME,
    HEADER_LEFT_OUT,
    HEADER_MEDIA_TYPE,
    HEADER_PARAMS,
    HEADER_PROBE,
    Headers,
    decode_deadline,
    encode_filename,
)
from svgx_common.messaging.micro import Discovery, EndpointCounts
from svgx_common.observability.log_ids import use_ids
from svgx_common.tracing import extract_trace, note_code, note_ids

log = structlog.get_logger(__name__)

CANCEL_SECONDS = 2.0
"""Time limit for a cancelled handler to end, in seconds. Beyond it, a drain does not wait for the handler."""

LARGE_BYTES = 64 * 1024
"""Size of a JSON request, in bytes, beyond which it is validated in a thread, one request at a time."""

_UNKNOWN_CLIENT = Client()


@dataclass(frozen=True, slots=True)
class Call:
    """The caller, client and deadline of one request. `deadline` is in Unix seconds."""

    caller: Caller | None
    deadline: float
    client: Client = _UNKNOWN_CLIENT

    def ends_at(self) -> float:
        """Return the deadline as a time of the monotonic clock."""
        return time.monotonic() + self.deadline - time.time()

    def signed_in_caller(self) -> Caller:
        """Return the caller. Raise `Internal` without one, because the gateway should have refused the request."""
        if self.caller is None:
            raise Internal
        return self.caller


class ProbeAnswer(ReplyModel):
    """The answer to a message with the header `HEADER_PROBE`. `at` is the replica's time in Unix seconds."""

    replica: str
    at: float


Handler = Callable[[Request, Call], Awaitable[Reply]]


class _Slots:
    """The slots of one pool. `tasks` are the requests that run or wait."""

    def __init__(self, concurrency: int, backlog: int) -> None:
        self.free = asyncio.Semaphore(concurrency)
        self.tasks: set[asyncio.Task[None]] = set()
        self._concurrency = concurrency
        self._limit = concurrency + backlog

    def show(self, pool: Pool) -> None:
        """Show the use of the slots in the metrics."""
        running = metrics.POOL_REQUESTS.labels(pool, "running")
        waiting = metrics.POOL_REQUESTS.labels(pool, "waiting")
        running.set_function(lambda: min(len(self.tasks), self._concurrency))
        waiting.set_function(lambda: max(0, len(self.tasks) - self._concurrency))
        metrics.POOL_SLOTS.labels(pool).set(self._concurrency)

    @property
    def full(self) -> bool:
        """Return whether no further request may wait."""
        return len(self.tasks) >= self._limit


@dataclass(slots=True)
class _Endpoint:
    operation: Operation[Any, Any]
    handler: Callable[[Any, Call], Awaitable[Any]]
    counts: EndpointCounts
    subscription: Subscription | None = None


class Responder:
    """The handlers of a service's operations, and the slots in which they run.

    Each pool of operations (`Operation.pool`) has slots of its own: `concurrency` handlers run at a time, and `backlog`
    more requests may wait. Further requests get `Overloaded`.
    """

    def __init__(
        self, bus: Bus, version: str, *, concurrency: int = 64, backlog: int = 1024
    ) -> None:
        self._bus = bus
        self._name = f"svgx-{bus.service}"
        self._discovery = Discovery(self._name, bus.replica_id, version)
        self._backlog = backlog
        self._pools = {pool: _Slots(concurrency, backlog) for pool in Pool}
        self._endpoints: dict[str, _Endpoint] = {}
        self._left_to_others: set[str] = set()
        """The subjects of operations that this replica does not answer."""
        self._validations = AccountThreads(1)

    def answer(
        self, operation: Operation[Request, Reply], handler: Handler[Request, Reply]
    ) -> None:
        """Register the handler of an operation. mypy refuses a handler of the wrong type.

        Raise `ValueError` for another service's operation, and for a second handler.
        """
        if operation.service != self._bus.service or operation.subject in self._endpoints:
            raise ValueError(
                f"{operation.subject} belongs to another service or has a handler already"
            )
        metrics.expect(self._bus.service, operation.name, _codes_of(operation))
        counts = self._discovery.add(operation.name.replace(".", "-"), operation.subject)
        self._endpoints[operation.subject] = _Endpoint(operation, handler, counts)

    def leave_to_others(self, *operations: Operation[Any, Any]) -> None:
        """Leave operations to the other replicas of the service. This replica does not answer them."""
        self._left_to_others.update(operation.subject for operation in operations)

    def set_slots(self, pool: Pool, concurrency: int) -> None:
        """Let `concurrency` handlers of a pool run at a time. Call this before `start`.

        The handlers of the pool may have a queue of their own. The pool then needs a slot for each request that runs or
        waits in this queue. It also needs some slots in which handlers refuse requests.
        """
        self._pools[pool] = _Slots(concurrency, self._backlog)

    async def start(self) -> None:
        """Answer requests.

        Raise `ValueError` when an operation of the contract has no handler, and is not left to other replicas.
        """
        subjects = {op.subject for op in operations_of(self._bus.service)}
        if missing := subjects - self._endpoints.keys() - self._left_to_others:
            raise ValueError(f"operations without a handler: {', '.join(sorted(missing))}")
        for pool, slots in self._pools.items():
            slots.show(pool)
        await self.announce()
        await self.join()

    async def join(self) -> None:
        """Join the queue group of every registered operation."""
        for endpoint in self._endpoints.values():
            endpoint.subscription = await self._bus.connection.subscribe(
                endpoint.operation.subject,
                queue=self._name,
                cb=self._receiver(endpoint),
            )

    async def announce(self) -> None:
        """Subscribe to discovery requests, and answer them from now on."""
        await self._discovery.subscribe(self._bus.connection, self._bus.respond)

    async def drain(self) -> None:
        """Leave the queue groups, finish every request that has arrived, and wait until large answers are pulled.

        When the drain itself is cancelled, the remaining requests are cancelled and get `Unavailable`.
        """
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
            while tasks := self._tasks():
                await asyncio.wait(tasks)
            await self._bus.blobs.wait_until_pulled()
        finally:
            await self._cancel_tasks()

    async def _cancel_tasks(self) -> None:
        """Cancel the remaining requests. Their callers get `Unavailable`, and need not wait until the timeout."""
        tasks = self._tasks()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=CANCEL_SECONDS)

    def _tasks(self) -> set[asyncio.Task[None]]:
        """Return the requests of all pools that run or wait."""
        return {task for slots in self._pools.values() for task in slots.tasks}

    def _receiver(self, endpoint: _Endpoint) -> Callable[[Msg], Awaitable[None]]:
        """Return the subscription callback of an endpoint. It starts a task for each request."""
        slots = self._pools[endpoint.operation.pool]

        async def receive(message: Msg) -> None:
            if message.headers and HEADER_PROBE in message.headers:
                answer = ProbeAnswer(replica=self._bus.replica_id, at=time.time())
                await self._bus.respond(message.reply, answer.model_dump_json().encode())
                return
            if slots.full:
                metrics.count_refused(self._bus.service, endpoint.operation.name, Overloaded.code)
                await self._bus.refuse(message.reply, Overloaded(retry_after=1.0))
                return
            task = asyncio.create_task(self._respond_or_refuse(endpoint, slots, message))
            slots.tasks.add(task)
            task.add_done_callback(slots.tasks.discard)

        return receive

    async def _respond_or_refuse(self, endpoint: _Endpoint, slots: _Slots, message: Msg) -> None:
        """Answer a request when a slot is free. Refuse the request when this task is cancelled."""
        started = False
        arrived_at = time.perf_counter_ns()
        try:
            async with slots.free:
                started = True
                await self._respond(endpoint, message, arrived_at)
        except asyncio.CancelledError:
            if not started:
                metrics.count_refused(self._bus.service, endpoint.operation.name, Unavailable.code)
            # The drain ran out of time, or the handler awaited a task that was cancelled. The span has ended already,
            # so the log line gets its trace from the headers of the request.
            context.attach(extract_trace(message.headers or {}))
            log.warning("a request was cancelled", operation=endpoint.operation.name)
            await self._bus.refuse(
                message.reply, Unavailable("the service stopped before it answered")
            )

    async def _respond(self, endpoint: _Endpoint, message: Msg, arrived_at: int) -> None:
        """Answer a request with its handler's reply or error, within a span, and count it.

        The time in the metrics and in the log begins at `arrived_at`, so it contains the wait for a slot.
        """
        started_at = time.perf_counter_ns()
        operation = endpoint.operation
        headers = message.headers or {}
        with self._bus.spans.answer(operation, headers) as span:
            # A cancelled request counts as unavailable. Every other outcome sets its own code below.
            code = Unavailable.code
            try:
                reply = await self._handle(endpoint, message, headers)
                await self._send_reply(message, reply)
                code = "ok"
            except SvgxError as error:
                code = error.code
                if error.status >= 500:
                    elapsed = time.perf_counter_ns() - arrived_at
                    log.warning(
                        "a request failed",
                        operation=operation.name,
                        code=code,
                        ms=round(elapsed / 1e6, 1),
                    )
                await self._bus.refuse(message.reply, error)
            except Exception:
                code = Internal.code
                log.exception("a handler failed", operation=operation.name)
                await self._bus.refuse(message.reply, Internal())
            finally:
                ended_at = time.perf_counter_ns()
                endpoint.counts.count(ended_at - started_at, None if code == "ok" else code)
                if code != "ok":
                    note_code(span, code, failed=code in metrics.SERVER_ERRORS)
                elapsed = ended_at - arrived_at
                metrics.observe(self._bus.service, operation.name, code, elapsed / 1e9)

    async def _handle(
        self, endpoint: _Endpoint, message: Msg, headers: Headers
    ) -> ReplyModel | Blob:
        """Run the handler. Raise `DeadlineExceeded` when the caller's deadline passes first."""
        deadline = decode_deadline(headers, endpoint.operation.timeout)
        remaining = deadline - time.time()
        if remaining <= 0:
            raise DeadlineExceeded("the deadline had passed before the request was started")
        limit = asyncio.timeout(remaining)
        try:
            async with limit:
                body = await self._bus.body(message, limit=endpoint.operation.max_body)
                caller = headers.get(HEADER_CALLER)
                client = headers.get(HEADER_CLIENT)
                call = Call(
                    Caller.from_header(caller) if caller else None,
                    deadline,
                    Client.from_header(client) if client else _UNKNOWN_CLIENT,
                )
                request = await self._decode(endpoint.operation, headers, body, call)
                _note_ids(request, call)
                reply: ReplyModel | Blob = await endpoint.handler(request, call)
                return reply
        except TimeoutError:
            if not limit.expired():
                raise  # a timeout inside the handler, not the caller's deadline
            raise DeadlineExceeded from None

    async def _decode(
        self, operation: Operation[Any, Any], headers: Headers, body: bytes, call: Call
    ) -> RequestModel:
        """Return the validated request. Raise `Invalid` if a field is invalid."""
        model: type[RequestModel] = operation.request
        if len(body) <= LARGE_BYTES or is_raw(model):
            return _decode_request(operation, headers, body)
        account = "" if call.caller is None else call.caller.user_id
        work = functools.partial(_decode_request, operation, headers, body)
        return await self._validations.run(account, work)

    async def _send_reply(self, message: Msg, reply: ReplyModel | Blob) -> None:
        headers: Headers = {}
        if isinstance(reply, Blob):
            content = reply.content
            headers[HEADER_MEDIA_TYPE] = reply.media_type
            if reply.filename is not None:
                headers[HEADER_FILENAME] = encode_filename(reply.filename)
            if reply.left_out is not None:
                headers[HEADER_LEFT_OUT] = reply.left_out
        else:
            content = reply.model_dump_json().encode()
            headers[HEADER_MEDIA_TYPE] = "application/json"
        await self._bus.respond(message.reply, content, headers)


def _codes_of(operation: Operation[Any, Any]) -> list[str]:
    """Return the outcomes of an operation, as its metric names them."""
    errors: set[type[SvgxError]] = {*operation.errors, Invalid, TooLarge, Internal}
    errors |= {Unavailable, Overloaded, DeadlineExceeded}
    return ["ok", *(error.code for error in errors)]


def _note_ids(request: RequestModel, call: Call) -> None:
    """Add the caller and the canvas to the span and the later log lines of this request."""
    ids: dict[str, str] = {}
    if call.caller is not None:
        ids["user_id"] = call.caller.user_id
    if names_canvas(type(request)):
        canvas_id = getattr(request, "canvas_id", None)
        if canvas_id is not None:
            ids["canvas_id"] = canvas_id
    use_ids(ids)
    note_ids(trace.get_current_span(), ids)


def _decode_request(operation: Operation[Any, Any], headers: Headers, body: bytes) -> RequestModel:
    """Return the validated request. Raise `Invalid` if a field is invalid."""
    model: type[RequestModel] = operation.request
    try:
        if is_raw(model):
            request = model.model_validate_json(headers.get(HEADER_PARAMS, "{}"))
            return request.model_copy(update={"content": body})
        return model.model_validate_json(body or b"{}")
    except ValidationError as error:
        raise from_validation(error) from None
