"""What a held canvas listens to: edits, sync requests and awareness from the gateways."""

import functools
import time
from collections.abc import Awaitable, Callable

import structlog
from nats.aio.msg import Msg
from prometheus_client import Counter

from svgx_canvas.document.shared_document import Fault
from svgx_collab.held_canvas import HeldCanvas
from svgx_common.contract import subjects
from svgx_common.contract.errors import (
    BadRequest,
    Internal,
    Overloaded,
    SvgxError,
    Unavailable,
)
from svgx_common.contract.subjects import CanvasChannel
from svgx_common.messaging.bus import Bus
from svgx_common.messaging.wire import (
    Saved,
    decode_authored_state,
    decode_edits,
    decode_sync_request,
    encode_saved,
    encode_sync_reply,
)
from svgx_yjs.lib0 import Malformed

log = structlog.get_logger(__name__)

MAX_UNSAVED = 64 * 1024 * 1024
"""Bytes of uncommitted edits a replica keeps while state does not commit; past it edits are refused for now."""

EDITS = Counter("svgx_engine_collab_edits", "Edits applied.")
REJECTED = Counter("svgx_engine_collab_rejected_edits", "Edits that were no Yjs update.")

Serve = Callable[[HeldCanvas, Msg], Awaitable[None]]
Broken = Callable[[HeldCanvas, Fault], Awaitable[None]]


class Channels:
    """Serves the channels of held canvases.

    `changed` is told of a canvas with unsaved edits, `broken` of a room that cannot be used any more, and why.
    """

    def __init__(
        self,
        bus: Bus,
        *,
        changed: Callable[[str], None],
        broken: Broken,
        unsaved_bytes: Callable[[], int],
    ) -> None:
        self._bus = bus
        self._changed = changed
        self._broken = broken
        self._unsaved_bytes = unsaved_bytes

    async def subscribe(self, held: HeldCanvas) -> None:
        """Listen. NATS hands over one message at a time, so a canvas's edits are applied in the order they came."""
        channels: tuple[tuple[CanvasChannel, Serve], ...] = (
            ("edit", self._edit),
            ("sync", self._sync),
            ("awareness", self._awareness),
        )
        for channel, serve in channels:
            subject = subjects.canvas(held.room.canvas_id, channel)
            callback = functools.partial(self._guarded, serve, held)
            held.subscriptions.append(await self._bus.connection.subscribe(subject, cb=callback))

    async def _guarded(self, serve: Serve, held: HeldCanvas, message: Msg) -> None:
        held.touch()
        try:
            await serve(held, message)
        except Malformed:
            await self._bus.refuse(message.reply, BadRequest("the message cannot be decoded"))
        except SvgxError as error:
            await self._bus.refuse(message.reply, error)
        except Fault as fault:
            await self._broken(held, fault)
            await self._bus.refuse(message.reply, Unavailable("the canvas is being opened anew"))
        except Exception:
            log.exception("a channel failed", subject=message.subject)
            await self._bus.refuse(message.reply, Internal())

    async def _edit(self, held: HeldCanvas, message: Msg) -> None:
        if self._unsaved_bytes() > MAX_UNSAVED:
            raise Overloaded("too much is waiting to be saved", retry_after=1.0, limit=MAX_UNSAVED)
        edits = decode_edits(await self._bus.body(message))
        if held.gone:
            raise Unavailable("this canvas is not held here any more")
        receipt = held.room.receive(edits)
        EDITS.inc(len(edits))
        REJECTED.inc(len(receipt.rejected))
        held.wake.set()
        if held.room.saved(receipt):
            saved = Saved(held.room.revision, receipt.rejected)
            await self._bus.respond(message.reply, encode_saved(saved))
        else:
            held.waiting.append((receipt, message.reply))
            self._changed(held.room.canvas_id)

    async def _sync(self, held: HeldCanvas, message: Msg) -> None:
        state_vector = decode_sync_request(await self._bus.body(message))
        awareness = held.participants.everyone()
        reply = (
            held.room.checkpoint(awareness)
            if state_vector is None
            else held.room.sync(state_vector, awareness)
        )
        await self._bus.respond(message.reply, encode_sync_reply(reply))

    async def _awareness(self, held: HeldCanvas, message: Msg) -> None:
        author, state = decode_authored_state(await self._bus.body(message))
        held.participants.receive(author, state, time.monotonic())
        held.wake.set()
