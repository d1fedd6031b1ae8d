"""Messages on the links to gateways, and the broadcaster that sends them."""

import asyncio
import contextlib
from typing import Any, cast

import pytest
from pycrdt import Doc, Map

from svgx_canvas.document.faults import Fault
from svgx_collab.held_canvas import ALL_GATEWAYS, HeldCanvas
from svgx_collab.links import broadcaster as module
from svgx_collab.links.broadcaster import Broadcaster
from svgx_collab.links.gateway_links import (
    MAX_MESSAGE_BYTES,
    MAX_PART_BYTES,
    GatewayLinks,
    is_gateway_id,
)
from svgx_collab.room import Room
from svgx_common.background import BackgroundTasks
from svgx_common.contract.collab import (
    CANVAS_UPDATE,
    Broadcast,
    Edit,
    LinkBroadcast,
    LinkReceipt,
    LinkToGateway,
)
from svgx_common.contract.errors import Unavailable
from svgx_common.contract.state import Content
from svgx_common.messaging.blobs import PIECE_BYTES
from svgx_common.messaging.bus import Bus
from svgx_common.messaging.link_codec import decode_to_gateway
from svgx_yjs.awareness import State
from tests.polling import pause


class FakeBus:
    """A bus that keeps the messages of links by subject, and the broadcasts on canvases' own subjects."""

    def __init__(self) -> None:
        self.is_away = False
        self.messages: list[tuple[str, LinkToGateway]] = []
        self.sizes: list[int] = []
        self.broadcasts: list[Any] = []

    async def publish(self, subject: str, content: bytes) -> None:
        if self.is_away:
            raise Unavailable
        self.sizes.append(len(content))
        self.messages.append((subject, decode_to_gateway(content)))

    async def broadcast(self, _: object, payload: object, **__: str) -> None:
        self.broadcasts.append(payload)


def ignore_part() -> None:
    """Do nothing with a new part."""


@pytest.fixture
def bus() -> FakeBus:
    """A bus without a server."""
    return FakeBus()


@pytest.mark.parametrize(
    ("text", "is_id"),
    [("a1-B_2", True), ("x" * 64, True), ("x" * 65, False), ("", False)]
    + [(text, False) for text in ("a.b", "*", ">", "a b", "a\n", "ä", "a.>")],
)
def test_gateway_id_cannot_change_the_subject(text: str, *, is_id: bool) -> None:
    """The sender of a message chooses the id, which becomes part of a subject. Proves R-BUS-18."""
    assert is_gateway_id(text) == is_id


async def test_parts_of_one_flush_share_a_message_for_each_gateway(bus: FakeBus) -> None:
    """Each gateway gets the broadcasts, receipts and refusals of all canvases in one message. Proves R-BUS-18."""
    links = GatewayLinks(cast(Bus, bus), ignore_part)
    for gateway in ("one", "two"):
        for number in range(3):
            links.broadcast(gateway, LinkBroadcast(f"canvas-{number}", "epoch", 1, b"update"))
            links.receipt(gateway, LinkReceipt(number, (number,), "epoch"))
            links.refuse(gateway, 10 + number, same_holder=False)
    await links.flush()
    await links.flush()
    assert [subject for subject, _ in bus.messages] == [
        "svgx.link.gateway.one",
        "svgx.link.gateway.two",
    ]
    for _, message in bus.messages:
        assert len(message.broadcasts) == len(message.receipts) == len(message.refusals) == 3


async def test_many_parts_are_several_messages_that_fit_into_nats(bus: FakeBus) -> None:
    """No message is so large that a gateway must pull it. Proves R-BUS-5.

    During a pull, the gateway's next messages would wait.
    """
    links = GatewayLinks(cast(Bus, bus), ignore_part)
    for number in range(20):
        update = b"x" * MAX_PART_BYTES
        links.broadcast("one", LinkBroadcast(f"canvas-{number}", "epoch", 1, update))
    for number in range(5000):
        links.receipt("one", LinkReceipt(number, (), "epoch"))
    await links.flush()
    assert max(bus.sizes) < PIECE_BYTES
    assert len(bus.sizes) < 20
    assert sum(len(message.broadcasts) for _, message in bus.messages) == 20
    assert sum(len(message.receipts) for _, message in bus.messages) == 5000
    assert MAX_MESSAGE_BYTES + MAX_PART_BYTES < PIECE_BYTES


