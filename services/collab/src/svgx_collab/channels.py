"""The channels of a held canvas: edits, sync requests and awareness from the gateways."""

import asyncio
import contextvars
import functools
import itertools
import time
from collections.abc import Awaitable, Callable
from typing import Any

import structlog
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from opentelemetry.trace import SpanContext, get_current_span
from prometheus_client import Counter

from svgx_canvas.document.faults import Fault
from svgx_collab.held_canvas import ALL_GATEWAYS, HeldCanvas, LinkReply, WaitingRequest
from svgx_collab.links.gateway_links import GatewayLinks, is_gateway_id
from svgx_collab.room import Receipt
from svgx_collab.turns import NOTHING_TAKEN, Ticket, receive_in_turns
from svgx_common.background import BackgroundTasks
from svgx_common.contract.collab import (
    CANVAS_AWARENESS,
    CANVAS_EDIT,
    CANVAS_SYNC,
    LINK_TO_REPLICA,
    AuthoredState,
    EditBatch,
    LinkBatch,
    LinkReceipt,
    Saved,
    SyncRequest,
)
from svgx_common.contract.errors import (
    BadRequest,
    Internal,
    Overloaded,
    SvgxError,
    TooLarge,
    Unavailable,
)
from svgx_common.contract.operation import Channel
from svgx_common.messaging.bus import Bus
from svgx_common.messaging.headers import (
    HEADER_BODY,
    HEADER_ELEMENTS,
    HEADER_GATEWAY,
    HEADER_PROBE,
)
from svgx_common.messaging.link_codec import decode_to_replica
from svgx_common.messaging.spans import BATCH_SIZE
from svgx_common.messaging.wire import decode, encode
from svgx_common.tracing import recorded_context
from svgx_yjs.awareness import State
from svgx_yjs.lib0 import Malformed

log = structlog.get_logger(__name__)

MAX_UNSAVED_BYTES = 64 * 1024 * 1024
"""Limit of a replica's uncommitted edits, in bytes. Beyond it, edits are refused until the state service commits."""

CHECK_SECONDS = 0.05
"""Seconds between two sums of the uncommitted bytes of all rooms. With many canvases, a sum takes a millisecond."""

TURN_SECONDS = 0.005
"""Time, in seconds, after which the replica interrupts the batches of one message to do its other work."""

SECONDS_PER_EDIT = 60e-6
"""Limit of a batch's processor time, in seconds for each of its edits. A batch may always take `TURN_SECONDS`.

Beyond the limit, the batch's remaining edits are applied in turns. A short edit needs 20 to 40 µs.
"""

MAX_QUEUED_BATCHES = 64
"""Largest number of batches of a canvas that wait for their turns.

Beyond it, gateways send further batches as requests, not over a link.
"""

EDITS = Counter("svgx_engine_collab_edits", "Edits received, including rejected edits.")
REJECTED = Counter(
    "svgx_engine_collab_rejected_edits",
    "Edits that were rejected: malformed, impossible to integrate, beyond a bound, or known to make a room fail.",
)

MESSAGES = Counter(
    "svgx_engine_collab_messages",
    "Messages of gateways to held canvases, by channel and outcome: `ok` or the error's code.",
    ["channel", "code"],
)
_CODES = (
    "ok",
    *(error.code for error in (BadRequest, Unavailable, Overloaded, TooLarge, Internal)),
)
for _channel, _code in itertools.product(("edit", "sync", "awareness", "link"), _CODES):
    MESSAGES.labels(_channel, _code)

Handler = Callable[[HeldCanvas, Msg], Awaitable[None]]


