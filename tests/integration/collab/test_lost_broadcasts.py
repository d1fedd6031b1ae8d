"""A client receives the content of a broadcast even if the broadcast was lost on its way."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest
from pycrdt import Doc, Map
from starlette.websockets import WebSocket

from svgx_collab.links import broadcaster
from svgx_collab.links.gateway_links import GatewayLinks
from svgx_common.contract.close_codes import Close
from svgx_common.contract.collab import CANVAS_UPDATE, LINK_TO_GATEWAY, Broadcast
from svgx_common.contract.policy import CanvasRole, Role
from svgx_common.messaging.bus import Bus
from svgx_common.messaging.caller import Caller
from svgx_common.messaging.wire import decode
from svgx_devstack import DevStack
from svgx_gateway.websocket import canvas as canvas_module
from svgx_gateway.websocket import connection as connection_module
from svgx_gateway.websocket.canvas import LiveCanvas
from svgx_gateway.websocket.connection import Connection, Lagging
from svgx_gateway.websocket.links.replica_links import ReplicaLinks
from svgx_yjs import protocol
from svgx_yjs.lib0 import Malformed
from tests.integration.collab.replica import Editor, replica

NEVER = 3600.0
"""An interval in seconds that is longer than any test, so that its event never happens."""

SOON = 0.05
"""An interval in seconds, so short that a test can wait for its event."""


class Client:
    """A Yjs client of a gateway in this process. It receives frames only while `reading` is set."""

    def __init__(self) -> None:
        caller = Caller("u", "ann", Role.EDITOR, "s")
        self.connection = Connection(
            cast(WebSocket, self), caller, CanvasRole.EDITOR, wants_saved=False
        )
        self.reading = asyncio.Event()
        self.reading.set()
        self.received: list[protocol.Message] = []
        self._doc: Doc[Any] = Doc()
        self._elements: Map[Any] = self._doc.get("elements", type=Map)
        self._changed = asyncio.Event()

    async def send_bytes(self, frame: bytes) -> None:
        await self.reading.wait()
        message = protocol.decode(frame)
        self.received.append(message)
        if isinstance(message, protocol.DocumentMessage):
            self._doc.apply_update(message.update)
            self._changed.set()

    async def until_has(self, **expected: str) -> None:
        """Wait until the client's document has exactly these elements."""
        async with asyncio.timeout(20):
            while dict(self._elements.to_py() or {}) != expected:
                self._changed.clear()
                await self._changed.wait()

    def document_messages(self) -> list[str]:
        """Return "sync step 2" or "update" for each message with a part of the document, in the order of arrival."""
        found = (each for each in self.received if isinstance(each, protocol.DocumentMessage))
        return ["sync step 2" if each.whole else "update" for each in found]


@asynccontextmanager
async def connected(
    bus: Bus, canvas_id: str, links: ReplicaLinks | None = None
) -> AsyncIterator[tuple[LiveCanvas, Client]]:
    """Run the canvas on a gateway, with one client. Without `links`, the canvas has links of its own."""
    own_links = ReplicaLinks(bus)
    live, client = LiveCanvas(bus, canvas_id, links or own_links), Client()
    await live.start()
    writing = asyncio.create_task(client.connection.write())
    live.connections.add(client.connection)
    await live.sync(client.connection, b"\x00")
    try:
        yield live, client
    finally:
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
        await live.stop()
        await own_links.stop()


