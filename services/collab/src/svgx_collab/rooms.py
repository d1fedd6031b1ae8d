"""The canvases this replica holds: opening, serving, pacing, eviction and handing over."""

import asyncio
import functools
import secrets
import time

import structlog
from nats.errors import Error as NatsError
from prometheus_client import Counter, Gauge

from svgx_collab.channels import Channels
from svgx_collab.held import Held
from svgx_collab.journal import UNSAVED_BYTES, Committer
from svgx_collab.leases import RENEW, Leases
from svgx_collab.room import Room
from svgx_common.background import repeat
from svgx_common.bus import Bus
from svgx_common.contract import subjects
from svgx_common.contract.errors import NotFound, SvgxError, Unavailable
from svgx_common.contract.state import JOURNAL_LOAD, LoadRequest
from svgx_common.wire import (
    Committed,
    Content,
    Entry,
    Presence,
    Saved,
    decode_content,
    encode_broadcast,
    encode_presence,
    encode_saved,
)

log = structlog.get_logger(__name__)

FRAME = 0.016
"""Seconds between two broadcasts of a small room: one display frame."""

FRAME_PER_PARTICIPANT = 0.00005
"""Seconds a participant adds to that, up to `SLOWEST_FRAME`: a large room costs each receiver fewer, larger frames."""

SLOWEST_FRAME = 0.1

IDLE = 600.0
"""Seconds without any use after which a canvas is let go."""

HELD = Gauge("svgx_engine_collab_held_canvases", "Canvases this replica holds.")
BROADCASTS = Counter("svgx_engine_collab_broadcasts", "Merged updates broadcast.")


