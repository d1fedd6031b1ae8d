"""A light editor: a client in Python that costs a tenth of a Yjs client in Node, and counts its saved edits.

A light editor behaves like y-websocket: it edits even without a connection, reconnects by itself, and answers each
sync step 1 with all updates that the server lacks.
"""

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from pycrdt import Doc, Map, TransactionEvent
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from svgx_yjs import protocol
from svgx_yjs.lib0 import Decoder

Drawing = Doc[Map[str]]

_SILENCE_SECONDS = 30.0
"""Seconds without a message after which the editor connects again, as y-websocket does."""

_LONGEST_BACKOFF = 2.5
"""The most seconds between two attempts to connect, as in y-websocket."""

_HANDSHAKE_SECONDS = 10.0
_SHARED_EVERY = 4
"""One in this many edits also overwrites a value that all editors of the canvas share."""


def drawing_of(update: bytes) -> Drawing:
    """Return a document that consists of one update."""
    doc = Drawing()
    doc.apply_update(update)
    return doc


@dataclass(slots=True)
class Connection:
    """One connection.

    For each document message that the editor has sent, `covered` has the number of edits that the editor had made by
    then. `first_step_2` is the index in `covered` of the first sync step 2, or None before that message is sent.
    The first sync step 2 contains all earlier edits that the server lacked.
    """

    socket: ClientConnection
    covered: list[int] = field(default_factory=list)
    first_step_2: int | None = None