def set_checkpoints(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Set the time between two checkpoints of a canvas. It applies to the canvases that start from now on.

    At a checkpoint, the gateway asks the holder whether the gateway has missed a broadcast.
    """
    monkeypatch.setattr(canvas_module, "CHECKPOINT_INTERVAL", seconds)
    monkeypatch.setattr(canvas_module, "RECHECK_INTERVAL", seconds)


async def test_lost_last_broadcast_is_repaired_by_a_checkpoint(
    backing: DevStack, bus: Bus, editor: Editor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No later broadcast shows the gap, and the holder does not repeat the last broadcast. Proves R-SYNC-15."""
    set_checkpoints(monkeypatch, SOON)
    async with replica(backing), connected(bus, editor.canvas_id) as (_, client):
        await editor.set("a", "1")
        await client.until_has(a="1")
        with monkeypatch.context() as patch:
            patch.setattr(GatewayLinks, "broadcast", lambda *_: None)
            await editor.set("b", "2")
            await client.until_has(a="1", b="2")


async def test_broadcast_dropped_by_a_slow_gateway_is_repaired_at_once(
    backing: DevStack, bus: Bus, editor: Editor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """nats-py drops a message when too many wait. The gateway does not wait for a checkpoint. Proves R-SYNC-15."""
    set_checkpoints(monkeypatch, NEVER)
    async with replica(backing), connected(bus, editor.canvas_id) as (_, client):
        await editor.set("a", "1")
        await client.until_has(a="1")
        subject = LINK_TO_GATEWAY.subject_of(gateway_id=bus.replica_id)
        (subscription,) = (
            each for each in bus.connection._subs.values() if each.subject == subject
        )
        subscription._pending_bytes_limit = 1
        await editor.set("b", "2")
        await client.until_has(a="1", b="2")


async def test_joining_client_gets_no_update_before_its_sync(
    backing: DevStack, bus: Bus, editor: Editor
) -> None:
    """An update before the sync would wait for missing updates, and pycrdt would lose the deletions of this update.

    Proves R-SYNC-17.
    """
    async with replica(backing), connected(bus, editor.canvas_id) as (live, client):
        newcomer = Client()
        writing = asyncio.create_task(newcomer.connection.write())
        live.connections.add(newcomer.connection)
        for value in ("1", "2", "3"):
            await editor.set("a", value)
            await client.until_has(a=value)
        assert newcomer.document_messages() == []
        await live.sync(newcomer.connection, b"\x00")
        await newcomer.until_has(a="3")
        await editor.set("a", "4")
        await newcomer.until_has(a="4")
        assert newcomer.document_messages() == ["sync step 2", "update"]
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)


async def test_client_without_a_sync_gets_updates_on_a_gateway_that_is_new_to_the_canvas(
    backing: DevStack, bus: Bus, editor: Editor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The holder sends broadcasts only to the gateways that it knows. Proves R-SYNC-17."""
    set_checkpoints(monkeypatch, NEVER)
    other_bus = await Bus.connect(backing.nats_url("operator"), "gateway", "other")
    links, newcomer = ReplicaLinks(other_bus), Client()
    live = LiveCanvas(other_bus, editor.canvas_id, links)
    async with replica(backing), connected(bus, editor.canvas_id) as (_, client):
        await editor.set("a", "0")
        await client.until_has(a="0")
        await live.start()
        writing = asyncio.create_task(newcomer.connection.write())
        live.connections.add(newcomer.connection)
        live.follow_without_sync(newcomer.connection)
        async with asyncio.timeout(20):
            for number in itertools.count(1):
                await editor.set("a", str(number))
                if newcomer.document_messages():
                    break
        await newcomer.until_has(a=str(number))
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
        await live.stop()
    await links.stop()
    await other_bus.close()


async def test_replica_that_leaves_a_canvas_broadcasts_the_last_edits(
    backing: DevStack, bus: Bus, editor: Editor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Edits that wait for the next broadcast are sent before the canvas is released. Proves R-FAIL-10 and R-SYNC-15."""
    monkeypatch.setattr(broadcaster, "FRAME_SECONDS", NEVER)
    monkeypatch.setattr(broadcaster, "LONGEST_FRAME_SECONDS", NEVER)
    broadcasts: asyncio.Queue[Broadcast] = asyncio.Queue()

    async def receive(_: str, content: bytes) -> None:
        broadcast = decode(Broadcast, content)
        if broadcast.sequence:  # not the announcement of the holder
            broadcasts.put_nowait(broadcast)

    await bus.listen(CANVAS_UPDATE.subject_of(canvas_id=editor.canvas_id), receive)
    async with replica(backing) as one, asyncio.timeout(20):
        await editor.set("a", "1")
        assert (await broadcasts.get()).sequence == 1
        await editor.set("b", "2")
        await one.rooms.hand_over()
        last = await broadcasts.get()
    assert (last.sequence, b"b" in last.update) == (2, True)


async def test_client_whose_catch_up_fails_is_closed(
    backing: DevStack, bus: Bus, editor: Editor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that stayed connected would get later broadcasts, and would lack the dropped ones for ever.

    Proves R-SYNC-10.
    """
    set_checkpoints(monkeypatch, NEVER)
    monkeypatch.setattr(connection_module, "SLOW_BYTES", 1)
    async with replica(backing), connected(bus, editor.canvas_id) as (live, client):
        await editor.set("a", "1")
        await client.until_has(a="1")

        async def fail(*_: object) -> None:
            raise Malformed("the reply is cut off")

        monkeypatch.setattr(live, "_request_sync", fail)
        client.reading.clear()
        # The holder may merge edits into one broadcast, so the number of edits that makes the client lag varies.
        for number in itertools.count():
            if isinstance(client.connection.flow, Lagging):
                break
            await editor.set("b", str(number))
        client.reading.set()
        async with asyncio.timeout(20):
            closing = await client.connection.closing
    assert (closing.code, closing.reason) == (Close.INTERNAL, "cannot catch up")
