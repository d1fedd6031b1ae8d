"""The moves of busy canvases to reserved replicas. A reserved replica holds one canvas at a time."""

import asyncio
import time

import structlog
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError
from prometheus_client import Counter
from pydantic import ValidationError

from svgx_collab.balance.busy_canvases import BusyCanvases
from svgx_collab.balance.loads import Loads
from svgx_collab.rooms import CALM, Rooms
from svgx_common.background import BackgroundTasks, repeat
from svgx_common.contract.collab import TAKE_CANVAS, Opened
from svgx_common.contract.errors import BadRequest, Internal, SvgxError, Unavailable
from svgx_common.contract.state import CanvasRequest
from svgx_common.messaging.bus import Bus, BusUnreachable, NoResponders
from svgx_common.messaging.headers import HEADER_PROBE
from svgx_common.messaging.wire import encode_payload

log = structlog.get_logger(__name__)

MEASUREMENT_SECONDS = 3.0
"""Seconds between two measurements of the canvases."""

PROBE_TIMEOUT = 2.0
"""Time limit for a reserved replica to confirm that it is free, in seconds."""

TAKE_TIMEOUT = 30.0
"""Time limit for a reserved replica to open a canvas, in seconds."""

FAILURE_PAUSE_SECONDS = 30.0
"""Seconds without moves after a failed move, because each failed move may interrupt its canvas."""

STOP_SECONDS = 2.0
"""Longest time, in seconds, that a stopping replica waits for the move in progress. Then it hands over its canvases."""

FAILED_MOVES = Counter(
    "svgx_engine_collab_failed_moves",
    "Busy canvases that a reserved replica did not take. Such a canvas stays, or one of the replicas opens it again.",
)


class MovesOut:
    """The moves from this replica. It hands each busy canvas over to a reserved replica that is free.

    A busy canvas stays if it is the only canvas of this replica.
    """

    def __init__(self, bus: Bus, rooms: Rooms, loads: Loads, canvases: BusyCanvases) -> None:
        self._bus = bus
        self._rooms = rooms
        self._loads = loads
        self._canvases = canvases
        self._paused_until = 0.0
        """Time before which no move begins, in seconds of the monotonic clock."""
        self._background = BackgroundTasks()
        self._moves = BackgroundTasks()

    async def start(self) -> None:
        """Start to move busy canvases."""
        self._background.start("move canvases", repeat("move canvases", self._move_busy_canvas))

    async def stop(self) -> None:
        """Begin no further move. Wait for the move in progress, at most `STOP_SECONDS`."""
        await self._background.stop()
        await self._moves.wait(STOP_SECONDS)
        await self._moves.stop()

    async def _move_busy_canvas(self) -> None:
        await asyncio.sleep(MEASUREMENT_SECONDS)
        self._canvases.measure()
        if not self._canvases.busy or self._rooms.count == 1 or not self._rooms.can_move:
            return
        if time.monotonic() < self._paused_until:
            return
        # Begin at most one move for each measurement, because only after a move do the replicas announce which of them
        # are still free.
        replica_id = self._loads.free_reserved_replica()
        if replica_id is not None:
            move = self.move(self._canvases.busy[0], replica_id)
            await asyncio.shield(self._moves.start("move a canvas", move))

    async def move(self, canvas_id: str, replica_id: str) -> None:
        """Hand a canvas over to a reserved replica. Its clients stay connected to their gateways."""
        subject = TAKE_CANVAS.subject_of(replica_id=replica_id)
        try:
            # Ask first, because the move interrupts the canvas even if the other replica does not take it.
            await self._bus.request(subject, b"", {HEADER_PROBE: "1"}, timeout=PROBE_TIMEOUT)
        except SvgxError as error:
            self._note_failure(canvas_id, error)
            return
        if not await self._rooms.leave_to(replica_id, canvas_id):
            return
        log.info("a busy canvas is moved", canvas_id=canvas_id, replica=replica_id)
        request = encode_payload(CanvasRequest(canvas_id=canvas_id))
        try:
            await self._bus.request(subject, request, timeout=TAKE_TIMEOUT)
        except SvgxError as error:
            self._note_failure(canvas_id, error)
            if isinstance(error, NoResponders | BusUnreachable):
                # The lease names the reserved replica already. That replica has not received the request, so it does
                # not release the lease.
                await self._rooms.release_given_lease(canvas_id, replica_id)

    def _note_failure(self, canvas_id: str, error: SvgxError) -> None:
        """Count and log a failed move, and begin no move for `FAILURE_PAUSE_SECONDS`."""
        FAILED_MOVES.inc()
        log.warning("a busy canvas was not taken", canvas_id=canvas_id, code=error.code)
        self._paused_until = time.monotonic() + FAILURE_PAUSE_SECONDS


class MovesIn:
    """The moves to this reserved replica. It takes one canvas at a time, and releases a canvas that has become calm."""

    def __init__(self, bus: Bus, rooms: Rooms, canvases: BusyCanvases) -> None:
        self._bus = bus
        self._rooms = rooms
        self._canvases = canvases
        self._background = BackgroundTasks()
        self._subscription: Subscription | None = None

    async def start(self) -> None:
        """Start to take canvases."""
        subject = TAKE_CANVAS.subject_of(replica_id=self._bus.replica_id)
        self._subscription = await self._bus.connection.subscribe(subject, cb=self._answer)
        self._background.start(
            "leave calm canvases", repeat("leave calm canvases", self._release_calm_canvases)
        )

    async def stop(self) -> None:
        """Take no further canvases."""
        await self._background.stop()
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            try:
                await self._bus.leave([subscription])
            except (SvgxError, NatsError, TimeoutError) as error:
                # A request that still arrives gets no answer. Then one of the other replicas opens the canvas.
                log.warning(
                    "cannot end the subscription to moved canvases", error=type(error).__name__
                )

    async def _answer(self, message: Msg) -> None:
        try:
            if message.headers and HEADER_PROBE in message.headers:
                self._require_free()
                content = b""
            else:
                content = encode_payload(await self._take(message))
        except SvgxError as error:
            await self._bus.refuse(message.reply, error)
        except Exception:
            log.exception("a canvas could not be taken")
            await self._bus.refuse(message.reply, Internal())
        else:
            await self._bus.respond(message.reply, content)

    async def _take(self, message: Msg) -> Opened:
        try:
            canvas_id = CanvasRequest.model_validate_json(message.data).canvas_id
        except ValidationError:
            raise BadRequest("the message cannot be decoded") from None
        if not self._rooms.knows(canvas_id):
            try:
                self._require_free()
            except Unavailable:
                await self._rooms.decline(canvas_id)
                raise
        return Opened(epoch=await self._rooms.open(canvas_id))

    def _require_free(self) -> None:
        if self._rooms.count:
            raise Unavailable("this replica holds a canvas")

    async def _release_calm_canvases(self) -> None:
        await asyncio.sleep(MEASUREMENT_SECONDS)
        self._canvases.measure()
        for canvas_id in self._canvases.calm:
            if self._rooms.can_move:
                await self._rooms.leave(canvas_id, CALM)