class LightEditor:
    """A client with its own document.

    `made` is the number of its edits, which have numbers from 0. The first `saved` edits were reported as saved.

    `is_silent` is true after `fall_silent`. `closes` counts the ends of connections by close code; a refused handshake
    counts by its HTTP status. `longest_offline` is the longest time without a synced connection, and `longest_unsaved`
    the longest time from an edit until the report that it is saved, both in seconds. `unsaved_since` is the time of
    this edit on the monotonic clock.
    """

    def __init__(self, name: str, addresses: Sequence[str], *, seed: int, rate: float) -> None:
        self.name = name
        self.doc = Drawing()
        self.made = 0
        self.saved = 0
        self.closes: Counter[int] = Counter()
        self.longest_offline = 0.0
        self.longest_unsaved = 0.0
        self.unsaved_since = 0.0
        self.is_silent = False
        self.synced = asyncio.Event()
        self._addresses = addresses
        self._random = random.Random(seed)
        self._rate = rate
        self._canvas = self.doc.get("canvas", type=Map[str])
        self._made_at: list[float] = []
        self._updates: list[bytes] | None = None
        self._connection: Connection | None = None
        self._offline_since = time.monotonic()
        self._may_read = asyncio.Event()
        self._may_read.set()
        self._subscription = self.doc.observe(self._collect)
        self._tasks = [asyncio.create_task(self._stay_connected())]

    def start(self) -> None:
        """Start editing."""
        self._tasks.append(asyncio.create_task(self._edit_repeatedly()))

    def stop(self) -> None:
        """Stop editing. The connection stays open."""
        for task in self._tasks[1:]:
            task.cancel()

    async def close(self) -> None:
        """Vanish, and wait until all tasks have ended."""
        self.vanish()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def vanish(self) -> None:
        """End all tasks and the connection, without a close frame, like a killed browser."""
        if self._connection is not None:
            self._connection.socket.transport.abort()
        for task in self._tasks:
            task.cancel()

    def fall_silent(self) -> None:
        """Stop editing and reading, but keep the connection, like a closed laptop."""
        self.is_silent = True
        self._may_read.clear()
        self.stop()

    async def stall(self, seconds: float) -> None:
        """Stop reading for some seconds, but continue to edit."""
        self._may_read.clear()
        await asyncio.sleep(seconds)
        if not self.is_silent:
            self._may_read.set()

    @property
    def is_saved(self) -> bool:
        """Whether every edit was reported as saved."""
        return self.saved == self.made

    def key(self, number: int) -> str:
        """Return the key of an edit in the document."""
        return f"{self.name}.{number}"

    async def edit(self, size: int = 0) -> None:
        """Make one edit, and send it if there is a connection.

        `size`: the number of characters to which the value is padded.
        """
        number, self.made = self.made, self.made + 1
        self._made_at.append(time.monotonic())
        self._updates = []
        with self.doc.transaction():
            self._canvas[self.key(number)] = str(number).ljust(size)
            if number % _SHARED_EVERY == 0:
                self._canvas["shared"] = self.key(number)
        updates, self._updates = self._updates, None
        connection = self._connection
        if connection is not None:
            for update in updates:
                await self._send(connection, protocol.encode_update(update))

    async def _edit_repeatedly(self) -> None:
        while True:
            # The time between two edits of a user is random.
            await asyncio.sleep(self._random.uniform(0.5, 1.5) / self._rate)
            with contextlib.suppress(ConnectionClosed):
                await self.edit()

    def _collect(self, event: TransactionEvent) -> None:
        if self._updates is not None:
            self._updates.append(event.update)

    async def _send(self, connection: Connection, message: bytes) -> None:
        connection.covered.append(self.made)
        await connection.socket.send(message)

    async def _stay_connected(self) -> None:
        failures = 0
        while True:
            try:
                async with connect(
                    self._random.choice(self._addresses),
                    compression=None,
                    ping_interval=None,
                    max_size=None,
                    max_queue=8,
                    open_timeout=_HANDSHAKE_SECONDS,
                    close_timeout=0.1,
                ) as socket:
                    failures = 0
                    await self._serve(socket)
            except InvalidStatus as error:
                self.closes[error.response.status_code] += 1
            except ConnectionClosed as error:
                self.closes[error.rcvd.code if error.rcvd else 1006] += 1
            except (OSError, TimeoutError, InvalidHandshake, EOFError):
                self.closes[1006] += 1
            finally:
                self._mark_offline()
            # y-websocket also doubles the wait after each failure.
            backoff = min(0.1 * 2**failures, _LONGEST_BACKOFF)
            await asyncio.sleep(self._random.uniform(0.5, 1.0) * backoff)
            failures += 1

    def _mark_offline(self) -> None:
        """Discard the ended connection. If it was synced, the time offline begins now."""
        if self._connection is not None:
            self._connection = None
        if self.synced.is_set():
            self.synced.clear()
            self._offline_since = time.monotonic()

    async def _serve(self, socket: ClientConnection) -> None:
        connection = self._connection = Connection(socket)
        await socket.send(protocol.encode_sync_step_1(self.doc.get_state()))
        while True:
            await self._may_read.wait()
            async with asyncio.timeout(_SILENCE_SECONDS):
                message = await socket.recv()
            assert isinstance(message, bytes)
            await self._receive(connection, message)

    async def _receive(self, connection: Connection, message: bytes) -> None:
        decoder = Decoder(message)
        kind = decoder.uint()
        if kind == protocol.SAVED:
            self._count_saved(connection, decoder.uint())
        if kind != protocol.SYNC:
            return
        sync = decoder.uint()
        content = decoder.buffer()
        if sync == protocol.STEP_1:
            if connection.first_step_2 is None:
                connection.first_step_2 = len(connection.covered)
            lacking = self.doc.get_update(content)
            await self._send(connection, protocol.encode_sync_step_2(lacking))
            return
        self.doc.apply_update(content)
        if sync == protocol.STEP_2 and not self.synced.is_set():
            self.synced.set()
            self.longest_offline = max(self.longest_offline, time.monotonic() - self._offline_since)

    def _count_saved(self, connection: Connection, count: int) -> None:
        # Before the first sync step 2, a saved update may depend on an earlier edit that is not saved.
        if connection.first_step_2 is None or count <= connection.first_step_2:
            return
        saved = connection.covered[count - 1]
        if saved > self.saved:
            made_at = self._made_at[self.saved]
            if time.monotonic() - made_at > self.longest_unsaved:
                self.longest_unsaved, self.unsaved_since = time.monotonic() - made_at, made_at
            self.saved = saved