async def test_lost_message_does_not_stop_the_others(bus: FakeBus) -> None:
    """If NATS stays unavailable, parts are dropped instead of being collected. Proves R-FAIL-5."""
    links = GatewayLinks(cast(Bus, bus), ignore_part)
    bus.is_away = True
    links.refuse("one", 1, same_holder=True)
    await links.flush()
    bus.is_away = False
    links.refuse("one", 2, same_holder=True)
    await links.flush()
    (refusal,) = bus.messages[0][1].refusals
    assert refusal.number == 2


class Canvas:
    """A held canvas with a broadcaster, and a document that edits the canvas."""

    def __init__(self, broadcaster: Broadcaster) -> None:
        self.held = HeldCanvas(
            Room("canvas", "replica.1", Content(0, ())), broadcaster.mark_changed
        )
        self._doc: Doc[Any] = Doc()
        self._elements: Map[Any] = self._doc.get("elements", type=Map)
        self._clock = 0

    def edit(self, value: str) -> None:
        """Set an element."""
        before = self._doc.get_state()
        self._elements["a"] = value
        self.held.room.receive([Edit("ann", self._doc.get_update(before))])
        self.held.mark_changed()

    def move(self) -> None:
        """Change the awareness state of a client."""
        self._clock += 1
        self.held.participants.receive("ann", State(1, self._clock, "{}"), now=0.0)
        self.held.mark_changed()


def fail(_: HeldCanvas, fault: Fault) -> None:
    """Fail the test, because no room should have a fault."""
    raise fault


@pytest.mark.parametrize(
    ("gateways", "size", "on_links"),
    [
        ([], 1, False),
        (["one"], 1, True),
        (["one", "two"], 1, True),
        (["one"], MAX_PART_BYTES, False),
        (["one", ALL_GATEWAYS], 1, False),
    ],
)
async def test_broadcast_is_sent_on_links_unless_it_is_large_or_a_gateway_is_unknown(
    bus: FakeBus, gateways: list[str], size: int, *, on_links: bool
) -> None:
    """A broadcast is sent either on links or on the canvas's own subject, and so no client receives it twice.

    Proves R-SYNC-6 and R-BUS-18.
    """
    broadcaster = Broadcaster(cast(Bus, bus), fail)
    canvas = Canvas(broadcaster)
    for gateway in gateways:
        canvas.held.add_gateway(gateway, now=0.0)
    canvas.edit("x" * size)
    async with asyncio.timeout(10):
        await broadcaster.flush()
    subjects = [subject for subject, _ in bus.messages]
    assert subjects == ([f"svgx.link.gateway.{each}" for each in gateways] if on_links else [])
    assert len(bus.broadcasts) == (0 if on_links else 1)


async def test_large_broadcast_is_sent_after_earlier_broadcasts(bus: FakeBus) -> None:
    """A gateway receives the broadcasts of a canvas in their order, so it finds no gap. Proves R-BUS-18."""
    broadcaster = Broadcaster(cast(Bus, bus), fail)
    canvas = Canvas(broadcaster)
    canvas.held.add_gateway("one", now=0.0)
    canvas.edit("1")
    await broadcaster.broadcast_changes(canvas.held)
    assert (bus.messages, bus.broadcasts) == ([], [])
    canvas.edit("x" * MAX_PART_BYTES)
    await broadcaster.broadcast_changes(canvas.held)
    (broadcast,) = bus.messages[0][1].broadcasts
    assert (broadcast.sequence, bus.broadcasts[0].sequence) == (1, 2)


async def test_new_holder_announces_itself_to_all_gateways(bus: FakeBus) -> None:
    """The announcement is an empty broadcast with the sequence number 0. Proves R-FAIL-14."""
    broadcaster = Broadcaster(cast(Bus, bus), fail)
    canvas = Canvas(broadcaster)
    await broadcaster.announce(canvas.held)
    assert bus.broadcasts == [Broadcast("replica.1", 0, b"\0\0")]
    assert CANVAS_UPDATE.payload is Broadcast


