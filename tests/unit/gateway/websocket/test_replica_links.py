"""The links of a gateway: messages, missing receipts, and the outboxes that use the links."""

import asyncio
from collections.abc import AsyncIterator
from typing import cast

import pytest
from starlette.websockets import WebSocket

from svgx_common.contract.collab import (
    AuthoredState,
    LinkBroadcast,
    LinkPresence,
    LinkReceipt,
    LinkRefusal,
    LinkToGateway,
    LinkToReplica,
    Saved,
    new_epoch,
    replica_of,
)
from svgx_common.contract.errors import DeadlineExceeded, Unavailable
from svgx_common.contract.policy import CanvasRole, Role
from svgx_common.messaging.blobs import PIECE_BYTES
from svgx_common.messaging.bus import Bus, NoResponders
from svgx_common.messaging.caller import Caller
from svgx_common.messaging.holder import Holder
from svgx_common.messaging.link_codec import decode_to_replica, encode_to_gateway
from svgx_common.messaging.wire import encode
from svgx_gateway.websocket.connection import Connection
from svgx_gateway.websocket.links import canvas_interval, replica_link, replica_links
from svgx_gateway.websocket.links.outgoing_batch import (
    EDIT_OVERHEAD_BYTES,
    MAX_BATCH_BYTES,
    MAX_EDIT_BYTES,
    MAX_EDITS,
)
from svgx_gateway.websocket.links.replica_links import ReplicaLinks
from svgx_gateway.websocket.outbox import PROMPT_BATCHES, Outbox

EPOCH = new_epoch("holder", "1")


class FakeSubscription:
    """A subscription of `FakeBus`."""

    async def unsubscribe(self) -> None:
        pass


class FakeBus:
    """A bus that keeps the messages, or refuses them while `refuses_messages` is true."""

    service = "gateway"
    replica_id = "one"

    def __init__(self) -> None:
        self.refuses_messages = False
        self.reachable = True
        self.sizes: list[int] = []
        self.messages: asyncio.Queue[LinkToReplica] = asyncio.Queue()

    async def listen(self, *_: object, **__: object) -> FakeSubscription:
        return FakeSubscription()

    async def publish(self, _: str, content: bytes, *, reply: str) -> None:
        assert reply == "_INBOX.gateway.link.one.holder"
        if self.refuses_messages:
            raise Unavailable
        self.sizes.append(len(content))
        self.messages.put_nowait(decode_to_replica(content))


class Requests:
    """The requests that replace messages of a link. `after` has the error that preceded each request, or None."""

    def __init__(self) -> None:
        self.after: list[type[Exception] | None] = []

    async def ask(self, *_: object, after: Exception | None = None, **__: object) -> bytes:
        self.after.append(None if after is None else type(after))
        return encode(Saved(1, (), "epoch"))


@pytest.fixture
def bus() -> FakeBus:
    """A bus without a server."""
    return FakeBus()


@pytest.fixture
async def links(bus: FakeBus, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ReplicaLinks]:
    """The links of a gateway that waits long for receipts, because the machine may be busy."""
    monkeypatch.setattr(replica_links, "RECEIPT_SECONDS", 60.0)
    links = ReplicaLinks(cast(Bus, bus))
    await links.start()
    yield links
    await links.stop()


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> Requests:
    """The requests that are sent instead of messages of a link."""
    requests = Requests()
    monkeypatch.setattr(Holder, "ask", requests.ask)
    return requests


@pytest.fixture
async def connection() -> Connection:
    """A connection of an editor."""
    caller = Caller("u", "ann", Role.EDITOR, "s")
    return Connection(cast(WebSocket, None), caller, CanvasRole.EDITOR, wants_saved=False)


@pytest.fixture
async def outbox(
    bus: FakeBus, links: ReplicaLinks, connection: Connection
) -> AsyncIterator[Outbox]:
    """An outbox of a canvas with a known holder."""
    outbox = Outbox(cast(Bus, bus), "canvas", connection.close, links)
    outbox.locate(EPOCH)
    yield outbox
    await outbox.stop()


@pytest.mark.parametrize(
    ("epoch", "replica"), [(EPOCH, "holder"), ("a.b.1", "a.b"), ("0123456789abcdef", None)]
)
def test_epoch_names_its_replica(epoch: str, replica: str | None) -> None:
    """An epoch of an earlier version names no replica, so its canvas is served without a link. Proves R-BUS-18."""
    assert replica_of(epoch) == replica


async def answer(links: ReplicaLinks, message: LinkToGateway) -> None:
    """Let the links receive a message of the replica."""
    await links._receive("", encode_to_gateway(message))


