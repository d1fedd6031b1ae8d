"""The commits of other writers that this replica's rooms may lack. A load that fails is repeated."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog
from prometheus_client import Counter

from svgx_canvas.document.faults import Fault
from svgx_collab.held_canvas import HeldCanvas
from svgx_common.contract.collab import LATE_COMMITS, LateCommits
from svgx_common.contract.errors import NotFound, SvgxError
from svgx_common.contract.state import JOURNAL_LOAD, Content, LoadRequest
from svgx_common.messaging.bus import Bus
from svgx_common.messaging.wire import decode

log = structlog.get_logger(__name__)

RETRY_SECONDS = 1.0
"""Seconds until commits that could not be loaded are requested again."""

LOADS_AT_ONCE = 8
"""Largest number of loads at the same time, so that a load that hangs does not delay those of other canvases."""

UPDATES_AT_ONCE = 50
"""Largest number of updates that a room takes at once. Between two such groups, the replica does its other work."""

LOADED = Counter(
    "svgx_engine_collab_missed_commits",
    "Updates that were loaded into a held canvas, because its room may have lacked commits of other writers.",
)


class MissedCommits:
    """Loads the commits of other writers into rooms that may lack them.

    `find` returns the held canvas with an id, and `is_opening` whether a canvas is being opened. `on_loaded` is called
    with a canvas that has taken commits, and `on_fault` when the canvas's room failed.
    """

    def __init__(
        self,
        bus: Bus,
        *,
        find: Callable[[str], HeldCanvas | None],
        is_opening: Callable[[str], bool],
        on_loaded: Callable[[HeldCanvas], None],
        on_fault: Callable[[HeldCanvas, Fault], Awaitable[None]],
    ) -> None:
        self._bus = bus
        self._find = find
        self._is_opening = is_opening
        self._on_loaded = on_loaded
        self._on_fault = on_fault
        self._suspected: set[str] = set()
        self._due = asyncio.Event()

    async def listen(self) -> None:
        """Receive the reports of replicas that have committed without a lease."""
        await self._bus.listen(LATE_COMMITS.subject, self._note)

    def suspect(self, canvas_id: str) -> None:
        """Note that the canvas's room may lack commits, so that `load` loads them."""
        self._suspected.add(canvas_id)
        self._due.set()

    async def report(self, held: HeldCanvas) -> None:
        """Tell the other replicas the revision of the last commit on a canvas that this replica has left."""
        await self._bus.broadcast(
            LATE_COMMITS, LateCommits(held.room.canvas_id, held.room.last_commit)
        )

    async def load(self) -> None:
        """Wait for suspected canvases, and load their commits. After `RETRY_SECONDS`, repeat the loads that failed."""
        await self._due.wait()
        self._due.clear()
        waiting = [*self._suspected]
        try:
            await asyncio.gather(*(self._load_next(waiting) for _ in range(LOADS_AT_ONCE)))
        finally:
            if self._suspected:
                asyncio.get_running_loop().call_later(RETRY_SECONDS, self._due.set)

    async def _load_next(self, waiting: list[str]) -> None:
        """Load the commits of canvases in the list until the list is empty."""
        while waiting:
            canvas_id = waiting.pop()
            self._suspected.discard(canvas_id)
            is_done = False
            try:
                is_done = await self._load(canvas_id)
            except Exception:
                log.exception("loading another writer's commits failed", canvas_id=canvas_id)
            finally:
                if not is_done:
                    self._suspected.add(canvas_id)

    async def _load(self, canvas_id: str) -> bool:
        """Load the commits of one canvas. Return False if this must be repeated."""
        held = self._find(canvas_id)
        if held is None:
            return not self._is_opening(canvas_id)
        request = LoadRequest(canvas_id=canvas_id, after=held.room.revision)
        try:
            reply = await self._bus.ask(JOURNAL_LOAD, request)
            await self._take(held, decode(Content, reply.content))
        except NotFound:
            return True  # a canvas that is deleted
        except SvgxError as error:
            log.warning(
                "could not read another writer's commits", code=error.code, canvas_id=canvas_id
            )
            return False
        except Fault as fault:
            await self._on_fault(held, fault)
        return True

    async def _take(self, held: HeldCanvas, content: Content) -> None:
        """Give commits to the canvas's room in small groups. Its revision changes with the last group."""
        updates = content.updates
        for first in range(0, len(updates), UPDATES_AT_ONCE):
            if held.is_released:
                return
            group = updates[first : first + UPDATES_AT_ONCE]
            held.room.load_content(Content(held.room.revision, group))
            LOADED.inc(len(group))
            self._on_loaded(held)
            await asyncio.sleep(0)
        held.room.load_content(Content(content.revision, ()))

    async def _note(self, _: str, content: bytes) -> None:
        late = decode(LateCommits, content)
        held = self._find(late.canvas_id)
        if self._is_opening(late.canvas_id) or (held and held.room.revision < late.revision):
            self.suspect(late.canvas_id)
