"""Edits of one canvas on their way to its holder: batched, kept until they are committed, resent when in doubt."""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog
from prometheus_client import Counter, Gauge, Histogram

from svgx_common.contract.close_codes import Close, close_code
from svgx_common.contract.errors import NotFound, SvgxError
from svgx_common.messaging.bus import Bus
from svgx_common.messaging.holder import Holder
from svgx_common.messaging.wire import Edit, Saved, decode_saved, encode_edits
from svgx_gateway.websocket.connection import Connection
from svgx_yjs.lib0 import Malformed

log = structlog.get_logger(__name__)

GATHER = 0.004
"""Seconds between two batches of one canvas; the first after a pause goes at once."""

IN_STEP = 8
"""Batches that may be unacknowledged before the next ones gather longer: while nothing is committed, edits still reach
the holder and so the others, in fewer and larger requests."""

MAX_BYTES = 32 * 1024 * 1024
"""Bytes of unacknowledged edits of one canvas past which its clients are not read any more."""

PATIENCE = 60.0
"""Seconds a batch is resent before its canvas's editors are told to come back later."""

ATTEMPT = 3.0
"""Seconds to wait for one acknowledgement, plus one for each MiB, before the batch is sent again."""

UNACKED = Gauge("svgx_engine_live_unacked_bytes", "Bytes of edits no holder has acknowledged yet.")
SAVED_SECONDS = Histogram(
    "svgx_engine_live_saved_seconds",
    "Time from a batch of edits leaving the gateway until it is committed.",
    buckets=(0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)
RESENT = Counter(
    "svgx_engine_live_resent_batches", "Batches sent again because a new holder took over."
)


@dataclass(slots=True)
class _Batch:
    edits: list[Edit] = field(default_factory=list)
    senders: list[tuple[Connection, int]] = field(default_factory=list)
    size: int = 0
    done: bool = False


Failed = Callable[[Close, str], None]


class Outbox:
    """Takes edits in, gets them committed. `failed` ends the canvas's connections when that does not succeed."""

    def __init__(self, bus: Bus, canvas_id: str, failed: Failed) -> None:
        # Its own: an edit waits for PostgreSQL, and what others ask the holder must not wait with it.
        self._holder = Holder(bus, canvas_id)
        self._canvas_id = canvas_id
        self._failed = failed
        self._gathering = _Batch()
        self._sent: deque[_Batch] = deque()
        self._size = 0
        self._wake = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._empty = asyncio.Event()
        self._empty.set()
        self._holder_changed = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._sender = asyncio.create_task(self._send())

    async def room(self) -> None:
        """Wait while too much is unacknowledged, which stops reading the client."""
        await self._room.wait()

    def put(self, connection: Connection, update: bytes, number: int) -> None:
        """Take one document message; `number` is what its connection is told of when it is committed."""
        self._gathering.edits.append(Edit(connection.caller.user_id, update))
        self._gathering.senders.append((connection, number))
        self._gathering.size += len(update)
        self._grow(len(update))
        self._wake.set()

    def holder_changed(self) -> None:
        """Send again at once what is not acknowledged: the one who was asked may be gone."""
        changed, self._holder_changed = self._holder_changed, asyncio.Event()
        changed.set()

    async def flushed(self) -> None:
        """Wait until everything is acknowledged."""
        await self._empty.wait()

    async def close(self) -> None:
        """Forget everything."""
        tasks = [self._sender, *self._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        UNACKED.dec(self._size)

    def _grow(self, size: int) -> None:
        self._size += size
        UNACKED.inc(size)
        if self._size > MAX_BYTES:
            self._room.clear()
        else:
            self._room.set()
        if self._gathering.edits or self._sent:
            self._empty.clear()
        else:
            self._empty.set()

    async def _send(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            batch, self._gathering = self._gathering, _Batch()
            self._sent.append(batch)
            task = asyncio.create_task(self._commit(batch))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            await asyncio.sleep(GATHER * max(1.0, len(self._tasks) / IN_STEP))

    async def _commit(self, batch: _Batch) -> None:
        try:
            with SAVED_SECONDS.time():
                saved = await self._ask(encode_edits(batch.edits))
        except (SvgxError, Malformed) as error:
            log.warning(
                "edits could not be saved", canvas_id=self._canvas_id, error=type(error).__name__
            )
            code = close_code(error) if isinstance(error, NotFound) else Close.OVERLOADED
            self._failed(code, "edits cannot be saved at the moment")
        else:
            for index in saved.rejected:
                batch.senders[index][0].close(Close.BAD_MESSAGE, "not a Yjs update")
        batch.done = True
        self._settle()

    async def _ask(self, content: bytes) -> Saved:
        """Ask until acknowledged; a change of holder starts over at once."""
        attempt = ATTEMPT + len(content) / (1024 * 1024)
        while True:
            changed = asyncio.create_task(self._holder_changed.wait())
            asking = asyncio.create_task(
                self._holder.ask("edit", content, patience=PATIENCE, attempt=attempt)
            )
            try:
                await asyncio.wait({asking, changed}, return_when=asyncio.FIRST_COMPLETED)
                if asking.done():
                    return decode_saved(await asking)
                RESENT.inc()
            finally:
                asking.cancel()
                changed.cancel()

    def _settle(self) -> None:
        """Report in the order of sending: everything before the oldest open batch is saved."""
        numbers: dict[Connection, int] = {}
        while self._sent and self._sent[0].done:
            batch = self._sent.popleft()
            numbers.update(batch.senders)
            self._grow(-batch.size)
        for connection, number in numbers.items():
            # One that is being closed may have sent what was refused, or what could not be saved.
            if not connection.closing.done():
                connection.send_saved(number)