async def test_receipt_ends_a_batch_once(
    bus: FakeBus, links: ReplicaLinks, outbox: Outbox, connection: Connection, requests: Requests
) -> None:
    """A second receipt, or one of an unknown batch, changes nothing. Proves R-SAVE-2."""
    outbox.add(connection, b"update", 1)
    message = await bus.messages.get()
    (batch,) = message.batches
    assert (message.gateway, batch.canvas_id, len(batch.edits)) == ("one", "canvas", 1)
    unknown = LinkReceipt(batch.number + 1, (), "epoch")
    await answer(links, LinkToGateway((), (), (unknown,), ()))
    assert outbox.unsaved_since is not None
    receipt = LinkReceipt(batch.number, (), "epoch")
    await answer(links, LinkToGateway((), (), (receipt, receipt), ()))
    await outbox.wait_until_empty()
    assert requests.after == []


@pytest.mark.parametrize(("same_holder", "after"), [(0, NoResponders), (1, None)])
async def test_refused_batch_becomes_a_request(
    bus: FakeBus,
    links: ReplicaLinks,
    outbox: Outbox,
    connection: Connection,
    requests: Requests,
    *,
    same_holder: int,
    after: type[Exception],
) -> None:
    """If the replica does not hold the canvas, the request opens the canvas first. Proves R-BUS-18."""
    outbox.add(connection, b"update", 1)
    (batch,) = (await bus.messages.get()).batches
    await answer(links, LinkToGateway((), (), (), (LinkRefusal(batch.number, same_holder),)))
    async with asyncio.timeout(10):
        await outbox.wait_until_empty()
    assert requests.after == [after]


@pytest.mark.parametrize("refuses_messages", [False, True])
async def test_batch_without_a_receipt_becomes_a_request_and_the_link_is_avoided(
    bus: FakeBus,
    links: ReplicaLinks,
    outbox: Outbox,
    connection: Connection,
    requests: Requests,
    *,
    monkeypatch: pytest.MonkeyPatch,
    refuses_messages: bool,
) -> None:
    """A batch of an unsent message becomes a request too. A broadcast of the same epoch does not restore the link yet.

    Proves R-BUS-18.
    """
    monkeypatch.setattr(replica_links, "RECEIPT_SECONDS", 0.0)
    bus.refuses_messages = refuses_messages
    outbox.add(connection, b"update", 1)
    async with asyncio.timeout(10):
        while not requests.after:
            await links._check_receipts()
        assert requests.after == [DeadlineExceeded]
        await outbox.wait_until_empty()
        outbox.locate(EPOCH)
        assert outbox.link is None
        outbox.locate(new_epoch("holder", "2"))
        assert outbox.link is not None


async def test_edits_on_the_link_to_a_replica_that_is_gone_become_requests(
    bus: FakeBus, links: ReplicaLinks, outbox: Outbox, connection: Connection, requests: Requests
) -> None:
    """Sent batches, and edits that wait for the next message, become requests at once. Proves R-FAIL-8."""
    outbox.add(connection, b"first", 1)
    await bus.messages.get()
    outbox.add(connection, b"second", 2)
    await links._note_gone("_INBOX.gateway.link.one.holder", b"")
    await links._note_gone("_INBOX.gateway.link.one.holder", b"")
    async with asyncio.timeout(10):
        await outbox.wait_until_empty()
    assert set(requests.after) == {NoResponders, None}
    assert len(requests.after) == 2


async def test_resent_batch_ignores_its_receipt(
    bus: FakeBus, links: ReplicaLinks, outbox: Outbox, connection: Connection, requests: Requests
) -> None:
    """After a reconnect or a new holder, a batch on a link is sent again with a request. Proves R-SAVE-8."""
    outbox.add(connection, b"update", 1)
    (batch,) = (await bus.messages.get()).batches
    outbox.resend()
    await answer(links, LinkToGateway((), (), (LinkReceipt(batch.number, (), "epoch"),), ()))
    async with asyncio.timeout(10):
        await outbox.wait_until_empty()
    assert requests.after == [None]


@pytest.fixture
async def other_outbox(
    bus: FakeBus, links: ReplicaLinks, connection: Connection
) -> AsyncIterator[Outbox]:
    """An outbox of another canvas with the same holder."""
    outbox = Outbox(cast(Bus, bus), "other", connection.close, links)
    outbox.locate(EPOCH)
    yield outbox
    await outbox.stop()


