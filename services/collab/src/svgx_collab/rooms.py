"""The canvases that this replica holds: opening, committing, broadcasting, leaving and handing over."""

import asyncio
import contextlib
import contextvars
import functools
import secrets
import time
from collections import deque

import structlog
from nats.errors import Error as NatsError
from prometheus_client import Counter, Gauge, Histogram

from svgx_canvas.document.faults import Fault
from svgx_collab.bounds import Bounds, Pace
from svgx_collab.channels import Channels
from svgx_collab.commits.committer import OLDEST_UNSAVED, UNSAVED_BYTES, Committer, UnsavedEntry
from svgx_collab.commits.missed_commits import MissedCommits
from svgx_collab.content.whole_updates import WholeUpdates
from svgx_collab.held_canvas import HeldCanvas
from svgx_collab.leases import RENEW_SECONDS, Leases
from svgx_collab.links.broadcaster import Broadcaster
from svgx_collab.room import Room
from svgx_common.background import BackgroundTasks
from svgx_common.contract.collab import new_epoch
from svgx_common.contract.errors import Internal, NotFound, SvgxError, Unavailable
from svgx_common.contract.state import JOURNAL_LOAD, Committed, Content, Entry, LoadRequest
from svgx_common.messaging.bus import Bus
from svgx_common.messaging.wire import decode
from svgx_common.observability.log_ids import use_ids

log = structlog.get_logger(__name__)

SHORTEST_PAUSE_SECONDS = 0.001
"""The fewest seconds to wait for the end of a canvas's pause, because timers may fire a little too early."""

DELETION_TIMEOUT = 5.0
"""Time limit for the state service to answer whether a canvas is deleted, in seconds."""

MAX_FAULTY = 1000
"""The largest number of edits that are remembered because they made a room fail. Beyond it, the oldest are forgotten.

A remembered edit is rejected when it is sent again.
"""

