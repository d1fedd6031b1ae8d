"""The message bus: requests, broadcasts and listeners over NATS. `responder.py` answers the requests.

There are five ways to send. `ask` calls an operation and returns its reply; `forward` calls an operation and
returns the answer's bytes. `request` sends bytes to any subject and waits for the answer. `broadcast` sends a payload
to all listeners of a channel, and `publish` sends bytes to all listeners of a subject; neither waits for an answer.
"""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import structlog
from nats.aio.client import Client as NatsClient
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError
from nats.errors import NoRespondersError
from opentelemetry import trace

from svgx_common.background import BackgroundTasks
from svgx_common.configuration.server_urls import parse_nats
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
    Channel,
    Operation,
    Payload,
    Reply,
    ReplyModel,
    Request,
    RequestModel,
    is_raw,
)
from svgx_common.contract.transport import echo_subject, inbox_prefix, is_inbox
from svgx_common.health import NotUsable
from svgx_common.messaging.blobs import MAX_PULLED_BYTES, PIECE_BYTES, Blobs, too_large
from svgx_common.messaging.caller import Caller, Client
from svgx_common.messaging.connection import (
    ConnectionEvents,
    NatsConnection,
    on_drop,
    sign_in_with,
)
from svgx_common.messaging.headers import (
    HEADER_BODY,
    HEADER_CALLER,
    HEADER_CLIENT,
    HEADER_DEADLINE,
    HEADER_ERROR,
    HEADER_LEFT_OUT,
    HEADER_MEDIA_TYPE,
    HEADER_PARAMS,
    HEADER_PROBE,
    Headers,
    decode_filename,
    encode_deadline,
)
from svgx_common.messaging.repetition import Repetition
from svgx_common.messaging.round_trips import RoundTrips
from svgx_common.messaging.spans import Batch, MessageSpans
from svgx_common.messaging.wire import encode_payload
from svgx_common.nats_server.nkeys import UserKey
from svgx_common.timing.bounded_wait import wait_at_most
from svgx_common.tracing import NO_SPAN, inject_trace, note_exception

log = structlog.get_logger(__name__)

MAX_UNSENT_BYTES = 64 * 1024 * 1024
"""Maximum number of bytes that wait to be sent while NATS is not reachable. Beyond it, sending raises `Unavailable`."""

Listener = Callable[[str, bytes], Awaitable[None]]
"""A callback that gets the subject and the content of a message."""

SpanOfMessage = Callable[[Mapping[str, str]], AbstractContextManager[object]]
"""A function that returns the span of a message with these headers."""


CHECK_SECONDS = 1.5
"""Time limit for NATS to deliver the message of a health check, in seconds."""

RECONNECT_WAIT_SECONDS = 1.0
"""Time in which requests wait for NATS, in seconds. It begins with the first request that finds NATS unreachable.

After this time, requests fail immediately until NATS is reachable.
"""


class NoResponders(Unavailable):
    """No service answers this request at the moment."""


class BusUnreachable(Unavailable):
    """The message bus is not reachable at the moment; try again."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The bytes and headers of an answer."""

    content: bytes
    headers: Headers