async def sent(bus: FakeBus, seconds: float = 10.0) -> list[str]:
    """Return the canvases of the batches in the next message; none if no message is sent within the time."""
    try:
        async with asyncio.timeout(seconds):
            return [batch.canvas_id for batch in (await bus.messages.get()).batches]
    except TimeoutError:
        return []


@pytest.mark.parametrize(
    ("seconds_per_batch", "next_message"), [(0.0, ["other"]), (3600.0, [])], ids=["few", "many"]
)
async def test_canvas_waits_for_others_only_after_a_message_of_many_batches(
    bus: FakeBus,
    outbox: Outbox,
    other_outbox: Outbox,
    connection: Connection,
    monkeypatch: pytest.MonkeyPatch,
    *,
    seconds_per_batch: float,
    next_message: list[str],
) -> None:
    """After a message of few batches, an edit of another canvas is sent at once. The same canvas waits its interval.

    Proves R-BUS-18.
    """
    monkeypatch.setattr(canvas_interval, "SHORTEST_SECONDS", 3600.0)
    monkeypatch.setattr(canvas_interval, "LONGEST_SECONDS", 3600.0)
    monkeypatch.setattr(replica_link, "FLUSH_INTERVAL_SECONDS", 3600.0)
    monkeypatch.setattr(replica_link, "SECONDS_PER_BATCH", seconds_per_batch)
    outbox.add(connection, b"first", 1)
    assert await sent(bus) == ["canvas"]
    outbox.add(connection, b"second", 2)
    assert await sent(bus, 0.01) == []
    other_outbox.add(connection, b"first", 3)
    assert await sent(bus, 10.0 if next_message else 0.01) == next_message
    assert await sent(bus, 0.01) == []


@pytest.mark.parametrize(("edits", "waits"), [(1, False), (100, True)])
async def test_many_edits_in_a_second_delay_the_next_batch_of_the_canvas(
    bus: FakeBus,
    outbox: Outbox,
    connection: Connection,
    monkeypatch: pytest.MonkeyPatch,
    *,
    edits: int,
    waits: bool,
) -> None:
    """The edits of a busy canvas go in fewer and larger batches. Proves R-SYNC-7."""
    monkeypatch.setattr(canvas_interval, "SHORTEST_SECONDS", 0.0)
    monkeypatch.setattr(canvas_interval, "LONGEST_SECONDS", 3600.0)
    monkeypatch.setattr(canvas_interval, "WINDOW_SECONDS", 3600.0)
    monkeypatch.setattr(canvas_interval, "LOW_RATE", 10 / 3600.0)
    monkeypatch.setattr(canvas_interval, "HIGH_RATE", 20 / 3600.0)
    monkeypatch.setattr(canvas_interval, "MANY_EDITS", 10**12)
    monkeypatch.setattr(canvas_interval, "MANY_BYTES", 10**12)
    outbox.add(connection, b"first", 0)
    assert await sent(bus) == ["canvas"]
    for number in range(1, 1 + edits):
        outbox.add(connection, b"update", number)
    assert await sent(bus) == ["canvas"]
    outbox.add(connection, b"next", 1 + edits)
    assert await sent(bus, 0.05 if waits else 10.0) == ([] if waits else ["canvas"])


@pytest.mark.parametrize("is_answered", [True, False])
async def test_late_receipt_delays_the_batches_of_the_canvas(
    bus: FakeBus,
    links: ReplicaLinks,
    outbox: Outbox,
    connection: Connection,
    monkeypatch: pytest.MonkeyPatch,
    *,
    is_answered: bool,
) -> None:
    """While a batch waits long for its receipt, the next batches wait too. Proves R-SYNC-7."""
    monkeypatch.setattr(canvas_interval, "SHORTEST_SECONDS", 0.0)
    monkeypatch.setattr(canvas_interval, "LONGEST_OVERLOAD_SECONDS", 3600.0)
    monkeypatch.setattr(canvas_interval, "SHARE_OF_WAIT", 3600.0 * 1000)
    outbox.add(connection, b"first", 1)
    [batch] = (await bus.messages.get()).batches
    if is_answered:
        await answer(links, LinkToGateway((), (), (LinkReceipt(batch.number, (), "epoch"),), ()))
    outbox.add(connection, b"second", 2)
    assert await sent(bus) == ["canvas"]
    outbox.add(connection, b"third", 3)
    assert await sent(bus, 10.0 if is_answered else 0.05) == (["canvas"] if is_answered else [])


