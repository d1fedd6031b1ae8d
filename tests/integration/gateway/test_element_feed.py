"""The element feed of a canvas, with a scripted holder on a real NATS server."""

import asyncio
import json
import secrets
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
from nats.aio.msg import Msg
from structlog.testing import capture_logs

from svgx_common.contract.collab import CANVAS_EDIT, Saved, SyncReply
from svgx_common.contract.live.element_events import CANVAS_ELEMENTS, ElementEvents
from svgx_common.messaging.bus import Bus
from svgx_common.messaging.wire import encode
from svgx_devstack import DevStack
from svgx_gateway.websocket.json_clients import element_feed
from svgx_gateway.websocket.json_clients.element_feed import ElementFeed
from svgx_yjs import awareness
from tests.unit.gateway.websocket.json_clients.json_connection import (
    handshake_answer,
    json_connection,
)

CANVAS = "00000000-0000-0000-0000-000000000001"


class Holder:
    """A holder that answers requests for the saved revision, and sends the element events of a test."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self.epoch = "first"
        self.revision = 0

    async def start(self) -> None:
        """Answer batches of edits. Each answer has a new revision."""
        subject = CANVAS_EDIT.subject_of(canvas_id=CANVAS)
        await self._bus.connection.subscribe(subject, cb=self._answer)
        await self._bus.connection.flush()

    async def send(self, sequence: int, operations: str = "[]", epoch: str = "") -> None:
        """Send an event."""
        events = ElementEvents(epoch or self.epoch, sequence, operations)
        await self._bus.broadcast(CANVAS_ELEMENTS, events, canvas_id=CANVAS)

    async def _answer(self, message: Msg) -> None:
        self.revision += 1
        await message.respond(encode(Saved(self.revision, (), self.epoch)))


class Client:
    """A JSON client of the feed, after its handshake."""

    def __init__(self) -> None:
        self._events: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.connection = json_connection(self._write)

    def accept(self, revision: int) -> None:
        """Answer the handshake."""
        self.connection.accept(handshake_answer(revision), awareness.encode([]))

    async def next(self) -> tuple[str, Any]:
        """Return the type of the next event, and its operations or its revision."""
        async with asyncio.timeout(20):
            event = await self._events.get()
        return event["type"], event.get("operations", event.get("revision"))

    def _write(self, frame: bytes) -> bool:
        self._events.put_nowait(json.loads(frame[frame.index(b"{") :]))
        return True


@dataclass(frozen=True, slots=True)
class Feed:
    """The feed of a gateway, with one client."""

    feed: ElementFeed
    holder: Holder
    client: Client


@pytest.fixture
async def joined(backing: DevStack) -> AsyncIterator[Feed]:
    """Return a feed with a client that has done its handshake at revision 1."""
    gateway = await Bus.connect(backing.nats_url("gateway"), "gateway", secrets.token_hex(6))
    collab = await Bus.connect(backing.nats_url("collab"), "collab", secrets.token_hex(6))
    holder, client = Holder(collab), Client()

    async def request_sync() -> SyncReply:
        feed.note_holder(holder.epoch)
        return SyncReply(holder.epoch, 0, b"\0", b"", b"\0")

    feed = ElementFeed(gateway, CANVAS, request_sync)
    try:
        await holder.start()
        _, revision = await feed.join(client.connection)
        client.accept(revision)
        assert await client.next() == ("handshake_ack", 1)
        yield Feed(feed, holder, client)
        await feed.leave(client.connection)
        await feed.stop()
    finally:
        await gateway.close()
        await collab.close()


PUT = '[{"op":"delete","id":"x"}]'
OPERATIONS = json.loads(PUT)


async def test_events_in_sequence_reach_the_client_without_a_reload(joined: Feed) -> None:
    """The first event may have any number. Proves R-JSON-3."""
    for sequence in (5, 6, 7):
        await joined.holder.send(sequence, PUT)
        assert await joined.client.next() == ("edit_operation", OPERATIONS)
    assert joined.holder.revision == 1


@pytest.mark.parametrize(
    ("sequence", "operations"),
    [
        (7, PUT),  # a gap
        (6, ""),  # too much has changed
        (1, PUT),  # the holder counts from the start again
    ],
)
async def test_missing_changes_make_the_client_reload(
    joined: Feed, sequence: int, operations: str
) -> None:
    """The reload names a revision that has all changes up to then, and the log names the canvas. Proves R-JSON-7."""
    await joined.holder.send(5, PUT)
    assert await joined.client.next() == ("edit_operation", OPERATIONS)
    with capture_logs() as lines:
        await joined.holder.send(sequence, operations)
        if operations:
            assert await joined.client.next() == ("edit_operation", OPERATIONS)
        assert await joined.client.next() == ("reload", 2)
    assert [each["canvas_id"] for each in lines] == [CANVAS]


async def test_gaps_that_follow_a_reload_cause_one_further_reload(joined: Feed) -> None:
    """Between two reloads there is a pause, because exports have a rate limit. Proves R-JSON-7."""
    for sequence in (5, 7):
        await joined.holder.send(sequence, PUT)
        assert await joined.client.next() == ("edit_operation", OPERATIONS)
    assert await joined.client.next() == ("reload", 2)
    for sequence in (9, 11):
        await joined.holder.send(sequence, PUT)
        assert await joined.client.next() == ("edit_operation", OPERATIONS)
    assert await joined.client.next() == ("reload", 3)
    await joined.holder.send(12, PUT)
    assert await joined.client.next() == ("edit_operation", OPERATIONS)
    assert joined.holder.revision == 3


async def test_new_holder_makes_the_client_reload(joined: Feed) -> None:
    """A reply or an event shows the new holder, which has not observed all changes. Proves R-JSON-7."""
    await joined.holder.send(5, PUT)
    assert await joined.client.next() == ("edit_operation", OPERATIONS)
    joined.holder.epoch = "second"
    await joined.holder.send(1, PUT)
    assert await joined.client.next() == ("edit_operation", OPERATIONS)
    assert await joined.client.next() == ("reload", 2)
    joined.holder.epoch = "third"
    joined.feed.note_holder("third")
    assert await joined.client.next() == ("reload", 3)


async def test_long_time_without_a_request_makes_the_client_reload(
    joined: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The holder may have stopped observing, and a quiet canvas has no event that shows this. Proves R-JSON-7."""
    now = time.monotonic()
    joined.feed.note_reply("first", now - 30)
    joined.feed.note_reply("first", now - 40)
    joined.feed.note_reply("first", now)
    await joined.holder.send(5, PUT)
    assert await joined.client.next() == ("edit_operation", OPERATIONS)
    monkeypatch.setattr(element_feed, "LISTENING_SECONDS", -1.0)
    joined.feed.note_reply("first", now)
    assert await joined.client.next() == ("reload", 2)


async def test_feed_without_clients_receives_nothing(joined: Feed) -> None:
    """After the last client has left, a later client gets events again. Proves R-JSON-3."""
    await joined.feed.leave(joined.client.connection)
    assert not joined.feed.has_clients
    joined.feed.reload()
    again = Client()
    _, revision = await joined.feed.join(again.connection)
    again.accept(revision)
    assert await again.next() == ("handshake_ack", 2)
    await joined.holder.send(1, PUT)
    assert await again.next() == ("edit_operation", OPERATIONS)
    await joined.feed.leave(again.connection)