class Bus:
    """A connection to NATS that survives restarts of the server. `connect` returns an open bus."""

    def __init__(self, connection: NatsClient, service: str, replica_id: str) -> None:
        self.connection = connection
        self.service = service
        self.replica_id = replica_id
        self.blobs = Blobs(connection, service, replica_id)
        self.spans = MessageSpans(connection)
        self._events = ConnectionEvents(connection, service)
        self._echo_subject = echo_subject(service, replica_id)
        self._round_trips = RoundTrips(connection, self._echo_subject, self._events.reconnected.set)
        self._events.disconnect_callbacks.append(self._round_trips.note_disconnect)
        self._events.early_reconnect_callbacks.append(self._round_trips.note_reconnect)
        self._unreachable_since: float | None = None
        self._repetition = Repetition()
        self._background = BackgroundTasks()

    @classmethod
    async def connect(cls, url: str, service: str, replica_id: str, *, seed: str = "") -> "Bus":
        """Return a bus that is connected (see `open`)."""
        bus = cls(NatsConnection(), service, replica_id)
        await bus.open(url, seed=seed)
        return bus

    async def open(self, url: str, *, seed: str = "") -> None:
        """Connect to NATS, and wait until the server is up. `url` is a `NATS_URL` (see `server_urls.parse_nats`).

        The client also tries again after a server has refused the credentials, because an operator may change the
        server's users later. With the seed of an NKey, the client answers the server's challenge with a signature.

        A server that does not answer is noticed within 4 s (see `round_trips`). Within 9 s the client gives the
        connection up (it sends a ping every 3 s, and two may stay unanswered). It then tries to reconnect until it
        succeeds.
        """
        connection = self.connection
        servers = parse_nats(url)
        key = UserKey.from_seed(seed) if seed else None
        if key is not None:
            self._events.credentials_setting = "NATS_NKEY_SEED"
        await connection.connect(
            list(servers.urls),
            user=servers.user,
            password=servers.password,
            token=servers.token,
            signature_cb=sign_in_with(connection, key),
            name=f"svgx-{self.service}-{self.replica_id}",
            max_reconnect_attempts=-1,
            reconnect_time_wait=0.2,  # type: ignore[arg-type]  # a fraction of a second works
            ping_interval=3,
            max_outstanding_pings=2,
            connect_timeout=2,
            pending_size=MAX_UNSENT_BYTES,
            drain_timeout=30,
            inbox_prefix=inbox_prefix(self.service),
            error_cb=self._events.on_error,
            disconnected_cb=self._events.on_disconnect,
            reconnected_cb=self._events.on_reconnect,
            closed_cb=self._events.on_close,
        )
        self._events.forget_errors()
        self._events.show_queues()
        await self.blobs.start()
        await connection.subscribe(self._echo_subject, cb=self._answer_echo)
        self._background.repeat("round trips to nats", self._round_trips.watch)

    @property
    def connected(self) -> bool:
        """True while there is a connection, even if the server does not answer on it."""
        return self.connection.is_connected

    @property
    def reachable(self) -> bool:
        """True while there is a connection and the server answers."""
        return self._round_trips.reachable

    async def check(self) -> None:
        """Send a message to this connection itself, and return when it has arrived.

        Raise `NotUsable` if it does not arrive.
        """
        if not self.connected:
            refused = f"refuses the credentials of {self._events.credentials_setting}"
            raise NotUsable(refused if self._events.refuses_credentials else "is not connected")
        try:
            await self.request(self._echo_subject, b"", timeout=CHECK_SECONDS)
        except (Unavailable, DeadlineExceeded):
            raise NotUsable("does not answer") from None

    async def wait_connected(self, seconds: float) -> None:
        """Wait until the server is reachable, at most `seconds`.

        Messages that are published while the server is not reachable wait in the outgoing buffer.
        """
        if not self.reachable:
            self._events.reconnected.clear()
            await wait_at_most(self._events.reconnected, seconds)

    async def wait_closed(self) -> None:
        """Wait until the connection has closed for good: nats-py does not reconnect after some errors of the server."""
        await self._events.closed.wait()

    async def settle(self) -> None:
        """Return when the server has processed all subscriptions, unsubscriptions and messages sent so far.

        Raise `BusUnreachable` while the server is not reachable, and when the connection is lost. Unlike `request`,
        this method does not wait for a new connection, because messages that were sent on the old one may be lost.

        nats-py's `flush` does not guarantee this, because its PING overtakes the outgoing buffer.
        """
        if not self.reachable:
            raise BusUnreachable
        await self.request(self._echo_subject, b"", timeout=10)

    async def leave(self, subscriptions: Sequence[Subscription]) -> None:
        """End subscriptions. Return when every message that the server has sent for them has reached its callback.

        nats-py's own drain sends UNSUB and a PING, and forgets the subscription at the PONG. The PING may overtake the
        UNSUB (see `settle`), so requests that arrive after the PONG would be lost.

        The subscriptions also end when NATS is not reachable. Messages that wait for their callbacks are then dropped.
        """
        try:
            if self.connected:
                for subscription in subscriptions:
                    await self.connection._send_unsubscribe(subscription._id)  # noqa: SLF001
                await self.settle()
                for subscription in subscriptions:
                    await subscription.drain()  # type: ignore[no-untyped-call]
        finally:
            for subscription in subscriptions:
                await self._end(subscription)

    def on_reconnect(self, callback: Callable[[], Awaitable[None]]) -> None:
        """Call `callback` after every reconnect, because broadcasts may have been missed."""
        self._events.reconnect_callbacks.append(callback)

    async def ask(
        self,
        operation: Operation[Request, Reply],
        request: Request,
        *,
        caller: Caller | None = None,
        client: Client | None = None,
        timeout: float | None = None,
        batch: Batch | None = None,
    ) -> Reply:
        """Call an operation and return its reply.

        `timeout` is in seconds and defaults to the operation's. Within it, a repeatable operation is sent again when no
        answer comes. `batch` describes the parts of the request for its span.

        Raise the service's own error, `NoResponders`, `DeadlineExceeded` or `BusUnreachable`. Raise `Overloaded` when
        too many bytes of large requests wait to be pulled.
        """
        answer = await self.forward(
            operation, request, caller=caller, client=client, timeout=timeout, batch=batch
        )
        if issubclass(operation.reply, ReplyModel):
            return operation.reply.model_validate_json(answer.content)
        media_type = answer.headers.get(HEADER_MEDIA_TYPE, "application/octet-stream")
        # Reply is Blob here, but mypy does not narrow type variables.
        return Blob(  # type: ignore[return-value]
            answer.content,
            media_type,
            decode_filename(answer.headers),
            answer.headers.get(HEADER_LEFT_OUT),
        )

    async def forward(
        self,
        operation: Operation[Any, Any],
        request: RequestModel,
        *,
        caller: Caller | None = None,
        client: Client | None = None,
        timeout: float | None = None,
        batch: Batch | None = None,
    ) -> Answer:
        """Call an operation and return the answer's bytes without parsing them. Raise the same errors as `ask`."""
        if timeout is None:
            timeout = operation.timeout
        headers: Headers = {HEADER_DEADLINE: encode_deadline(timeout)}
        if caller is not None:
            headers[HEADER_CALLER] = caller.to_header()
        if client is not None:
            headers[HEADER_CLIENT] = client.to_header()
        # Fields with their default values are not sent, because a replica of an earlier version refuses fields that it
        # does not know.
        if is_raw(type(request)):
            content: bytes = getattr(request, "content")  # noqa: B009  # `RawRequest` has it
            fields = request.model_dump(mode="json", exclude_defaults=True)
            headers[HEADER_PARAMS] = json.dumps(fields)  # in ASCII
        else:
            content = request.model_dump_json(exclude_defaults=True).encode()
        with self.spans.ask(operation, batch):
            inject_trace(headers)
            if not operation.repeatable:
                return await self.request(operation.subject, content, headers, timeout=timeout)
            return await self._repetition.first_answer(
                lambda seconds: self.request(operation.subject, content, headers, timeout=seconds),
                timeout,
            )

    async def request(
        self, subject: str, content: bytes, headers: Headers | None = None, *, timeout: float
    ) -> Answer:
        """Send bytes to `subject` and return the answer. Raise the same errors as `ask`.

        Edits use this method, because it is faster than `ask`: it records no span and adds no caller, client or
        deadline to the headers. When the connection is lost, all requests in flight fail immediately, because their
        answers cannot arrive any more.
        """
        if len(content) > PIECE_BYTES:
            with self.blobs.offer(content) as reference:
                return await self._exchange(
                    subject, b"", {**(headers or {}), HEADER_BODY: reference}, timeout
                )
        return await self._exchange(subject, content, headers, timeout)

    async def broadcast(
        self,
        channel: Channel[Payload],
        payload: Payload,
        headers: Headers | None = None,
        **parameters: str,
    ) -> None:
        """Publish a payload on a channel, in the channel's codec. Raise the same errors as `publish`.

        `parameters` are the parameters of the channel's subject.
        """
        subject = channel.subject_of(**parameters)
        await self.publish(subject, encode_payload(payload), headers=headers)

    async def publish(
        self, subject: str, content: bytes, *, reply: str = "", headers: Headers | None = None
    ) -> None:
        """Send bytes to all current listeners of `subject`, without waiting for them. Answers go to `reply`.

        Raise `Unavailable` when too many bytes wait to be sent or pulled.
        """
        try:
            if len(content) > PIECE_BYTES:
                headers, content = (
                    {**(headers or {}), HEADER_BODY: self.blobs.offer_for_a_while(content)},
                    b"",
                )
            await self.connection.publish(subject, content, reply=reply, headers=headers)
        except Overloaded as error:
            raise Unavailable(error.detail) from error
        except NatsError as error:
            raise BusUnreachable from error

    async def listen(
        self,
        subject: str,
        listener: Listener,
        *,
        lost: Callable[[], None] | None = None,
        span: SpanOfMessage | None = None,
    ) -> Subscription:
        """Call `listener(subject, content)` for each message, one at a time and in order.

        `lost()` is called instead for a message with a large body that cannot be pulled from its sender, and for a
        message that is dropped because too many messages wait. A failure of the listener is logged, and the next
        message follows. `span` returns the span of a message with headers.
        """

        async def deliver(message: Msg) -> None:
            if message.headers and HEADER_PROBE in message.headers:
                return
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
                # The listener awaited a task that was cancelled. If the error were raised here, nats-py would end the
                # whole subscription.
                log.exception("a listener failed", subject=subject)
            except Exception as error:
                note_exception(trace.get_current_span(), error)
                log.exception("a listener failed", subject=subject)

        async def deliver_in_span(message: Msg) -> None:
            with span(message.headers) if span and message.headers else NO_SPAN:
                await deliver(message)

        subscription = await self.connection.subscribe(
            subject, cb=deliver if span is None else deliver_in_span
        )
        if lost is not None:
            on_drop(subscription, lost)
        return subscription

    async def body(self, message: Msg, *, limit: int = MAX_PULLED_BYTES) -> bytes:
        """Return a message's body, which is pulled from the sender when it was too large for the message.

        Raise `TooLarge` for more than `limit` bytes, before anything is pulled.
        """
        reference = (message.headers or {}).get(HEADER_BODY)
        if reference is not None:
            return await self.blobs.pull(reference, limit=limit)
        if len(message.data) > limit:
            raise too_large(len(message.data), limit)
        return message.data

    async def respond(self, reply: str, content: bytes, headers: Headers | None = None) -> None:
        """Answer the request that has this reply subject. Do nothing if `reply` is not an inbox.

        A large answer stays available until it is pulled, for `blobs.OFFER_SECONDS` at most. Raise `Overloaded` if
        too many bytes wait to be pulled. An error of NATS is only logged.
        """
        if not is_inbox(reply):
            return
        if len(content) > PIECE_BYTES:
            headers, content = (
                {**(headers or {}), HEADER_BODY: self.blobs.offer_for_a_while(content, once=True)},
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
        """Send the outgoing buffer and disconnect."""
        self._events.closing = True
        await self._background.stop()
        if self.connection.is_connected:
            try:
                await self.connection.flush(timeout=2)
            except (NatsError, TimeoutError):
                log.warning("the last messages may not have reached nats")
        try:
            await self.connection.close()
        except (RuntimeError, OSError):
            # nats-py writes the outgoing buffer even to a lost connection. The type of the error depends on the event
            # loop.
            log.warning("the last messages may not have reached nats")

    async def _end(self, subscription: Subscription) -> None:
        """End a subscription, unless it was drained. A later reconnect does not subscribe again.

        nats-py keeps a subscription when its drain fails, and then refuses to end it. A reconnect may have subscribed
        again already, so an UNSUB is sent on the present or the next connection.
        """
        connection, number = self.connection, subscription._id  # noqa: SLF001
        if number in connection._subs:  # noqa: SLF001
            subscription._closed = True  # noqa: SLF001
            subscription._stop_processing()  # noqa: SLF001
            connection._remove_sub(number)  # noqa: SLF001
            await connection._send_unsubscribe(number)  # noqa: SLF001

    async def _exchange(
        self, subject: str, content: bytes, headers: Headers | None, timeout: float
    ) -> Answer:
        """Send a message of at most `PIECE_BYTES`, and return its answer."""
        await self._require_reachable(timeout)
        try:
            async with asyncio.timeout(timeout):
                message = await self.connection.request(
                    subject,
                    content,
                    timeout=None,  # type: ignore[arg-type]  # `asyncio.timeout` is enough
                    headers=headers,
                )
                body = await self.body(message)
        except NoRespondersError:
            raise NoResponders from None
        except TimeoutError:
            raise DeadlineExceeded from None
        except NatsError as error:
            raise BusUnreachable from error
        answer_headers = message.headers or {}
        if HEADER_ERROR in answer_headers:
            raise _decode_error(body)
        return Answer(body, answer_headers)

    async def _require_reachable(self, timeout: float) -> None:
        """Wait until NATS is reachable. Raise `BusUnreachable` otherwise.

        The wait ends at the latest `RECONNECT_WAIT_SECONDS` after the first request that found NATS unreachable.
        """
        if self.reachable:
            self._unreachable_since = None
            return
        now = time.monotonic()
        if self._unreachable_since is None:
            self._unreachable_since = now
        await self.wait_connected(
            min(timeout, self._unreachable_since + RECONNECT_WAIT_SECONDS - now)
        )
        if not self.reachable:
            raise BusUnreachable

    async def _answer_echo(self, message: Msg) -> None:
        await self.respond(message.reply, message.data)


def _being_cancelled() -> bool:
    """Return whether the current task itself is being cancelled."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _decode_error(content: bytes) -> SvgxError:
    try:
        return from_body(ErrorBody.model_validate_json(content))
    except ValueError:
        return Unavailable("a service answered with an error that cannot be read")