async def test_presence_waits_for_every_second_frame_and_edits_do_not(
    bus: FakeBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cursors are sent at half the rate of edits. The newest cursor is never lost. Proves R-AWARE-12 and R-SYNC-7."""
    monkeypatch.setattr(module, "LONGEST_FRAME_SECONDS", 3600.0)
    broadcaster = Broadcaster(cast(Bus, bus), fail)
    canvas = Canvas(broadcaster)
    canvas.held.add_gateway("one", now=0.0)
    async with asyncio.timeout(10):
        # The first two frames end when the test says so. The last cursor below waits for a short frame.
        for number, frame in enumerate((3600.0, 3600.0, 0.05)):
            monkeypatch.setattr(module, "FRAME_SECONDS", frame)
            canvas.held.broadcast_at -= 3600.0
            canvas.held.presence_at -= 3600.0
            canvas.edit(f"{number}")
            canvas.move()
            before = len(bus.messages)
            while len(bus.messages) == before:
                await broadcaster.flush()
        assert [len(message.broadcasts) for _, message in bus.messages] == [1, 1, 1]
        assert [len(message.presence) for _, message in bus.messages] == [1, 0, 1]
        canvas.move()
        while len(bus.messages) == 3:
            await broadcaster.flush()
    assert len(bus.messages[-1][1].presence) == 1


async def test_released_canvas_is_not_broadcast(bus: FakeBus) -> None:
    """The broadcaster drops the waiting changes of a canvas that is released. Proves R-SYNC-13."""
    broadcaster = Broadcaster(cast(Bus, bus), fail)
    canvas = Canvas(broadcaster)
    canvas.held.add_gateway("one", now=0.0)
    canvas.edit("1")
    canvas.move()
    canvas.held.release()
    async with asyncio.timeout(10):
        await broadcaster.flush()
    assert (bus.messages, bus.broadcasts) == ([], [])
    assert not broadcaster._changed


async def test_receipt_of_an_isolated_edit_does_not_wait_for_the_interval(
    bus: FakeBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an idle time, two flushes follow each other at once. The third waits. Proves R-SYNC-7 and R-BUS-18."""
    monkeypatch.setattr(module, "FLUSH_SECONDS", 3600.0)
    monkeypatch.setattr(module, "SECONDS_PER_PART", 3600.0)
    broadcaster = Broadcaster(cast(Bus, bus), fail)
    canvas = Canvas(broadcaster)
    canvas.held.add_gateway("one", now=0.0)
    background = BackgroundTasks()
    background.repeat("broadcast", broadcaster.flush)
    async with asyncio.timeout(10):
        canvas.edit("1")
        while len(bus.messages) < 1:
            await pause()
        broadcaster.links.receipt("one", LinkReceipt(1, (), "replica.1"))
        while len(bus.messages) < 2:
            await pause()
    assert [len(message.receipts) for _, message in bus.messages] == [0, 1]
    broadcaster.links.receipt("one", LinkReceipt(2, (), "replica.1"))
    await pause()
    assert len(bus.messages) == 2
    await background.stop()


async def test_early_broadcasts_of_a_canvas_keep_its_rate(
    bus: FakeBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An arriving edit may be broadcast early. The next broadcast is delayed by the same time. Proves R-SYNC-7."""
    monkeypatch.setattr(module, "FLUSH_SECONDS", 0.0)
    monkeypatch.setattr(module, "FLUSH_SLACK_SECONDS", 5400.0)
    for name in ("FRAME_SECONDS", "LONGEST_FRAME_SECONDS"):
        monkeypatch.setattr(module, name, 3600.0)
    broadcaster = Broadcaster(cast(Bus, bus), fail)
    canvas = Canvas(broadcaster)
    canvas.held.add_gateway("one", now=0.0)
    async with asyncio.timeout(10):
        for value in ("first", "early"):
            canvas.edit(value)
            await broadcaster.flush()
    assert len(bus.messages) == 2
    canvas.edit("too early")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await broadcaster.flush()
    assert len(bus.messages) == 2


@pytest.mark.parametrize(("parts", "waits"), [(1, False), (2, True)])
async def test_flush_with_many_parts_delays_the_next_one(
    bus: FakeBus, monkeypatch: pytest.MonkeyPatch, parts: int, *, waits: bool
) -> None:
    """While few canvases are edited, the next flush follows at once. Proves R-SYNC-7 and R-BUS-18."""
    monkeypatch.setattr(module, "FLUSH_SECONDS", 7200.0)
    monkeypatch.setattr(module, "SECONDS_PER_PART", 3600.0)
    broadcaster = Broadcaster(cast(Bus, bus), fail)
    for number in range(parts):
        broadcaster.links.receipt("one", LinkReceipt(number, (), "replica.1"))
    await broadcaster.flush()
    broadcaster.links.receipt("one", LinkReceipt(parts, (), "replica.1"))
    await broadcaster.flush()
    broadcaster.links.receipt("one", LinkReceipt(parts + 1, (), "replica.1"))
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.01):
            await broadcaster.flush()
    assert len(bus.messages) == (2 if waits else 3)
