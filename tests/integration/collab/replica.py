"""The rooms of a collab replica in this process, with real servers, and a Yjs document that sends edits to a room."""

import asyncio
import functools
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from pycrdt import Doc, Map

from svgx_collab.app import is_alive
from svgx_collab.bounds import Bounds
from svgx_collab.leases import Leases
from svgx_collab.rooms import Rooms
from svgx_common import redis
from svgx_common.contract.collab import (
    CANVAS_EDIT,
    CANVAS_SYNC,
    OPEN,
    Edit,
    EditBatch,
    Opened,
    Saved,
    SyncReply,
    SyncRequest,
)
from svgx_common.contract.errors import DeadlineExceeded, SvgxError
from svgx_common.contract.state import CanvasRequest
from svgx_common.contract.transport import echo_subject, replica_subject
from svgx_common.messaging.bus import Bus, NoResponders
from svgx_common.messaging.caller import Caller
from svgx_common.messaging.holder import ask_holder
from svgx_common.messaging.responder import Call
from svgx_common.messaging.wire import decode, encode
from svgx_devstack import DevStack
from tests.integration.state.service import user
from tests.polling import pause

WORKER_MEMORY = 1024 * 1024 * 1024
"""The memory limit of a worker process, in bytes."""


@dataclass(frozen=True, slots=True)
class Replica:
    """The rooms of one replica."""

    bus: Bus
    rooms: Rooms
    redis: redis.Redis

    async def crash(self) -> None:
        """End the replica as a crash does: nothing is committed, and nothing is handed over."""
        await self.rooms.stop()
        await self.bus.connection.close()


@asynccontextmanager
async def replica(
    backing: DevStack,
    *,
    answers_open: bool = True,
    answers_alive: bool = True,
    bounds: Bounds | None = None,
) -> AsyncIterator[Replica]:
    """Run a replica. `bounds` are the bounds of its rooms, by default those of the service.

    Without `answers_open`, the replica does not answer requests to open a canvas. Without `answers_alive`, it does not
    answer the question whether it is alive.
    """
    replica_id = secrets.token_hex(6)
    bus = await Bus.connect(backing.nats_url("collab"), "collab", replica_id)
    client = redis.connect(backing.redis_url)
    rooms = Rooms(bus, Leases(client, replica_id, functools.partial(is_alive, bus)), bounds)

    async def answer_alive(message: Any) -> None:
        if answers_alive:
            await message.respond(b"")

    async def answer_open(message: Any) -> None:
        request = CanvasRequest.model_validate_json(message.data)
        try:
            opened = Opened(epoch=await rooms.open(request.canvas_id))
        except SvgxError as error:
            await bus.refuse(message.reply, error)
        else:
            await message.respond(opened.model_dump_json().encode())

    await bus.connection.subscribe(replica_subject("collab", replica_id), cb=answer_alive)
    if answers_open:
        await bus.connection.subscribe(OPEN.subject, queue="svgx-collab", cb=answer_open)
    await bus.settle()
    await rooms.start()
    running = Replica(bus, rooms, client)
    try:
        yield running
    finally:
        if not bus.connection.is_closed:
            await rooms.hand_over()
        await running.crash()
        await client.aclose()


async def until_gone(bus: Bus, ended: Replica) -> None:
    """Wait until NATS has noticed the end of a replica's connection."""
    subject = echo_subject("collab", ended.bus.replica_id)
    async with asyncio.timeout(20):
        while True:
            try:
                await bus.request(subject, b"", timeout=1)
            except NoResponders:
                return
            except DeadlineExceeded:
                await pause()


class Editor:
    """A Yjs document. It sends its edits to the canvas's holder as a gateway does."""

    def __init__(self, bus: Bus, canvas_id: str) -> None:
        self.bus = bus
        self.canvas_id = canvas_id
        self.attempt_seconds = 5.0
        """Time limit of one request to the holder, in seconds."""
        self.doc: Doc[Any] = Doc()
        self.elements: Map[Any] = self.doc.get("elements", type=Map)
        self._updates: list[bytes] = []
        self._subscription = self.doc.observe(lambda event: self._updates.append(event.update))

    async def set(self, key: str, value: str) -> Saved:
        """Set one element, and wait until the edit is saved."""
        return await self.send([self.draw(key, value)])

    def draw(self, key: str, value: str) -> bytes:
        """Set one element in this document only, and return the update."""
        self.elements[key] = value
        return self._updates[-1]

    async def send(self, updates: list[bytes]) -> Saved:
        """Send a batch of edits, and wait until it is saved."""
        edits = encode(EditBatch(tuple([Edit("ann", update) for update in updates])))
        return decode(
            Saved,
            await ask_holder(
                self.bus,
                self.canvas_id,
                CANVAS_EDIT,
                edits,
                retry_seconds=20,
                attempt_seconds=self.attempt_seconds,
            ),
        )

    async def sync(self) -> SyncReply:
        """Ask the holder for all content."""
        request = encode(SyncRequest(b"\x00"))
        return decode(
            SyncReply,
            await ask_holder(
                self.bus,
                self.canvas_id,
                CANVAS_SYNC,
                request,
                retry_seconds=20,
                attempt_seconds=self.attempt_seconds,
            ),
        )

    async def held(self) -> dict[str, Any]:
        """Return the elements that the holder has."""
        doc: Doc[Any] = Doc()
        elements: Map[Any] = doc.get("elements", type=Map)
        doc.apply_update((await self.sync()).update)
        return dict(elements.to_py() or {})


def call(seconds: float = 60.0, caller: Caller | None = None) -> Call:
    """Return the call of a user with a deadline in `seconds` seconds."""
    return Call(caller or user(), time.time() + seconds)
