"""The holder of a canvas sends element events to the gateways while they have JSON clients. On a real NATS."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from pycrdt import Map

from svgx_collab import held_canvas
from svgx_collab.held_canvas import HeldCanvas
from svgx_collab.links import element_broadcasts
from svgx_collab.room import Room
from svgx_common.contract.collab import CANVAS_SYNC, SyncReply, SyncRequest
from svgx_common.contract.errors import Unavailable
from svgx_common.contract.live.element_events import CANVAS_ELEMENTS, ElementEvents
from svgx_common.contract.operation import Channel
from svgx_common.messaging.bus import Bus
from svgx_common.messaging.headers import HEADER_ELEMENTS
from svgx_common.messaging.holder import Holder
from svgx_common.messaging.wire import decode, encode
from svgx_devstack import DevStack
from tests.integration.collab.replica import Editor, replica
from tests.polling import pause

NEVER = 3600.0
"""Seconds that are longer than any test."""


class Feed:
    """The element events of a canvas as a gateway receives them."""

    def __init__(self, editor: Editor) -> None:
        self._editor = editor
        self._events: asyncio.Queue[ElementEvents] = asyncio.Queue()

    async def receive(self, _: str, content: bytes) -> None:
        self._events.put_nowait(decode(ElementEvents, content))

    async def sync(self, *, has_json_clients: bool = True) -> SyncReply:
        """Send a sync request as a gateway does."""
        holder = Holder(self._editor.bus, self._editor.canvas_id)
        headers = {HEADER_ELEMENTS: "1"} if has_json_clients else {}
        content = encode(SyncRequest(None))
        return decode(
            SyncReply,
            await holder.ask(
                CANVAS_SYNC, content, retry_seconds=20, attempt_seconds=5, more_headers=headers
            ),
        )

    async def next(self) -> ElementEvents:
        """Return the next event."""
        async with asyncio.timeout(20):
            return await self._events.get()

    async def require_no_event(self) -> None:
        """Check that no event arrives before the answer to a request."""
        await self._editor.sync()
        assert self._events.empty()


@pytest.fixture
def held_canvases(monkeypatch: pytest.MonkeyPatch) -> list[HeldCanvas]:
    """Return the list of all canvases that are held from now on."""
    canvases: list[HeldCanvas] = []
    create = HeldCanvas.__init__

    def note(held: HeldCanvas, *arguments: Any) -> None:
        create(held, *arguments)
        canvases.append(held)

    monkeypatch.setattr(HeldCanvas, "__init__", note)
    return canvases


@asynccontextmanager
async def feed(editor: Editor) -> AsyncIterator[Feed]:
    """Listen to the element events of the editor's canvas."""
    feed = Feed(editor)
    subject = CANVAS_ELEMENTS.subject_of(canvas_id=editor.canvas_id)
    subscription = await editor.bus.listen(subject, feed.receive)
    await editor.bus.settle()
    yield feed
    await editor.bus.leave([subscription])


async def draw(editor: Editor, **elements: str) -> None:
    """Set the `x` of elements, each in an edit of its own, and wait until they are saved."""
    updates = []
    for identifier, x in elements.items():
        content = Map({"tag": "rect", "attrs": Map({"x": x})})
        updates.append(editor.draw(identifier, content))  # type: ignore[arg-type]
    await editor.send(updates)


def positions(event: ElementEvents) -> dict[str, str]:
    """Return the `x` of the elements in an event."""
    operations: list[dict[str, Any]] = json.loads(event.operations)
    return {each["id"]: each["attrs"]["x"] for each in operations}


async def test_edit_reaches_a_gateway_with_json_clients(backing: DevStack, editor: Editor) -> None:
    """The number after the begin of the observation is skipped. Proves R-JSON-6 and R-JSON-7."""
    async with replica(backing), feed(editor) as elements:
        await draw(editor, before="0")
        epoch = (await elements.sync()).epoch
        await draw(editor, a="1")
        event = await elements.next()
        assert (event.epoch, event.sequence, positions(event)) == (epoch, 2, {"a": "1"})
        await elements.sync()
        await draw(editor, a="2", b="3")
        event = await elements.next()
        assert (event.epoch, event.sequence) == (epoch, 3)
        assert positions(event) == {"a": "2", "b": "3"}


def is_observed(held: HeldCanvas) -> bool:
    """Return whether the changed elements are observed, in a form that mypy does not narrow across an await."""
    return held.room.observes_elements