HELD = Gauge("svgx_engine_collab_held_canvases", "Canvases this replica holds.")
BROKEN = Counter("svgx_engine_collab_broken_rooms", "Rooms that failed and were discarded.")
PARTICIPANTS = Gauge(
    "svgx_engine_collab_participants", "Clients with an awareness state in the held canvases."
)
OPEN_SECONDS = Histogram(
    "svgx_engine_collab_open_seconds",
    "Time to load a canvas and to subscribe to its channels.",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
RELEASED = Counter(
    "svgx_engine_collab_released_canvases",
    "Canvases that are not held any more, by reason: `idle`, `handed_over` by a stopping replica, `lease_lost` to"
    " another replica, `failed` room, `deleted`, `busy` (moved to a reserved replica), or `calm`"
    " (released by a reserved replica).",
    ["reason"],
)
IDLE, HANDED_OVER, LEASE_LOST = "idle", "handed_over", "lease_lost"
FAILED, DELETED, BUSY, CALM = "failed", "deleted", "busy", "calm"
for _reason in (IDLE, HANDED_OVER, LEASE_LOST, FAILED, DELETED, BUSY, CALM):
    RELEASED.labels(_reason)


class Rooms:
    """All canvases that this replica holds. A canvas is opened at most once at a time."""

    def __init__(self, bus: Bus, leases: Leases, bounds: Bounds | None = None) -> None:
        self._bus = bus
        self._leases = leases
        self._bounds = bounds or Bounds()
        self._whole_updates = WholeUpdates()
        self._held: dict[str, HeldCanvas] = {}
        self._opening: dict[str, asyncio.Task[HeldCanvas]] = {}
        self._loading: set[str] = set()
        """Canvases that are being opened, and of which this replica has the lease."""
        self._unsaved: set[str] = set()
        self._background = BackgroundTasks()
        self._context = contextvars.copy_context()
        """The context variables (trace, log ids) for tasks that belong to a held canvas, and to no request."""
        self._leaving = BackgroundTasks()
        self._faulty: deque[bytes] = deque(maxlen=MAX_FAULTY)
        self._one_by_one: set[str] = set()
        """Canvases with a room that failed on several edits together.

        Their next rooms integrate updates one by one, to find the one that causes the failure.
        """
        self._broadcaster = Broadcaster(bus, self._start_discarding)
        self._links = self._broadcaster.links
        self._channels = Channels(
            bus,
            self._links,
            find=self._held.get,
            on_unsaved=self._mark_unsaved,
            start_discarding=self._start_discarding,
            unsaved_bytes=self._unsaved_bytes,
        )
        self._committer = Committer(bus, self._collect, self._deliver)
        self._missed_commits = MissedCommits(
            bus,
            find=self._held.get,
            is_opening=self._opening.__contains__,
            on_loaded=self._continue_after_load,
            on_fault=self._discard,
        )
        bus.on_reconnect(self._note_reconnect)
        HELD.set_function(lambda: len(self._held))
        PARTICIPANTS.set_function(
            lambda: sum(len(held.participants) for held in self._held.values())
        )
        UNSAVED_BYTES.set_function(self._unsaved_bytes)
        OLDEST_UNSAVED.set_function(self._oldest_unsaved_seconds)

    async def start(self) -> None:
        """Listen for late commits, and start the background tasks.

        They load missed commits, commit, broadcast, send element events, renew leases and leave idle canvases.
        """
        await self._missed_commits.listen()
        self._background.repeat("load missed commits", self._missed_commits.load)
        self._background.repeat("commit", self._committer.commit_collected)
        self._background.repeat("broadcast", self._broadcaster.flush)
        self._background.repeat("element events", self._broadcaster.elements.flush)
        self._background.repeat("housekeeping", self._housekeeping)

    async def stop(self) -> None:
        """Cancel all background tasks, and wait for their end. Gateways resend unsaved edits to the next holder."""
        await self._background.stop()
        await self._leaving.stop()
        await self._channels.stop()

    @property
    def edits_taken(self) -> int:
        """The number of edits that this replica has taken since its start."""
        return self._channels.edits_taken

    def knows(self, canvas_id: str) -> bool:
        """Return whether this replica holds the canvas, or opens it."""
        return canvas_id in self._held or canvas_id in self._opening

    async def open(self, canvas_id: str) -> str:
        """Hold the canvas, and return its room's epoch.

        Raises `NotFound`. Raises `Unavailable` while another replica holds the canvas, or this replica is leaving it.
        """
        held = self._held.get(canvas_id)
        task = self._opening.get(canvas_id)
        if held is None and task is None:
            task = asyncio.create_task(self._open(canvas_id))
            self._opening[canvas_id] = task
            task.add_done_callback(functools.partial(self._end_opening, canvas_id))
        if task is not None:
            # Wait even when the canvas is held already: until the task ends, NATS may lack the channels' subscriptions.
            held = await asyncio.shield(task)
        assert held is not None
        if not held.is_holding:
            raise Unavailable("this canvas is being handed over", retry_after=0.1)
        held.touch()
        return held.room.epoch

    async def renew_leases(self) -> None:
        """Renew the leases, and leave each canvas with a lease that another replica has taken.

        Loading a large canvas may take longer than a lease lasts, so leases of canvases that load are renewed too.
        """
        renewal = await self._leases.renew([*self._held.keys() | self._loading])
        for canvas_id in renewal.doubtful:
            self._missed_commits.suspect(canvas_id)
        for canvas_id in renewal.lost:
            log.info("another replica holds the canvas", canvas_id=canvas_id)
            self._start_leaving(canvas_id, LEASE_LOST)
        # Wait only for a limited time, because leases must be renewed even while the state service does not commit.
        await self._leaving.wait(timeout=RENEW_SECONDS)

    async def leave(self, canvas_id: str, reason: str = HANDED_OVER) -> None:
        """Commit all edits of a canvas, then stop holding the canvas. A gateway's next request finds the next holder.

        `reason` is the label in the metric. The lease is released unless another replica has it.
        """
        await self._leave(canvas_id, reason)

    async def leave_to(self, replica_id: str, canvas_id: str) -> bool:
        """Leave a canvas, and give its lease to another replica. The caller must ask that replica to take the canvas.

        Return False if the canvas is not held, or is being left already.
        """
        held = self._held.get(canvas_id)
        try:
            return await self._leave(canvas_id, BUSY, replica_id)
        except asyncio.CancelledError:
            # The caller does not ask the replica any more. `_finish_leaving` goes on, and releases the lease.
            if held is not None:
                held.next_holder = None
                if held.is_released:
                    self._leaving.start("release", self.release_given_lease(canvas_id, replica_id))
            raise

    async def decline(self, canvas_id: str) -> None:
        """Release the lease that another replica has given to this replica, because it does not take the canvas."""
        await self._release_lease(canvas_id)

    async def release_given_lease(self, canvas_id: str, replica_id: str) -> None:
        """Release the lease that was given to a replica that has not received the request to take the canvas."""
        await self._leases.release(canvas_id, replica_id)

    @property
    def can_move(self) -> bool:
        """True while another replica can open a left canvas at once: the state service commits, and Redis answers.

        Without the state service, no replica can open the canvas. Without Redis, two replicas may open it.
        """
        return not (self._committer.is_failing or self._leases.is_degraded)

    async def release_deleted(self, canvas_id: str) -> None:
        """Stop holding the canvas at once if it is deleted. Its uncommitted edits are discarded.

        If the state service does not answer, the canvas stays held until it is idle.
        """
        held = self._held.get(canvas_id)
        if held is None:
            return
        request = LoadRequest(canvas_id=canvas_id, after=held.room.revision)
        try:
            await self._bus.ask(JOURNAL_LOAD, request, timeout=DELETION_TIMEOUT)
        except NotFound as error:
            log.info("a held canvas is deleted", canvas_id=canvas_id)
            await self._end(held, error, DELETED)
            await self._release_lease(canvas_id)
        except SvgxError as error:
            log.info("could not check for a deletion", canvas_id=canvas_id, code=error.code)

    async def hand_over(self) -> None:
        """Leave all canvases, because this replica stops."""
        await asyncio.gather(
            *(self.leave(canvas_id) for canvas_id in list(self._held)), self._leaving.wait()
        )
        try:
            await self._channels.leave_link()
        except (SvgxError, NatsError, TimeoutError) as error:
            # The gateways resend the batches that have no receipt.
            log.warning("could not leave the links", error=type(error).__name__)
        await self._links.flush()

    def paces(self) -> dict[str, Pace]:
        """Return the pace of each canvas that is held and not being left."""
        return {each: held.room.pace for each, held in self._held.items() if held.is_holding}

    @property
    def count(self) -> int:
        """The number of canvases that this replica holds or opens."""
        return len(self._held.keys() | self._opening.keys())

    def details(self) -> dict[str, float]:
        """Return the numbers of the health report."""
        return {
            "held": len(self._held),
            "unsaved_bytes": self._unsaved_bytes(),
            "oldest_unsaved_seconds": round(self._oldest_unsaved_seconds(), 3),
        }

    async def _leave(self, canvas_id: str, reason: str, next_holder: str | None = None) -> bool:
        held = self._held.get(canvas_id)
        if held is None or not held.begin_leaving(next_holder):
            return False
        # In a task, because the canvas must be released even if the caller is cancelled.
        leaving = self._leaving.start("leaving", self._finish_leaving(held, reason))
        await asyncio.shield(leaving)
        return True

    async def _finish_leaving(self, held: HeldCanvas, reason: str) -> None:
        """Commit all edits, and release the canvas. Give its lease to the next holder.

        Without a next holder, release the lease too, unless another replica has it.
        """
        canvas_id = held.room.canvas_id
        held.room.pace.end_pauses()
        try:
            await self._bus.leave(held.subscriptions)
        except (SvgxError, NatsError, TimeoutError) as error:
            # Requests that still arrive get no answer. Their gateways then ask the next holder.
            log.warning(
                "could not leave a canvas's channels",
                canvas_id=canvas_id,
                error=type(error).__name__,
            )
        await held.queue.wait_for_present_batches()
        while held.room.has_unsaved_edits and not held.is_released:
            self._mark_unsaved(canvas_id)
            await held.wait_committed()
        if not held.is_released:
            # The last edits may still wait for the next frame. Without this broadcast, other clients would receive
            # these edits only after the next checkpoint of their gateway.
            await self._broadcaster.broadcast_changes(held)
            await self._links.flush()
        next_holder = held.next_holder
        if next_holder is not None:
            await self._leases.give(canvas_id, next_holder)
        self._release(held, reason)
        if next_holder is None and reason != LEASE_LOST:
            await self._release_lease(canvas_id)
        elif next_holder is not None and held.next_holder is None:
            # The move was cancelled meanwhile.
            await self._leases.release(canvas_id, next_holder)
        if reason in (LEASE_LOST, HANDED_OVER):
            # Another replica may have opened the canvas before the last commits.
            with contextlib.suppress(Unavailable):
                await self._missed_commits.report(held)

    def _end_opening(self, canvas_id: str, task: asyncio.Task[HeldCanvas]) -> None:
        self._opening.pop(canvas_id, None)
        if not task.cancelled():
            # Requests that ended before the task do not read its error, and asyncio would log it.
            task.exception()

    async def _open(self, canvas_id: str) -> HeldCanvas:
        # Requests of several users may wait for this task, so its log lines have the canvas's id only.
        use_ids({"canvas_id": canvas_id})
        if not await self._leases.take(canvas_id):
            raise Unavailable("another replica is opening this canvas", retry_after=0.1)
        self._loading.add(canvas_id)
        try:
            with OPEN_SECONDS.time():
                return await self._hold(canvas_id)
        except BaseException:
            self._loading.discard(canvas_id)
            await self._leases.release(canvas_id)
            raise
        finally:
            self._loading.discard(canvas_id)

    async def _hold(self, canvas_id: str) -> HeldCanvas:
        """Load the canvas and subscribe to its channels."""
        reply = await self._bus.ask(JOURNAL_LOAD, LoadRequest(canvas_id=canvas_id))
        content = decode(Content, reply.content)
        try:
            # In a thread, because a large canvas would block the event loop.
            room = await asyncio.to_thread(
                Room,
                canvas_id,
                new_epoch(self._bus.replica_id, secrets.token_hex(8)),
                content,
                faulty=self._faulty,
                one_by_one=canvas_id in self._one_by_one,
                bounds=self._bounds,
                whole_updates=self._whole_updates,
            )
        except Fault:
            log.error(
                "a canvas cannot be opened: too many updates of its journal are faulty",
                canvas_id=canvas_id,
            )
            raise Internal from None
        if room.left_out:
            log.error(
                "updates of the journal cannot be integrated; they stay in the journal",
                canvas_id=canvas_id,
                updates=room.left_out,
            )
        # The canvas's tasks serve all its users, so their spans and log lines must not belong to the first request.
        context = self._context.copy()
        context.run(use_ids, {"canvas_id": canvas_id})
        held = context.run(HeldCanvas, room, self._broadcaster.mark_changed)
        self._held[canvas_id] = held
        try:
            await asyncio.create_task(self._channels.subscribe(held), context=context)
            await self._bus.settle()
            await self._broadcaster.announce(held)
        except BaseException:
            await self._end(held, Unavailable(), FAILED)
            raise
        log.info(
            "holding a canvas", canvas_id=canvas_id, epoch=room.epoch, revision=content.revision
        )
        return held

    def _collect(self) -> list[UnsavedEntry]:
        """Return the next journal entries of each canvas with unsaved edits."""
        unsaved, self._unsaved = self._unsaved, set()
        collected = []
        for canvas_id in unsaved:
            held = self._held.get(canvas_id)
            if held is None:
                continue
            try:
                while (entry := held.room.take_entry()) is not None:
                    collected.append(UnsavedEntry(entry, held.take_origins_in_flight()))
            except Fault as fault:
                self._start_discarding(held, fault)
                continue
            except Exception:
                # The entries of the other canvases must still be committed, because they count as in flight.
                log.exception("the entries of a canvas failed", canvas_id=canvas_id)
                self._start_discarding(held, None)
                continue
            if held.room.lacks_entry:
                pause = max(held.room.seconds_until_due, SHORTEST_PAUSE_SECONDS)
                asyncio.get_running_loop().call_later(pause, self._mark_unsaved, canvas_id)
        return collected

    async def _deliver(self, entry: Entry, result: Committed) -> None:
        """Note that an entry is committed, and answer the requests that are now saved."""
        held = self._held.get(entry.canvas_id)
        if held is None or held.room.epoch != entry.writer:
            return
        if result.revision == 0:
            log.warning("the canvas does not exist any more", canvas_id=entry.canvas_id)
            await self._end(held, NotFound("there is no such canvas"), DELETED)
            return
        if entry.sequence != held.room.oldest_in_flight:
            # An earlier entry was not committed. Its edits must not count as saved.
            log.error("a journal entry is missing", canvas_id=entry.canvas_id)
            await self._discard(held, None)
            return
        if not held.room.mark_committed(result.revision):
            self._missed_commits.suspect(entry.canvas_id)
        for request in held.take_saved():
            await self._channels.answer(request, result.revision, held.room.epoch)
        if held.room.lacks_entry:
            self._mark_unsaved(entry.canvas_id)
        elif not held.room.has_unsaved_edits:
            held.mark_committed()

    def _continue_after_load(self, held: HeldCanvas) -> None:
        """Broadcast the loaded commits, and continue the edits that they have released."""
        if held.room.is_unfinished:
            self._channels.continue_edit(held)
        held.mark_changed()

    def _start_discarding(self, held: HeldCanvas, fault: Fault | None) -> None:
        """Stop holding a room that failed, as `_discard` does, but in a task, so that the caller does not wait.

        The room is released at once, so nothing uses it any more.
        """
        if self._note_fault(held, fault):
            self._leaving.start("discarding", self._end_failed(held))

    async def _discard(self, held: HeldCanvas, fault: Fault | None) -> None:
        """Stop holding a room that failed. The next request opens the canvas from its journal, on any replica.

        `fault` is None if no edit is the cause.
        """
        if self._note_fault(held, fault):
            await self._end_failed(held)

    def _note_fault(self, held: HeldCanvas, fault: Fault | None) -> bool:
        """Release a room that failed, and remember the edit at fault. Return False if the room was released before."""
        canvas_id = held.room.canvas_id
        if held.is_released:
            return False
        BROKEN.inc()
        log.error("a room failed; the canvas is reopened", canvas_id=canvas_id)
        if fault is not None:
            if fault.update_digest is None:
                self._one_by_one.add(canvas_id)
            else:
                self._faulty.append(fault.update_digest)
                self._one_by_one.discard(canvas_id)
        self._release(held, FAILED)
        return True

    async def _end_failed(self, held: HeldCanvas) -> None:
        await self._end(held, Unavailable("the canvas is being reopened"), FAILED)
        await self._release_lease(held.room.canvas_id)

    async def _end(self, held: HeldCanvas, error: SvgxError, reason: str) -> None:
        """Stop holding the canvas at once. Requests that wait for a commit are refused with `error`."""
        self._release(held, reason)
        for subscription in held.subscriptions:
            with contextlib.suppress(NatsError):
                await subscription.unsubscribe()
        for request in held.take_waiting():
            await self._channels.refuse(request, error)

    def _release(self, held: HeldCanvas, reason: str) -> None:
        if not held.is_released:
            RELEASED.labels(reason).inc()
        held.release()
        # The canvas may have been opened again since.
        if self._held.get(held.room.canvas_id) is held:
            del self._held[held.room.canvas_id]

    async def _release_lease(self, canvas_id: str) -> None:
        """Release the lease, unless this replica has opened the canvas again meanwhile."""
        if canvas_id not in self._held and canvas_id not in self._opening:
            await self._leases.release(canvas_id)

    def _mark_unsaved(self, canvas_id: str) -> None:
        self._unsaved.add(canvas_id)
        self._committer.request_commit()

    def _unsaved_bytes(self) -> int:
        return sum(held.room.unsaved_bytes for held in self._held.values())

    def _oldest_unsaved_seconds(self) -> float:
        times = (held.room.unsaved_since for held in self._held.values())
        now = time.monotonic()
        return now - min((since for since in times if since is not None), default=now)

    async def _housekeeping(self) -> None:
        """Wait, then renew the leases, expire participants, and leave idle canvases."""
        await asyncio.sleep(RENEW_SECONDS)
        await self.renew_leases()
        self._whole_updates.forget_unused()
        now = time.monotonic()
        for canvas_id, held in list(self._held.items()):
            held.participants.expire(now)
            held.expire_gateways(now)
            held.expire_elements(now)
            held.mark_changed()
            if held.is_idle(now):
                self._start_leaving(canvas_id, IDLE)

    async def _note_reconnect(self) -> None:
        """Load the commits that rooms may lack, and let JSON clients load their canvases.

        Without NATS, this replica was not told of late commits, and another replica may have held its canvases. The
        last events for JSON clients may not have arrived. No later reply shows this: only the next event has the number
        of the last one.
        """
        for canvas_id in self._opening:
            self._missed_commits.suspect(canvas_id)
        for canvas_id, held in self._held.items():
            self._missed_commits.suspect(canvas_id)
            if held.room.observes_elements:
                held.room.lose_element_events()
                held.mark_changed()

    def _start_leaving(self, canvas_id: str, reason: str) -> None:
        self._leaving.start("leaving", self.leave(canvas_id, reason))