class Rooms:
    """Every canvas this replica holds. A canvas is opened at most once at a time."""

    def __init__(self, bus: Bus, leases: Leases) -> None:
        self._bus = bus
        self._leases = leases
        self._held: dict[str, Held] = {}
        self._opening: dict[str, asyncio.Task[Held]] = {}
        self._dirty: set[str] = set()
        self._leaving: set[asyncio.Task[None]] = set()
        self._channels = Channels(bus, self._mark_dirty, self._unsaved_bytes)
        self.committer = Committer(bus, self._collect, self._deliver)
        HELD.set_function(lambda: len(self._held))
        UNSAVED_BYTES.set_function(self._unsaved_bytes)

    async def open(self, canvas_id: str) -> str:
        """Hold the canvas, and return the epoch. Raises `Unavailable` while another replica has it, `NotFound`."""
        held = self._held.get(canvas_id)
        if held is None:
            task = self._opening.get(canvas_id)
            if task is None:
                task = asyncio.create_task(self._open(canvas_id))
                self._opening[canvas_id] = task
                task.add_done_callback(lambda _: self._opening.pop(canvas_id, None))
            held = await asyncio.shield(task)
        if held.leaving:
            raise Unavailable("this canvas is being handed over", retry_after=0.1)
        held.touch()
        return held.room.epoch

    async def run(self) -> None:
        """Renew leases and let go of what is outdated or idle, until cancelled."""
        await repeat("housekeeping", self._housekeeping)

    async def _housekeeping(self) -> None:
        await asyncio.sleep(RENEW)
        await self.renew()
        self._tidy()

    async def renew(self) -> None:
        """Renew the leases, and let go of the canvases whose lease another replica has."""
        for canvas_id in await self._leases.renew(list(self._held)):
            log.info("another replica holds the canvas", canvas_id=canvas_id)
            self._start_letting_go(canvas_id, release=False)
        if self._leaving:
            # Not longer: while state does not commit, the other leases must be renewed all the same.
            await asyncio.wait(self._leaving, timeout=RENEW)

    async def let_go(self, canvas_id: str, *, release: bool = True) -> None:
        """Commit what is unsaved, then stop holding. The gateways find the next holder with their next request."""
        held = self._held.get(canvas_id)
        if held is None or held.leaving:
            return
        held.leaving = True
        try:
            await self._bus.leave(held.subscriptions)
        except (SvgxError, NatsError, TimeoutError) as error:
            # What still comes is not answered, and its gateway asks the next holder.
            log.warning("could not leave a canvas's channels", error=type(error).__name__)
        while held.room.dirty:
            held.clean.clear()
            self._mark_dirty(canvas_id)
            await held.clean.wait()
        self._drop(canvas_id)
        if release:
            await self._leases.release(canvas_id)

    async def hand_over(self) -> None:
        """Let go of everything: this replica is stopping."""
        await asyncio.gather(
            *(self.let_go(canvas_id) for canvas_id in list(self._held)), *self._leaving
        )

    def details(self) -> dict[str, int]:
        """Figures for the health report."""
        return {"held": len(self._held), "unsaved_bytes": self._unsaved_bytes()}

    async def _open(self, canvas_id: str) -> Held:
        if not await self._leases.take(canvas_id):
            raise Unavailable("another replica is opening this canvas", retry_after=0.1)
        try:
            content = await self._load(canvas_id, after=0)
        except SvgxError:
            await self._leases.release(canvas_id)
            raise
        held = Held(Room(canvas_id, secrets.token_hex(8), content))
        self._held[canvas_id] = held
        held.pacer = asyncio.create_task(repeat("broadcast", functools.partial(self._pace, held)))
        await self._channels.subscribe(held)
        await self._bus.settle()
        log.info("holding", canvas_id=canvas_id, epoch=held.room.epoch, revision=content.revision)
        return held

    async def _load(self, canvas_id: str, after: int) -> Content:
        reply = await self._bus.ask(JOURNAL_LOAD, LoadRequest(canvas_id=canvas_id, after=after))
        return decode_content(reply.content)

    async def _pace(self, held: Held) -> None:
        """Broadcast at once when idle, and then at most once a frame."""
        await held.wake.wait()
        held.wake.clear()
        try:
            await self._broadcast(held)
        except Unavailable:
            # The gateways notice the gap in the sequence and ask for what they missed.
            log.warning("a broadcast could not be sent", canvas_id=held.room.canvas_id)
        people = len(held.participants)
        await asyncio.sleep(min(SLOWEST_FRAME, FRAME + people * FRAME_PER_PARTICIPANT))

    async def _broadcast(self, held: Held) -> None:
        canvas_id = held.room.canvas_id
        if (broadcast := held.room.take_broadcast()) is not None:
            BROADCASTS.inc()
            await self._bus.publish(
                subjects.canvas(canvas_id, "update"), encode_broadcast(broadcast)
            )
        while (states := held.participants.take_broadcast()) is not None:
            presence = Presence(held.room.epoch, states)
            await self._bus.publish(
                subjects.canvas(canvas_id, "presence"), encode_presence(presence)
            )

    def _collect(self) -> list[Entry]:
        dirty, self._dirty = self._dirty, set()
        held = (self._held[canvas_id] for canvas_id in dirty if canvas_id in self._held)
        return [entry for each in held if (entry := each.room.take_entry()) is not None]

    async def _deliver(self, result: Committed) -> None:
        """An entry is committed: answer who waited for it, and learn what other writers committed in between."""
        held = self._held.get(result.canvas_id)
        if held is None:
            return
        if result.revision == 0:
            await self._abandon(held)
            return
        known = held.room.revision
        if not held.room.committed(result.revision):
            try:
                held.room.absorb(await self._load(result.canvas_id, after=known))
                held.wake.set()
            except SvgxError as error:
                # Nothing is lost: the revision stays as it was, so the next commit shows the gap again.
                log.warning(
                    "could not read another writer's commits",
                    code=error.code,
                    canvas_id=result.canvas_id,
                )
        for receipt, message in held.take_answerable():
            await self._bus.respond(message, encode_saved(Saved(result.revision, receipt.rejected)))
        if held.room.dirty:
            self._mark_dirty(result.canvas_id)
        else:
            held.clean.set()

    async def _abandon(self, held: Held) -> None:
        log.warning("the canvas does not exist any more", canvas_id=held.room.canvas_id)
        for _, message in held.waiting:
            await self._bus.refuse(message, NotFound("there is no such canvas"))
        self._drop(held.room.canvas_id)
        for subscription in held.subscriptions:
            await subscription.unsubscribe()

    def _mark_dirty(self, canvas_id: str) -> None:
        self._dirty.add(canvas_id)
        self.committer.notify()

    def _drop(self, canvas_id: str) -> None:
        held = self._held.pop(canvas_id)
        held.clean.set()
        if held.pacer is not None:
            held.pacer.cancel()

    def _unsaved_bytes(self) -> int:
        return sum(held.room.unsaved_bytes for held in self._held.values())

    def _tidy(self) -> None:
        now = time.monotonic()
        for canvas_id, held in list(self._held.items()):
            held.participants.expire(now)
            held.wake.set()
            if now - held.used_at > IDLE and not len(held.participants):
                self._start_letting_go(canvas_id, release=True)

    def _start_letting_go(self, canvas_id: str, *, release: bool) -> None:
        task = asyncio.create_task(self.let_go(canvas_id, release=release))
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)