class Channels:
    """The handlers of the messages that gateways send to held canvases.

    `find` returns the held canvas with an id. `on_unsaved` is called with the id of a canvas that has unsaved edits.
    `start_discarding` stops holding a failed room, which must not be used any more.
    `unsaved_bytes` returns the bytes of uncommitted edits of the whole replica.
    """

    def __init__(
        self,
        bus: Bus,
        links: GatewayLinks,
        *,
        find: Callable[[str], HeldCanvas | None],
        on_unsaved: Callable[[str], None],
        start_discarding: Callable[[HeldCanvas, Fault], None],
        unsaved_bytes: Callable[[], int],
    ) -> None:
        self._bus = bus
        self._links = links
        self._find = find
        self.edits_taken = 0
        """The number of edits since the start, including rejected edits."""
        self._context = contextvars.copy_context()
        self._link: Subscription | None = None
        """The subscription to the messages of links, from the first canvas on."""
        self._link_lock = asyncio.Lock()
        self._waiting = BackgroundTasks()
        """The batches that wait for their turns, or are applied in turns."""
        self._on_unsaved = on_unsaved
        self._start_discarding = start_discarding
        self._unsaved_bytes = unsaved_bytes
        self._was_overloaded = False
        self._check_at = 0.0
        """Time of the next sum of the uncommitted bytes, in seconds of the monotonic clock."""

    async def subscribe(self, held: HeldCanvas) -> None:
        """Subscribe to the canvas's channels.

        NATS delivers the messages of a subscription one at a time, in the order of their arrival.
        """
        channels: tuple[tuple[Channel[Any], Handler], ...] = (
            (CANVAS_EDIT, self._start_edit),
            (CANVAS_SYNC, functools.partial(self._handle, "sync", CANVAS_SYNC, self._sync)),
            (
                CANVAS_AWARENESS,
                functools.partial(self._handle, "awareness", CANVAS_AWARENESS, self._awareness),
            ),
        )
        for channel, handler in channels:
            subject = channel.subject_of(canvas_id=held.room.canvas_id)
            callback = functools.partial(handler, held)
            held.subscriptions.append(await self._bus.connection.subscribe(subject, cb=callback))
        async with self._link_lock:
            if self._link is None:
                # The subscription outlives the canvas, so its log lines must not have the canvas's id.
                subscribing = asyncio.create_task(
                    self._subscribe_link(), context=self._context.copy()
                )
                self._link = await subscribing

    async def stop(self) -> None:
        """Cancel the batches that wait for their turns. Their gateways send them again to the next holder."""
        await self._waiting.stop()

    async def leave_link(self) -> None:
        """End the subscription to the messages of links, once every message that has arrived is answered.

        NATS then tells the gateways at once that no subscriber receives their messages.
        """
        async with self._link_lock:
            link, self._link = self._link, None
            if link is not None:
                await self._bus.leave([link])

    def continue_edit(self, held: HeldCanvas) -> None:
        """Start a task that continues the canvas's unfinished edit in turns, after the batches that wait already."""
        work = self._continue_edit(held, held.queue.join())
        self._waiting.start("continue an edit", work, context=held.context.copy())

    async def answer(self, request: WaitingRequest, revision: int, epoch: str) -> None:
        """Answer a request with committed edits. `epoch` is the epoch of the room that committed them."""
        rejected = request.receipt.rejected
        if isinstance(request.reply, LinkReply):
            reply = request.reply
            self._links.receipt(reply.gateway, LinkReceipt(reply.number, rejected, epoch))
        else:
            await self._bus.respond(request.reply, encode(Saved(revision, rejected, epoch)))

    async def refuse(self, request: WaitingRequest, error: SvgxError) -> None:
        """Refuse a request that cannot be committed.

        A gateway's link gets no error. The gateway repeats the batch as a request, and the response has the
        error.
        """
        if isinstance(request.reply, LinkReply):
            self._links.refuse(request.reply.gateway, request.reply.number, same_holder=False)
        else:
            await self._bus.refuse(request.reply, error)

    async def _subscribe_link(self) -> Subscription:
        subject = LINK_TO_REPLICA.subject_of(replica_id=self._bus.replica_id)
        return await self._bus.connection.subscribe(subject, cb=self._receive_link)

    async def _receive_link(self, message: Msg) -> None:
        """Take the edits and the awareness states of a gateway's message."""
        if message.headers and HEADER_PROBE in message.headers:
            return
        try:
            link = decode_to_replica(message.data)
            if not is_gateway_id(link.gateway):
                raise Malformed("the gateway's id is malformed")
        except Malformed as error:
            _series("link", BadRequest.code).inc()
            log.warning("a gateway's message cannot be decoded", detail=str(error))
            return
        _series("link", "ok").inc()
        now = time.monotonic()
        is_overloaded = self._is_overloaded(now)
        turn_ends = now + TURN_SECONDS
        batches = edits = 0
        for batch in link.batches:
            taken = await self._take_batch(link.gateway, batch, now, is_overloaded=is_overloaded)
            batches += taken > 0
            edits += taken
            now = time.monotonic()
            if now > turn_ends:
                await asyncio.sleep(0)
                now = time.monotonic()
                turn_ends = now + TURN_SECONDS
        # Count once for the message and not for each batch, because each count takes almost a microsecond.
        _series("edit", "ok").inc(batches)
        EDITS.inc(edits)
        for each in link.states:
            held = self._find(each.canvas_id)
            if held is not None:
                held.touch()
                try:
                    self._take_state(held, each.state, now)
                except Exception:
                    log.exception(
                        "an awareness state from a gateway could not be taken",
                        canvas_id=each.canvas_id,
                    )

    def _is_overloaded(self, now: float) -> bool:
        """Return whether too many bytes of edits wait to be saved."""
        if now >= self._check_at:
            self._check_at = now + CHECK_SECONDS
            self._was_overloaded = self._unsaved_bytes() > MAX_UNSAVED_BYTES
        return self._was_overloaded

    async def _take_batch(
        self, gateway: str, batch: LinkBatch, now: float, *, is_overloaded: bool
    ) -> int:
        """Apply a batch of a link. Its receipt is sent once the edits are committed.

        Return the number of edits, or 0 if the batch was refused or is applied in turns. `_take_in_turns` then counts
        the edits that are applied in turns.
        """
        held = self._find(batch.canvas_id)
        if held is None or not held.is_holding:
            self._links.refuse(gateway, batch.number, same_holder=False)
            return 0
        held.touch(now)
        if is_overloaded or len(held.queue) >= MAX_QUEUED_BATCHES:
            if is_overloaded:
                _series("edit", Overloaded.code).inc()
            self._links.refuse(gateway, batch.number, same_holder=True)
            return 0
        receipt = NOTHING_TAKEN
        try:
            if not held.queue and not held.room.seconds_until_edits:
                seconds = max(TURN_SECONDS, SECONDS_PER_EDIT * len(batch.edits))
                receipt = held.context.run(held.room.receive, batch.edits, seconds=seconds)
        except Exception as error:  # noqa: BLE001  # `_refuse_failed` logs unexpected errors
            self._refuse_failed(held, gateway, batch, error)
            return 0
        if receipt.taken < len(batch.edits) or held.room.is_unfinished:
            self._start_turns(held, gateway, batch, receipt)
            held.mark_changed()
            self._on_unsaved(batch.canvas_id)
            return 0
        await self._keep(held, receipt, LinkReply(gateway, batch.number), len(batch.edits))
        return len(batch.edits)

    def _start_turns(
        self, held: HeldCanvas, gateway: str, batch: LinkBatch, receipt: Receipt
    ) -> None:
        """Start a task that applies the rest of a batch in turns. `receipt` shows the edits that were taken already."""
        work = self._take_in_turns(held, held.queue.join(), gateway, batch, receipt)
        self._waiting.start("apply a batch of a link", work, context=held.context.copy())

    async def _take_in_turns(
        self, held: HeldCanvas, ticket: Ticket, gateway: str, batch: LinkBatch, receipt: Receipt
    ) -> None:
        """Apply a batch in turns. Its receipt is sent once the edits are committed."""
        try:
            async with held.queue.turn(ticket):
                receipt = await receive_in_turns(
                    held.room, batch.edits, lambda: held.must_stop_edits, receipt
                )
        except Exception as error:  # noqa: BLE001  # `_refuse_failed` logs unexpected errors
            self._refuse_failed(held, gateway, batch, error)
            return
        _series("edit", "ok").inc()
        EDITS.inc(len(batch.edits))
        await self._keep(held, receipt, LinkReply(gateway, batch.number), len(batch.edits))

    async def _continue_edit(self, held: HeldCanvas, ticket: Ticket) -> None:
        """Continue the canvas's unfinished edit in turns, unless an earlier batch has finished it."""
        try:
            async with held.queue.turn(ticket):
                await receive_in_turns(held.room, (), lambda: held.must_stop_edits)
        except Unavailable:
            return  # The next holder loads the edit from the journal.
        except Fault as fault:
            self._start_discarding(held, fault)
            return
        held.mark_changed()
        self._on_unsaved(held.room.canvas_id)

    def _refuse_failed(
        self, held: HeldCanvas, gateway: str, batch: LinkBatch, error: Exception
    ) -> None:
        """Refuse a batch of a link because of an error. Log an error that is not expected."""
        is_expected = isinstance(error, Fault | Unavailable)
        _series("edit", Unavailable.code if is_expected else Internal.code).inc()
        self._links.refuse(gateway, batch.number, same_holder=not is_expected)
        if isinstance(error, Fault):
            self._start_discarding(held, error)
        elif not is_expected:
            log.error("a batch of a link failed", canvas_id=batch.canvas_id, exc_info=error)

    async def _keep(
        self, held: HeldCanvas, receipt: Receipt, reply: LinkReply | str, count: int
    ) -> None:
        """Keep the request of an applied batch until its edits are committed, or answer now if they are committed."""
        self.edits_taken += count
        held.count_edits(count)
        if receipt.rejected:
            REJECTED.inc(len(receipt.rejected))
        held.mark_changed()
        if held.room.is_saved(receipt):
            await self.answer(WaitingRequest(receipt, reply), held.room.revision, held.room.epoch)
        else:
            held.add_waiting(receipt, reply)
            self._on_unsaved(held.room.canvas_id)

    async def _handle(
        self,
        name: str,
        channel: Channel[Any],
        handler: Handler,
        held: HeldCanvas,
        message: Msg,
    ) -> None:
        """Run a handler, and answer the request with an error when the handler fails."""
        held.touch()
        code = Internal.code
        try:
            with self._bus.spans.receive(channel, held.room.canvas_id, message.headers):
                await self._run(handler, held, message)
            code = "ok"
        except SvgxError as error:
            code = error.code
            await self._bus.refuse(message.reply, error)
        finally:
            _series(name, code).inc()

    async def _run(self, handler: Handler, held: HeldCanvas, message: Msg) -> None:
        """Run a handler. Raise an error of the contract when it fails."""
        try:
            await handler(held, message)
        except Malformed:
            raise BadRequest("the message cannot be decoded") from None
        except SvgxError:
            raise
        except Fault as fault:
            # In a task: the end of the room's subscriptions cancels this handler, before it can answer.
            self._start_discarding(held, fault)
            raise Unavailable("the canvas is being reopened") from None
        except Exception:
            log.exception("a channel's handler failed", subject=message.subject)
            raise Internal from None

    async def _start_edit(self, held: HeldCanvas, message: Msg) -> None:
        """Start a task that applies a batch of edits in turns, after all batches that have arrived before it.

        A large batch is pulled from its sender. It joins the queue only after the pull, so that other batches do not
        wait for the sender.
        """
        is_pulled = HEADER_BODY in (message.headers or {})
        handler = functools.partial(self._edit, None if is_pulled else held.queue.join())
        work = self._handle("edit", CANVAS_EDIT, handler, held, message)
        self._waiting.start("apply a batch of a request", work)

    async def _edit(self, ticket: Ticket | None, held: HeldCanvas, message: Msg) -> None:
        """Apply a batch of edits. The answer is sent once the edits are committed."""
        content = await self._bus.body(message) if ticket is None else message.data
        async with held.queue.turn(ticket or held.queue.join()):
            if self._is_overloaded(time.monotonic()):
                raise Overloaded(
                    "too many edits wait to be saved", retry_after=1.0, limit=MAX_UNSAVED_BYTES
                )
            edits = list(decode(EditBatch, content).edits)
            receipt = await receive_in_turns(held.room, edits, lambda: held.must_stop_edits)
        EDITS.inc(len(edits))
        origin = _note_edits(len(edits)) if message.headers else None
        if origin is not None:
            held.add_origin(receipt, origin)
        await self._keep(held, receipt, message.reply, len(edits))

    async def _sync(self, held: HeldCanvas, message: Msg) -> None:
        """Answer with the content that the sender's state vector lacks, and with the awareness states.

        A request without a state vector gets no content, because its sender has all content.
        """
        state_vector = decode(SyncRequest, await self._bus.body(message)).state_vector
        headers, now = message.headers or {}, time.monotonic()
        gateway = headers.get(HEADER_GATEWAY, "")
        # Add the gateway before the reply is made, so that the gateway misses no broadcast after the reply.
        held.add_gateway(gateway if is_gateway_id(gateway) else ALL_GATEWAYS, now)
        if HEADER_ELEMENTS in headers:
            held.observe_elements(now)
            held.mark_changed()
        awareness = held.participants.known_states()
        reply = (
            held.room.checkpoint(awareness)
            if state_vector is None
            else held.room.sync(state_vector, awareness)
        )
        await self._bus.respond(message.reply, encode(reply))

    async def _awareness(self, held: HeldCanvas, message: Msg) -> None:
        """Take a client's awareness state."""
        authored = decode(AuthoredState, await self._bus.body(message))
        self._take_state(held, authored, time.monotonic())

    def _take_state(self, held: HeldCanvas, authored: AuthoredState, now: float) -> None:
        state = State(authored.client, authored.clock, authored.json)
        held.participants.receive(authored.author, state, now, may_edit=bool(authored.may_edit))
        held.mark_changed()


@functools.cache
def _series(channel: str, code: str) -> Counter:
    """Return the time series of a channel and a code. Series are cached because `labels` is slow."""
    return MESSAGES.labels(channel, code)


def _note_edits(count: int) -> SpanContext | None:
    """Note the number of edits in the current span. Return the span's context, or None if the span is not recorded."""
    origin = recorded_context()
    if origin is not None:
        get_current_span().set_attribute(BATCH_SIZE, count)
    return origin