async def test_no_event_without_json_clients(
    backing: DevStack,
    editor: Editor,
    held_canvases: list[HeldCanvas],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The observation ends some time after the last request of a gateway with JSON clients. Proves R-JSON-7."""
    async with replica(backing), feed(editor) as elements:
        await elements.sync(has_json_clients=False)
        await draw(editor, a="1")
        await elements.require_no_event()
        (held,) = held_canvases
        assert not is_observed(held)
        with monkeypatch.context() as patch:
            patch.setattr(held_canvas, "LISTENING_SECONDS", 0.0)
            await elements.sync()
        await draw(editor, a="2")
        while is_observed(held):
            await pause()
        await elements.require_no_event()
        await elements.sync()
        await draw(editor, a="3")
        event = await elements.next()
        assert (event.sequence, positions(event)) == (3, {"a": "3"})


async def test_changes_before_the_next_event_are_merged(
    backing: DevStack, editor: Editor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last change is sent without a further edit. Proves R-JSON-7."""
    monkeypatch.setattr(element_broadcasts, "EVENT_SECONDS", 1.0)
    async with replica(backing), feed(editor) as elements:
        await elements.sync()
        await draw(editor, a="1")
        assert positions(await elements.next()) == {"a": "1"}
        for x in ("2", "3"):
            await draw(editor, a=x)
        await draw(editor, b="4")
        event = await elements.next()
        assert (event.sequence, positions(event)) == (3, {"a": "3", "b": "4"})


async def test_event_that_cannot_be_sent_is_followed_by_a_reload(
    backing: DevStack, editor: Editor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its number is missing, and the reload comes without a further edit. Proves R-JSON-7."""
    monkeypatch.setattr(element_broadcasts, "RETRY_SECONDS", 0.01)
    broadcast = Bus.broadcast
    failures = 2

    async def fail_first(
        bus: Bus, channel: Channel[Any], payload: object, *headers: Any, **parameters: Any
    ) -> None:
        nonlocal failures
        if channel is CANVAS_ELEMENTS and failures:
            failures -= 1
            raise Unavailable
        await broadcast(bus, channel, payload, *headers, **parameters)

    async with replica(backing), feed(editor) as elements:
        await elements.sync()
        monkeypatch.setattr(Bus, "broadcast", fail_first)
        await draw(editor, a="1")
        event = await elements.next()
        assert (event.sequence, event.operations) == (6, "")


async def test_events_wait_for_their_processor_time(
    backing: DevStack,
    editor: Editor,
    held_canvases: list[HeldCanvas],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An event that takes long delays the next one. Proves R-JSON-7."""
    monkeypatch.setattr(element_broadcasts, "PAUSE_FACTOR", 1e9)
    async with replica(backing), feed(editor) as elements:
        await elements.sync()
        await draw(editor, a="1")
        await elements.next()
        (held,) = held_canvases
        assert held.elements_at > asyncio.get_running_loop().time() + NEVER
        await draw(editor, b="2")
        await elements.require_no_event()


async def test_event_that_cannot_be_made_is_followed_by_a_reload(
    backing: DevStack, editor: Editor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an unexpected failure, everything counts as changed. Proves R-JSON-7."""
    monkeypatch.setattr(element_broadcasts, "RETRY_SECONDS", 0.01)
    take = Room.take_element_events
    errors: list[Exception] = [TypeError("unexpected")]

    def fail(room: Room) -> ElementEvents | None:
        if errors:
            raise errors.pop()
        return take(room)

    async with replica(backing), feed(editor) as elements:
        epoch = (await elements.sync()).epoch
        monkeypatch.setattr(Room, "take_element_events", fail)
        await draw(editor, a="1")
        event = await elements.next()
        assert (event.epoch, event.sequence, event.operations) == (epoch, 3, "")


async def test_event_that_nats_has_lost_is_followed_by_a_reload(
    backing: DevStack, editor: Editor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reload comes after the reconnect, without a further edit. Proves R-JSON-7."""
    broadcast = Bus.broadcast
    lost = asyncio.Event()

    async def lose(
        bus: Bus, channel: Channel[Any], payload: object, *headers: Any, **parameters: Any
    ) -> None:
        if channel is CANVAS_ELEMENTS and not lost.is_set():
            lost.set()
            return
        await broadcast(bus, channel, payload, *headers, **parameters)

    async with replica(backing) as holder, feed(editor) as elements:
        epoch = (await elements.sync()).epoch
        monkeypatch.setattr(Bus, "broadcast", lose)
        await draw(editor, a="1")
        await lost.wait()
        transport = holder.bus.connection._transport
        assert transport is not None
        transport.close()  # type: ignore[no-untyped-call]
        event = await elements.next()
        assert (event.epoch, event.sequence, event.operations) == (epoch, 4, "")
