"""The channels of a held canvas: edits, sync requests and awareness from the gateways."""

import functools
import itertools
import time
from collections.abc import Awaitable, Callable
from typing import Any

import structlog
from nats.aio.msg import Msg
from opentelemetry.trace import SpanContext, get_current_span
from prometheus_client import Counter

from svgx_canvas.document.shared_document import Fault
from svgx_collab.held_canvas import HeldCanvas
from svgx_collab.large_edits import check_large, wait_for_turn
from svgx_common.contract.collab import (
    CANVAS_AWARENESS,
    CANVAS_EDIT,
    CANVAS_SYNC,
    AuthoredState,
    EditBatch,
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
from svgx_common.messaging.spans import BATCH_SIZE
from svgx_common.messaging.wire import decode, encode
from svgx_common.tracing import recorded_context
from svgx_yjs.awareness import State
from svgx_yjs.lib0 import Malformed

log = structlog.get_logger(__name__)

MAX_UNSAVED = 64 * 1024 * 1024
"""Bytes of uncommitted edits that a replica keeps. Beyond it, edits are refused until state commits again."""

EDITS = Counter("svgx_engine_collab_edits", "Edits received, including rejected edits.")
REJECTED = Counter(
    "svgx_engine_collab_rejected_edits",
    "Edits that are malformed, cannot be integrated, or made a room fail before.",
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
for _channel, _code in itertools.product(("edit", "sync", "awareness"), _CODES):
    MESSAGES.labels(_channel, _code)

Handler = Callable[[HeldCanvas, Msg], Awaitable[None]]
OnFault = Callable[[HeldCanvas, Fault], Awaitable[None]]


class Channels:
    """The handlers of the messages that gateways send to held canvases.

    `on_unsaved` is called with the id of a canvas that has unsaved edits. `on_fault` is awaited when a room failed and
    must not be used any more. `unsaved_bytes` returns the bytes of uncommitted edits of the whole replica.
    """

    def __init__(
        self,
        bus: Bus,
        *,
        on_unsaved: Callable[[str], None],
        on_fault: OnFault,
        unsaved_bytes: Callable[[], int],
    ) -> None:
        self._bus = bus
        self._on_unsaved = on_unsaved
        self._on_fault = on_fault
        self._unsaved_bytes = unsaved_bytes

    async def subscribe(self, held: HeldCanvas) -> None:
        """Subscribe to the canvas's channels.

        NATS delivers the messages of a subscription one at a time, so edits are applied in the order of their arrival.
        """
        channels: tuple[tuple[str, Channel[Any], Handler], ...] = (
            ("edit", CANVAS_EDIT, self._edit),
            ("sync", CANVAS_SYNC, self._sync),
            ("awareness", CANVAS_AWARENESS, self._awareness),
        )
        for name, channel, handler in channels:
            subject = channel.subject_of(canvas_id=held.room.canvas_id)
            callback = functools.partial(self._handle, name, channel, handler, held)
            held.subscriptions.append(await self._bus.connection.subscribe(subject, cb=callback))

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
            await self._on_fault(held, fault)
            raise Unavailable("the canvas is being reopened") from None
        except Exception:
            log.exception("a channel's handler failed", subject=message.subject)
            raise Internal from None

    async def _edit(self, held: HeldCanvas, message: Msg) -> None:
        """Apply a batch of edits. The answer is sent once the edits are committed."""
        if self._unsaved_bytes() > MAX_UNSAVED:
            raise Overloaded("too many edits wait to be saved", retry_after=1.0, limit=MAX_UNSAVED)
        edits = list(decode(EditBatch, await self._bus.body(message)).edits)
        await wait_for_turn(held.room)
        checked = await check_large(held.room, edits)
        if held.is_released:
            raise Unavailable("this replica does not hold the canvas any more")
        receipt = held.room.receive(edits, checked)
        origin = _note_edits(len(edits)) if message.headers else None
        EDITS.inc(len(edits))
        REJECTED.inc(len(receipt.rejected))
        if origin is not None:
            held.add_origin(receipt, origin)
        held.mark_changed()
        if held.room.is_saved(receipt):
            saved = Saved(held.room.revision, receipt.rejected, held.room.epoch)
            await self._bus.respond(message.reply, encode(saved))
        else:
            held.add_waiting(receipt, message.reply)
            self._on_unsaved(held.room.canvas_id)

    async def _sync(self, held: HeldCanvas, message: Msg) -> None:
        """Answer with the content that the sender's state vector lacks, and with the awareness states.

        A request without a state vector gets no content, because its sender has all content.
        """
        state_vector = decode(SyncRequest, await self._bus.body(message)).state_vector
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
        state = State(authored.client, authored.clock, authored.json)
        held.participants.receive(
            authored.author, state, time.monotonic(), may_edit=bool(authored.may_edit)
        )
        held.mark_changed()


@functools.cache
def _series(channel: str, code: str) -> Counter:
    """Return the time series of a channel and a code. They are cached because `labels` is slow."""
    return MESSAGES.labels(channel, code)


def _note_edits(count: int) -> SpanContext | None:
    """Note the number of edits in the current span, and return its context, or None if it is not recorded."""
    origin = recorded_context()
    if origin is not None:
        get_current_span().set_attribute(BATCH_SIZE, count)
    return origin