async def test_uncommitted_batches_slow_down_the_link(
    bus: FakeBus, outbox: Outbox, connection: Connection
) -> None:
    """While nothing is committed, all edits are sent, in fewer and larger batches. Proves R-SAVE-5."""
    sent, number = 0, 0
    loop = asyncio.get_running_loop()
    started = loop.time()
    while loop.time() < started + 0.5 or len(bus.sizes) <= PROMPT_BATCHES:
        number += 1
        outbox.add(connection, b"update", number)
        await asyncio.sleep(0.0005)
    seconds = loop.time() - started
    async with asyncio.timeout(10):
        while sent < number:
            sent += sum(len(batch.edits) for batch in (await bus.messages.get()).batches)
    assert PROMPT_BATCHES < len(bus.sizes) < 60 * seconds / 0.5, (
        "the growing interval gives about 15 messages in half a second"
    )


async def test_large_batches_are_requests_and_messages_stay_below_piece_bytes(
    bus: FakeBus, links: ReplicaLinks, connection: Connection, requests: Requests
) -> None:
    """A batch over a limit is sent in a request, so it delays no other canvas. Proves R-BUS-5."""
    full = [
        MAX_EDIT_BYTES,
        MAX_EDIT_BYTES,
        MAX_BATCH_BYTES - 2 * MAX_EDIT_BYTES - 3 * EDIT_OVERHEAD_BYTES,
    ]
    batches = [[MAX_EDIT_BYTES + 1], [*full, 1], *[full] * 9, [1]]
    outboxes = [
        Outbox(cast(Bus, bus), f"canvas-{number}", connection.close, links)
        for number in range(len(batches))
    ]
    for sizes, outbox in zip(batches, outboxes, strict=True):
        outbox.locate(EPOCH)
        for number, size in enumerate(sizes):
            outbox.add(connection, b"x" * size, number)
    received = 0
    async with asyncio.timeout(10):
        while received < len(batches) - 2:
            received += len((await bus.messages.get()).batches)
        for outbox in outboxes[:2]:
            await outbox.wait_until_empty()
    assert requests.after == [None] * 2
    assert max(bus.sizes) < PIECE_BYTES
    await asyncio.gather(*(outbox.stop() for outbox in outboxes))


@pytest.mark.parametrize(("edits", "is_request"), [(MAX_EDITS, False), (MAX_EDITS + 1, True)])
async def test_batch_of_many_short_edits_is_a_request(
    bus: FakeBus,
    outbox: Outbox,
    connection: Connection,
    requests: Requests,
    *,
    edits: int,
    is_request: bool,
) -> None:
    """The holder applies a request in turns, so many edits of one canvas delay no other canvas. Proves R-BOUND-5."""
    for number in range(edits):
        outbox.add(connection, b"x", number)
    async with asyncio.timeout(10):
        if is_request:
            await outbox.wait_until_empty()
        else:
            [batch] = (await bus.messages.get()).batches
            assert len(batch.edits) == edits
    assert requests.after == [None] * is_request


async def test_newest_awareness_state_of_each_client_is_sent(bus: FakeBus, outbox: Outbox) -> None:
    """Another user's state for the same client does not replace a waiting state. A client that has left stays absent.

    Proves R-AWARE-1 and R-AWARE-3.
    """
    for author, clock, json in (
        *(("ann", 1, "1"), ("ann", 3, "2"), ("ann", 3, "3"), ("ann", 2, "4")),
        *(("eve", 9, "5"), ("eve", 9, "null"), ("eve", 9, "6")),
    ):
        assert outbox.send_state(AuthoredState(author, 7, clock, json, 1))
    states = [each.state for each in (await bus.messages.get()).states]
    assert [(each.author, each.json) for each in states] == [("ann", "3"), ("eve", "null")]


async def test_last_states_are_sent_when_the_gateway_stops(
    bus: FakeBus, links: ReplicaLinks, outbox: Outbox
) -> None:
    """The departure of the last clients does not wait for the next message with states. Proves R-AWARE-3."""
    for clock in (1, 2):
        assert outbox.send_state(AuthoredState("ann", 7, clock, "null", 1))
        if clock == 1:
            await bus.messages.get()
    await links.stop()
    assert [each.state.clock for each in bus.messages.get_nowait().states] == [2]


