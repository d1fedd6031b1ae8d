"""The canvases this replica holds: opening, serving, pacing, eviction and handing over."""

import asyncio
import contextlib
import functools
import secrets
import time
from collections import deque

import structlog
from nats.errors import Error as NatsError
from prometheus_client import Counter, Gauge

from svgx_canvas.document.shared_document import Fault
from svgx_collab.channels import Channels
from svgx_collab.held_canvas import HeldCanvas
from svgx_collab.journal import UNSAVED_BYTES, Committer
from svgx_collab.leases import RENEW, Leases
from svgx_collab.room import Room
from svgx_common.background import repeat
from svgx_common.contract import subjects
from svgx_common.contract.errors import Internal, NotFound, SvgxError, Unavailable
from svgx_common.contract.state import JOURNAL_LOAD, LoadRequest
from svgx_common.messaging.bus import Bus
from svgx_common.messaging.wire import (
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

MAX_FAULTY = 1000
"""Edits remembered that broke a room: they are refused when they are sent again."""

IDLE = 600.0
"""Seconds without any use after which a canvas is let go."""

HELD = Gauge("svgx_engine_collab_held_canvases", "Canvases this replica holds.")
BROKEN = Counter("svgx_engine_collab_broken_rooms", "Documents that failed and were opened anew.")
BROADCASTS = Counter("svgx_engine_collab_broadcasts", "Merged updates broadcast.")


class Rooms:
    """Every canvas this replica holds. A canvas is opened at most once at a time."""

    def __init__(self, bus: Bus, leases: Leases) -> None:
        self._bus = bus
        self._leases = leases
        self._held: dict[str, HeldCanvas] = {}
        self._opening: dict[str, asyncio.Task[HeldCanvas]] = {}
        self._dirty: set[str] = set()
        self._leaving: set[asyncio.Task[None]] = set()
        self._faulty: deque[bytes] = deque(maxlen=MAX_FAULTY)
        self._channels = Channels(
            bus,
            changed=self._mark_dirty,
            broken=self._break,
            unsaved_bytes=self._unsaved_bytes,
        )
        self.committer = Committer(bus, self._collect, self._deliver)
        HELD.set_function(lambda: len(self._held))
        UNSAVED_BYTES.set_function(self._unsaved_bytes)

    async def open(self, canvas_id: str) -> str:
        """Hold the canvas, and return the epoch. Raises `Unavailable` while another replica has it, `NotFound`."""
        held = self._held.get(canvas_id)
        task = self._opening.get(canvas_id)
        if held is None and task is None:
            task = asyncio.create_task(self._open(canvas_id))
            self._opening[canvas_id] = task
            task.add_done_callback(lambda _: self._opening.pop(canvas_id, None))
        if task is not None:
            # Also when it is held already: until the task ends, its channels may not be known to NATS.
            held = await asyncio.shield(task)
        assert held is not None
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
        while held.room.dirty and not held.gone:
            held.clean.clear()
            self._mark_dirty(canvas_id)
            await held.clean.wait()
        self._drop(held)
        if release:
            await self._release(canvas_id)

    async def hand_over(self) -> None:
        """Let go of everything: this replica is stopping."""
        await asyncio.gather(
            *(self.let_go(canvas_id) for canvas_id in list(self._held)), *self._leaving
        )

    def details(self) -> dict[str, int]:
        """Figures for the health report."""
        return {"held": len(self._held), "unsaved_bytes": self._unsaved_bytes()}

    async def _open(self, canvas_id: str) -> HeldCanvas:
        if not await self._leases.take(canvas_id):
            raise Unavailable("another replica is opening this canvas", retry_after=0.1)
        try:
            return await self._hold(canvas_id)
        except BaseException:
            await self._leases.release(canvas_id)
            raise

    async def _hold(self, canvas_id: str) -> HeldCanvas:
        content = await self._load(canvas_id, after=0)
        try:
            # Not on the loop: everybody else would wait for a large canvas.
            room = await asyncio.to_thread(
                Room, canvas_id, secrets.token_hex(8), content, faulty=self._faulty
            )
        except Fault:
            log.error("a canvas cannot be opened: too much of its journal is faulty")
            raise Internal from None
        if room.left_out:
            log.error(
                "updates of the journal cannot be integrated; they stay there",
                canvas_id=canvas_id,
                updates=room.left_out,
            )
        held = HeldCanvas(room)
        self._held[canvas_id] = held
        held.pacer = asyncio.create_task(repeat("broadcast", functools.partial(self._pace, held)))
        try:
            await self._channels.subscribe(held)
            await self._bus.settle()
        except BaseException:
            await self._end(held)
            raise
        log.info("holding", canvas_id=canvas_id, epoch=room.epoch, revision=content.revision)
        return held

    async def _load(self, canvas_id: str, after: int) -> Content:
        reply = await self._bus.ask(JOURNAL_LOAD, LoadRequest(canvas_id=canvas_id, after=after))
        return decode_content(reply.content)

    async def _pace(self, held: HeldCanvas) -> None:
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

    async def _broadcast(self, held: HeldCanvas) -> None:
        canvas_id = held.room.canvas_id
        for broadcast in held.room.take_broadcasts():
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

    async def _deliver(self, entry: Entry, result: Committed) -> None:
        """An entry is committed: answer who waited for it, and learn what other writers committed in between."""
        held = self._held.get(entry.canvas_id)
        if held is None or held.room.epoch != entry.writer:
            return
        if result.revision == 0:
            log.warning("the canvas does not exist any more", canvas_id=entry.canvas_id)
            await self._end(held, NotFound("there is no such canvas"))
            return
        known = held.room.revision
        if not held.room.committed(result.revision):
            await self._absorb(held, known)
        for receipt, reply in held.take_answerable():
            saved = Saved(result.revision, receipt.rejected)
            await self._bus.respond(reply, encode_saved(saved))
        if held.room.dirty:
            self._mark_dirty(entry.canvas_id)
        else:
            held.clean.set()

    async def _absorb(self, held: HeldCanvas, known: int) -> None:
        canvas_id = held.room.canvas_id
        try:
            held.room.absorb(await self._load(canvas_id, after=known))
        except SvgxError as error:
            # Nothing is lost: the revision stays as it was, so the next commit shows the gap again.
            log.warning(
                "could not read another writer's commits", code=error.code, canvas_id=canvas_id
            )
        except Fault as fault:
            await self._break(held, fault)
        held.wake.set()

    async def _break(self, held: HeldCanvas, fault: Fault) -> None:
        """The document is lost, its journal is not: whoever asks next opens it anew, here or elsewhere."""
        canvas_id = held.room.canvas_id
        if held.gone:
            return
        BROKEN.inc()
        log.error("a canvas's document broke; it is opened anew", canvas_id=canvas_id)
        if fault.culprit is not None:
            self._faulty.append(fault.culprit)
        await self._end(held, Unavailable("the canvas is being opened anew"))
        await self._release(canvas_id)

    async def _end(self, held: HeldCanvas, error: SvgxError | None = None) -> None:
        """Stop holding at once; those who wait for a commit are told `error`."""
        self._drop(held)
        for subscription in held.subscriptions:
            with contextlib.suppress(NatsError):
                await subscription.unsubscribe()
        for _, reply in held.waiting:
            await self._bus.refuse(reply, error or Unavailable())
        held.waiting.clear()

    async def _release(self, canvas_id: str) -> None:
        """Give the lease back, unless the canvas was opened here again meanwhile."""
        if canvas_id not in self._held and canvas_id not in self._opening:
            await self._leases.release(canvas_id)

    def _mark_dirty(self, canvas_id: str) -> None:
        self._dirty.add(canvas_id)
        self.committer.notify()

    def _drop(self, held: HeldCanvas) -> None:
        held.leaving = held.gone = True
        held.clean.set()
        if self._held.get(held.room.canvas_id) is held:
            del self._held[held.room.canvas_id]
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
