"""The caller's side of the message bus: ask, publish, listen over NATS. `responder.py` is the answering side."""

import asyncio
import contextlib
import json
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError
from nats.errors import NoRespondersError, SlowConsumerError
from opentelemetry import propagate, trace

from svgx_common import metrics
from svgx_common.contract.errors import (
    DeadlineExceeded,
    ErrorBody,
    Overloaded,
    SvgxError,
    Unavailable,
    from_body,
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
from svgx_common.contract.transport import echo_subject, inbox_prefix, is_inbox
from svgx_common.messaging import caller as callers
from svgx_common.messaging.blobs import MAX_PULLED, PIECE, Blobs, too_large
from svgx_common.messaging.caller import Caller
from svgx_common.tracing import client_span

log = structlog.get_logger(__name__)
tracer = trace.get_tracer("svgx.bus")

HEADER_DEADLINE = "Svgx-Deadline"
"""Unix time in milliseconds after which nobody waits for the answer."""
HEADER_CALLER = "Svgx-Caller"
HEADER_CLIENT = "Svgx-Client"
HEADER_PARAMS = "Svgx-Params"
"""The JSON of a request whose payload is its raw content."""
HEADER_BODY = "Svgx-Body"
"""Where to pull the body from, when it is too large for the message."""
HEADER_ERROR = "Svgx-Error"
"""The error's code; the payload is an `ErrorBody`."""
HEADER_MEDIA_TYPE = "Content-Type"
HEADER_FILENAME = "Svgx-Filename"

PENDING = 64 * 1024 * 1024
"""Bytes that wait to be sent while the server is away; past that, sending fails."""

DROP_REPORT = 10.0
"""Seconds between two log lines about dropped messages; the metric counts each."""

Headers = dict[str, str]
Listener = Callable[[str, bytes], Awaitable[None]]


class NoResponders(Unavailable):
    """Nobody answers this subject at the moment."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer's bytes as they came."""

    content: bytes
    headers: Headers


class Bus:
    """A connection to NATS that outlives the server's restarts."""

    def __init__(self, connection: Client, service: str, replica_id: str) -> None:
        self.connection = connection
        self.service = service
        self.replica_id = replica_id
        self.blobs = Blobs(connection, service, replica_id)
        self._on_reconnect: list[Callable[[], Awaitable[None]]] = []
        self._reported: set[type[Exception]] = set()
        self._drop_reported = -DROP_REPORT
        self._back = asyncio.Event()
        self._gone = asyncio.Event()
        self._echo = echo_subject(service, replica_id)
        self._closing = False

    @classmethod
    async def connect(cls, url: str, service: str, replica_id: str) -> "Bus":
        """Connect, waiting as long as it takes for the server to come up. `url` may be several, separated by commas.

        Dead peers are noticed within 30 s (10 s pings, two may stay out), and reconnecting never gives up.
        """
        connection = Client()
        bus = cls(connection, service, replica_id)
        await connection.connect(
            url.split(","),
            name=f"svgx-{service}-{replica_id}",
            max_reconnect_attempts=-1,
            reconnect_time_wait=0.2,  # type: ignore[arg-type]  # a fraction of a second works
            ping_interval=10,
            max_outstanding_pings=2,
            connect_timeout=2,
            pending_size=PENDING,
            drain_timeout=30,
            inbox_prefix=inbox_prefix(service),
            error_cb=bus._errored,
            disconnected_cb=bus._disconnected,
            reconnected_cb=bus._reconnected,
            closed_cb=bus._closed,
        )
        bus._reported.clear()
        await bus.blobs.start()
        await connection.subscribe(bus._echo, cb=bus._answer_echo)
        return bus

    @property
    def connected(self) -> bool:
        """Whether the server is reachable at the moment."""
        return self.connection.is_connected

    async def wait_connected(self, seconds: float) -> None:
        """Wait until the server is reachable, for so long at most: what is sent before only fills the buffer."""
        if not self.connected:
            self._back.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._back.wait()

    async def wait_gone(self) -> None:
        """Wait until the connection has ended for good: nats-py does not reconnect after each of a server's errors."""
        await self._gone.wait()

    async def settle(self) -> None:
        """Return when the server knows every subscription made so far.

        nats-py's `flush` does not tell: its PING goes ahead of what is still in the outgoing buffer.
        """
        await self.request(self._echo, b"", timeout=10)

    async def leave(self, subscriptions: Sequence[Subscription]) -> None:
        """End subscriptions; returns when everything the server has sent for them has reached its callback.

        nats-py's own drain asks for the end and forgets the subscription when a PING is answered, which may overtake
        what it asked (see `settle`): requests that still come are lost.
        """
        if not self.connected:
            for each in subscriptions:
                await each.unsubscribe()  # nothing is sent; a reconnect does not subscribe again
            return
        for each in subscriptions:
            await self.connection._send_unsubscribe(each._id)  # noqa: SLF001
        try:
            await self.settle()
        finally:
            for each in subscriptions:
                await each.drain()  # type: ignore[no-untyped-call]

    def on_reconnect(self, callback: Callable[[], Awaitable[None]]) -> None:
        """Call `callback` after every reconnect: broadcasts may have been missed."""
        self._on_reconnect.append(callback)

    async def ask(
        self,
        operation: Operation[Request, Reply],
        request: Request,
        *,
        caller: Caller | None = None,
        client: callers.Client | None = None,
        timeout: float | None = None,
    ) -> Reply:
        """Call an operation and wait for its reply. Raises what the service raised, or `Unavailable` and kin."""
        answer = await self.forward(
            operation, request, caller=caller, client=client, timeout=timeout
        )
        if issubclass(operation.reply, ReplyModel):
            return operation.reply.model_validate_json(answer.content)
        media_type = answer.headers.get(HEADER_MEDIA_TYPE, "application/octet-stream")
        # Reply is Blob here; mypy narrows no type variable.
        return Blob(answer.content, media_type, answer.headers.get(HEADER_FILENAME))  # type: ignore[return-value]

    async def forward(
        self,
        operation: Operation[Any, Any],
        request: RequestModel,
        *,
        caller: Caller | None = None,
        client: callers.Client | None = None,
        timeout: float | None = None,
    ) -> Answer:
        """Call an operation and return the answer's bytes as they came. Raises as `ask` does."""
        if isinstance(request, RawRequest):
            params, content = _ascii_json(request), request.content
        else:
            params, content = None, request.model_dump_json().encode()
        return await self.call(
            operation.subject,
            content,
            caller=caller.header() if caller else None,
            client=client.header() if client else None,
            params=params,
            timeout=operation.timeout if timeout is None else timeout,
        )

    async def call(
        self,
        subject: str,
        content: bytes,
        *,
        caller: str | None = None,
        client: str | None = None,
        params: str | None = None,
        timeout: float,
    ) -> Answer:
        """Send bytes to whoever answers `subject` and return the answer's bytes. `timeout` is in seconds."""
        headers: Headers = {HEADER_DEADLINE: str(int((time.time() + timeout) * 1000))}
        if caller is not None:
            headers[HEADER_CALLER] = caller
        if client is not None:
            headers[HEADER_CLIENT] = client
        if params is not None:
            headers[HEADER_PARAMS] = params
        with client_span(tracer, f"ask {subject}"):
            propagate.inject(headers)
            return await self.request(subject, content, headers, timeout=timeout)

    async def request(
        self, subject: str, content: bytes, headers: Headers | None = None, *, timeout: float
    ) -> Answer:
        """`call` without span, caller and deadline: for the hot path."""
        if len(content) > PIECE:
            with self.blobs.offer(content) as reference:
                return await self._exchange(
                    subject, b"", {**(headers or {}), HEADER_BODY: reference}, timeout
                )
        return await self._exchange(subject, content, headers, timeout)

    async def publish(self, subject: str, content: bytes) -> None:
        """Send to whoever listens now. Raises `Unavailable` when too much waits to be sent."""
        headers = None
        try:
            if len(content) > PIECE:
                headers, content = {HEADER_BODY: self.blobs.linger(content)}, b""
            await self.connection.publish(subject, content, headers=headers)
        except Overloaded as error:
            raise Unavailable(error.detail) from error
        except NatsError as error:
            raise Unavailable("the message bus is not reachable") from error

    async def listen(
        self, subject: str, listener: Listener, *, lost: Callable[[], None] | None = None
    ) -> Subscription:
        """Call `listener(subject, content)` for each message, one after the other, in the order they came.

        `lost()` is called instead for a message whose body could not be pulled from its sender.
        """

        async def deliver(message: Msg) -> None:
            try:
                try:
                    content = await self.body(message)
                except SvgxError:
                    if lost is not None:
                        lost()
                    raise
                await listener(message.subject, content)
            except asyncio.CancelledError:
                if _being_cancelled():
                    raise
                # Something the listener waited for was cancelled: nats-py would end the whole subscription.
                log.exception("a listener failed", subject=subject)
            except Exception:
                log.exception("a listener failed", subject=subject)

        return await self.connection.subscribe(subject, cb=deliver)

    async def body(self, message: Msg, *, limit: int = MAX_PULLED) -> bytes:
        """A message's payload, pulled from its sender when it was too large to travel inside.

        Raises `TooLarge` past `limit` bytes, before anything is pulled.
        """
        reference = (message.headers or {}).get(HEADER_BODY)
        if reference is not None:
            return await self.blobs.pull(reference, limit=limit)
        if len(message.data) > limit:
            raise too_large(len(message.data), limit)
        return message.data

    async def respond(self, reply: str, content: bytes, headers: Headers | None = None) -> None:
        """Answer the request with this reply subject; a large answer stays available until it has been pulled."""
        if not is_inbox(reply):
            return
        if len(content) > PIECE:
            headers, content = (
                {**(headers or {}), HEADER_BODY: self.blobs.linger(content, once=True)},
                b"",
            )
        try:
            await self.connection.publish(reply, content, headers=headers)
        except NatsError as error:
            log.warning("an answer could not be sent", error=type(error).__name__)

    async def refuse(self, reply: str, error: SvgxError) -> None:
        """Answer a request with an error."""
        content = error.body().model_dump_json(exclude_none=True).encode()
        await self.respond(reply, content, {HEADER_ERROR: error.code})

    async def close(self) -> None:
        """Flush and disconnect."""
        self._closing = True
        if self.connection.is_connected:
            try:
                await self.connection.flush(timeout=2)
            except (NatsError, TimeoutError):
                log.warning("nats did not take the last messages")
        try:
            await self.connection.close()
        except (RuntimeError, OSError):
            # nats-py writes what waits to a connection that is away; how that fails is the event loop's choice.
            log.warning("nats did not take the last messages")

    async def _exchange(
        self, subject: str, content: bytes, headers: Headers | None, timeout: float
    ) -> Answer:
        if not self.connected and self.connection.pending_data_size + len(content) > PENDING:
            # nats-py would refuse too, but never forget the answer it then waits for.
            raise Unavailable("the message bus is not reachable")
        try:
            async with asyncio.timeout(timeout):
                message = await self.connection.request(
                    subject,
                    content,
                    timeout=None,  # type: ignore[arg-type]  # one clock is enough, and it is around this
                    headers=headers,
                )
                body = await self.body(message)
        except NoRespondersError:
            raise NoResponders from None
        except TimeoutError:
            raise DeadlineExceeded from None
        except NatsError as error:
            raise Unavailable("the message bus is not reachable") from error
        received = message.headers or {}
        if HEADER_ERROR in received:
            raise _error(body)
        return Answer(body, received)

    async def _answer_echo(self, message: Msg) -> None:
        await self.respond(message.reply, message.data)

    async def _errored(self, error: Exception) -> None:
        if isinstance(error, SlowConsumerError):
            metrics.BUS_DROPPED.labels(self.service).inc()
            if time.monotonic() - self._drop_reported < DROP_REPORT:
                return
            self._drop_reported = time.monotonic()
        elif not self.connected:
            # One line an outage and kind: nats-py reports every attempt to connect.
            if type(error) not in self._reported:
                log.warning(
                    "nats is not reachable; trying until it is",
                    error=type(error).__name__,
                    detail=str(error),
                )
            self._reported.add(type(error))
            return
        log.warning("nats error", error=type(error).__name__, detail=str(error))

    async def _disconnected(self) -> None:
        self._back.clear()
        if not self._closing:
            log.warning("nats disconnected")

    async def _reconnected(self) -> None:
        self._back.set()
        self._reported.clear()
        log.info("nats reconnected")
        for callback in self._on_reconnect:
            try:
                await callback()
            except Exception:
                log.exception("a callback failed after reconnecting to nats")

    async def _closed(self) -> None:
        if not self._closing:
            log.error("nats closed the connection for good", error=str(self.connection.last_error))
        self._gone.set()


def _being_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _ascii_json(request: RawRequest) -> str:
    return json.dumps(request.model_dump(mode="json"))


def _error(content: bytes) -> SvgxError:
    try:
        return from_body(ErrorBody.model_validate_json(content))
    except ValueError:
        return Unavailable("a service answered with an error that cannot be read")