async def test_messages_of_states_and_many_small_edits_stay_below_piece_bytes(
    bus: FakeBus, links: ReplicaLinks, connection: Connection
) -> None:
    """The size of a message includes the authors of edits and the texts of states. A link refuses a large state.

    Proves R-BUS-5.
    """
    outboxes = [
        Outbox(cast(Bus, bus), f"canvas-{number}", connection.close, links) for number in range(35)
    ]
    connection.renew(Caller("u" * 36, "ann", Role.EDITOR, "s"))
    json = "\N{EURO SIGN}" * replica_link.MAX_STATE_CHARACTERS
    for number, outbox in enumerate(outboxes):
        outbox.locate(EPOCH)
        for count in range(MAX_EDITS):
            outbox.add(connection, b"x", count)
        assert outbox.send_state(AuthoredState("ann", number, 1, json, 1))
        assert not outbox.send_state(AuthoredState("ann", number, 2, json + " ", 1))
    edits = states = 0
    async with asyncio.timeout(10):
        while edits < 35 * MAX_EDITS or states < len(outboxes):
            message = await bus.messages.get()
            edits += sum(len(batch.edits) for batch in message.batches)
            states += len(message.states)
    assert max(bus.sizes) < PIECE_BYTES
    await asyncio.gather(*(outbox.stop() for outbox in outboxes))


async def test_edits_are_requests_while_nats_is_not_reachable(
    bus: FakeBus, outbox: Outbox, connection: Connection, requests: Requests
) -> None:
    """Requests wait for NATS, and do not fill the outgoing buffer. Proves R-FAIL-5."""
    bus.reachable = False
    outbox.add(connection, b"update", 1)
    async with asyncio.timeout(10):
        await outbox.wait_until_empty()
    assert requests.after == [None]
    assert bus.messages.empty()


async def test_epoch_without_a_replica_needs_requests(
    bus: FakeBus, links: ReplicaLinks, connection: Connection, requests: Requests
) -> None:
    """During a rollout, a replica of an earlier version gets no messages of links. Proves R-BUS-18."""
    outbox = Outbox(cast(Bus, bus), "canvas", connection.close, links)
    outbox.locate("0123456789abcdef")
    outbox.add(connection, b"update", 1)
    assert not outbox.send_state(AuthoredState("ann", 7, 1, "{}", 1))
    async with asyncio.timeout(10):
        await outbox.wait_until_empty()
    assert (requests.after, bus.messages.empty()) == ([None], True)
    await outbox.stop()


async def test_timeout_on_the_link_to_an_earlier_holder_keeps_the_new_link(
    bus: FakeBus, links: ReplicaLinks, outbox: Outbox, connection: Connection, requests: Requests
) -> None:
    """A batch that a frozen replica never answers is sent again, and later batches use the new link.

    Proves R-FAIL-24.
    """
    outbox.add(connection, b"update", 1)
    (batch,) = (await bus.messages.get()).batches
    outbox.locate(new_epoch("other", "1"))
    links._settle(batch.number, DeadlineExceeded())
    async with asyncio.timeout(10):
        await outbox.wait_until_empty()
    assert requests.after == [DeadlineExceeded]
    assert outbox.link is links.to("other")


async def test_failing_canvas_does_not_stop_the_receipts_of_others(
    bus: FakeBus, links: ReplicaLinks, outbox: Outbox, connection: Connection, requests: Requests
) -> None:
    """The failing canvas begins a catch-up, and the other parts of the message take effect. Proves R-BUS-18."""
    suspected: list[str] = []

    class Failing:
        """A canvas that fails for each broadcast and each presence message."""

        def receive_broadcast(self, _: LinkBroadcast) -> None:
            raise ValueError

        def receive_presence(self, _: bytes) -> None:
            raise ValueError

        def suspect_gap(self) -> None:
            suspected.append("gap")

    links.receivers["failing"] = Failing()
    outbox.add(connection, b"update", 1)
    (batch,) = (await bus.messages.get()).batches
    broadcast, presence = LinkBroadcast("failing", EPOCH, 1, b""), LinkPresence("failing", b"")
    receipt = LinkReceipt(batch.number, (), EPOCH)
    await answer(links, LinkToGateway((broadcast,), (presence,), (receipt,), ()))
    assert (outbox.unsaved_since, requests.after) == (None, [])
    assert suspected == ["gap"], "a lost broadcast needs a catch-up, and lost presence does not"


async def test_unused_link_is_closed(
    links: ReplicaLinks, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The link to a stopped replica is closed. If the replica is used again, a new link begins. Proves R-BUS-18."""
    first = outbox.link
    assert first is not None
    monkeypatch.setattr(replica_links, "IDLE_SECONDS", 0.0)
    monkeypatch.setattr(replica_links, "RECEIPT_SECONDS", 0.0)
    await links._check_receipts()
    assert not first.is_open
    assert not outbox.send_state(AuthoredState("ann", 7, 1, "{}", 1))
    outbox.locate(EPOCH)
    assert outbox.link is not first
