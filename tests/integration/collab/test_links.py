"""Links between a gateway in this process and the replicas of collab, on a real NATS."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from prometheus_client import REGISTRY
from pycrdt import Doc, Map

from svgx_canvas.document.faults import Fault
from svgx_collab import app, channels, turns
from svgx_collab.links.gateway_links import GatewayLinks
from svgx_collab.room import EDITS_BETWEEN_TIME_READINGS, Receipt, Room
from svgx_collab.turns import BatchQueue, Ticket, receive_in_turns
from svgx_common.contract.collab import (
    CANVAS_EDIT,
    CANVAS_SYNC,
    CANVAS_UPDATE,
    LINK_TO_GATEWAY,
    LINK_TO_REPLICA,
    AuthoredState,
    Broadcast,
    Edit,
    LinkBatch,
    LinkToReplica,
)
from svgx_common.contract.transport import replica_subject
from svgx_common.messaging import link_codec
from svgx_common.messaging.blobs import PIECE_BYTES
from svgx_common.messaging.bus import Bus
from svgx_common.messaging.headers import HEADER_GATEWAY
from svgx_common.messaging.wire import decode
from svgx_devstack import DevStack
from svgx_gateway.websocket import canvas as canvas_module
from svgx_gateway.websocket.canvas import LiveCanvas
from svgx_gateway.websocket.links import replica_links
from svgx_gateway.websocket.links.replica_links import ReplicaLinks
from tests.integration.collab.replica import Editor, replica, until_gone
from tests.integration.collab.test_lost_broadcasts import NEVER, Client, connected, set_checkpoints
from tests.integration.state.service import Client as StateClient
from tests.integration.state.service import user
from tests.polling import pause


class Writer:
    """A client of a gateway in this process, with a document of its own."""

    def __init__(self, live: LiveCanvas, client: Client) -> None:
        self.live = live
        self.client = client
        self._doc: Doc[Any] = Doc()
        self._elements: Map[Any] = self._doc.get("elements", type=Map)
        self._updates: list[bytes] = []
        self._subscription = self._doc.observe(lambda event: self._updates.append(event.update))

    def set(self, key: str, value: str) -> asyncio.Event:
        """Set an element. Return the event that is set when the edit is committed."""
        self._elements[key] = value
        return self.live.outbox.add(self.client.connection, self._updates[-1], 1)

    async def save(self, key: str, value: str) -> None:
        """Set an element, and wait until the edit is saved."""
        async with asyncio.timeout(20):
            await self.set(key, value).wait()


@asynccontextmanager
async def writing(
    bus: Bus, canvas_id: str, links: ReplicaLinks | None = None
) -> AsyncIterator[Writer]:
    """Run the canvas on a gateway, with one client that has saved its first edit."""
    async with connected(bus, canvas_id, links) as (live, client):
        writer = Writer(live, client)
        await writer.save("first", "1")
        yield writer


def failures(reason: str) -> float:
    """Return the metric of the batches that were sent again for this reason."""
    name = "svgx_engine_live_link_failures_total"
    return REGISTRY.get_sample_value(name, {"reason": reason}) or 0.0


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the gateways wait long for receipts, because the machine may be busy."""
    monkeypatch.setattr(replica_links, "RECEIPT_SECONDS", 60.0)


@pytest.fixture
async def second_bus(backing: DevStack) -> AsyncIterator[Bus]:
    """Yield the connection of another gateway."""
    bus = await Bus.connect(backing.nats_url("operator"), "gateway", "second")
    try:
        yield bus
    finally:
        await bus.close()


async def count_subjects(bus: Bus, counts: dict[str, int]) -> None:
    """Count the messages on each subject that starts with `svgx.`, from now on."""

    async def count(message: Any) -> None:
        counts[message.subject] = counts.get(message.subject, 0) + 1

    await bus.connection.subscribe("svgx.>", cb=count)
    await bus.settle()


async def test_edits_and_broadcasts_of_many_canvases_share_messages(
    backing: DevStack, bus: Bus, second_bus: Bus, state: None
) -> None:
    """Edits, broadcasts and receipts of ten canvases need a few messages, and none on the canvases' own subjects.

    Proves R-BUS-18.
    """
    counts: dict[str, int] = {}
    client = StateClient(bus, user())
    async with replica(backing) as one, AsyncExitStack() as stack:
        canvas_ids = [await client.create() for _ in range(10)]
        links = ReplicaLinks(bus)
        stack.push_async_callback(links.stop)
        writers = [
            await stack.enter_async_context(writing(bus, canvas_id, links))
            for canvas_id in canvas_ids
        ]
        await count_subjects(second_bus, counts)
        # A canvas that still pauses after its first batch would send its edit in a later message.
        while any(time.monotonic() < each.live.outbox.paced_until for each in writers):
            await pause()
        saved = [writer.set("a", "1") for writer in writers]
        async with asyncio.timeout(20):
            await asyncio.gather(*(each.wait() for each in saved))
            await asyncio.gather(*(each.client.until_has(first="1", a="1") for each in writers))
        await second_bus.settle()
        to_replica = LINK_TO_REPLICA.subject_of(replica_id=one.bus.replica_id)
        to_gateway = LINK_TO_GATEWAY.subject_of(gateway_id=bus.replica_id)
        own = [
            channel.subject_of(canvas_id=canvas_id)
            for canvas_id in canvas_ids
            for channel in (CANVAS_EDIT, CANVAS_UPDATE)
        ]
    assert counts[to_replica] == 1
    assert 1 <= counts[to_gateway] < 10
    assert [subject for subject in own if subject in counts] == []


async def test_edit_on_the_link_to_a_dead_replica_is_saved_by_the_next_holder(
    backing: DevStack, bus: Bus, editor: Editor
) -> None:
    """NATS reports at once that nobody receives the message. Proves R-FAIL-1 and R-FAIL-8."""
    async with replica(backing) as one, writing(bus, editor.canvas_id) as writer:
        before = failures("gone"), failures("timeout")
        async with replica(backing) as two:
            await one.crash()
            await until_gone(bus, one)
            await writer.save("a", "1")
            assert (failures("gone"), failures("timeout")) == (before[0] + 1, before[1])
            assert two.rooms.details()["held"] == 1
            await writer.client.until_has(first="1", a="1")


async def test_edit_on_the_link_to_a_replica_that_left_the_canvas_is_saved(
    backing: DevStack, bus: Bus, editor: Editor
) -> None:
    """The replica refuses the batch. The gateway sends it again in a request, and the same replica opens the canvas.

    Proves R-FAIL-10 and R-FAIL-13.
    """
    async with replica(backing) as one, writing(bus, editor.canvas_id) as writer:
        before = failures("not_held")
        await one.rooms.leave(editor.canvas_id)
        await writer.save("a", "1")
        assert failures("not_held") == before + 1
        await writer.save("b", "2")
        await writer.client.until_has(first="1", a="1", b="2")
        assert failures("not_held") == before + 1, "the link is used again, and takes batches"


async def test_edit_without_a_receipt_is_sent_again(
    backing: DevStack, bus: Bus, editor: Editor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a receipt in time, the gateway sends the edit again, in a request. Proves R-SAVE-8 and R-BUS-18."""
    monkeypatch.setattr(replica_links, "RECEIPT_SECONDS", 1.0)
    async with replica(backing), writing(bus, editor.canvas_id) as writer:
        before = failures("timeout")
        with monkeypatch.context() as patch:
            patch.setattr(GatewayLinks, "receipt", lambda *_: None)
            await writer.save("a", "1")
        assert failures("timeout") == before + 1
        await writer.client.until_has(first="1", a="1")


async def test_other_gateways_follow_a_new_holder_at_once(
    backing: DevStack,
    bus: Bus,
    second_bus: Bus,
    editor: Editor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The new holder announces itself, because it does not know the gateways yet. Proves R-FAIL-14 and R-SYNC-15.

    Without checkpoints and edits, only the announcement makes a gateway send a sync request.
    """
    set_checkpoints(monkeypatch, NEVER)
    asking: asyncio.Queue[str] = asyncio.Queue()

    async def note(message: Any) -> None:
        asking.put_nowait(message.headers[HEADER_GATEWAY])

    async with (
        replica(backing) as one,
        writing(bus, editor.canvas_id) as writer,
        connected(second_bus, editor.canvas_id) as (_, reader),
        replica(backing) as two,
    ):
        await reader.until_has(first="1")
        await one.crash()
        await until_gone(bus, one)
        subject = CANVAS_SYNC.subject_of(canvas_id=editor.canvas_id)
        await second_bus.connection.subscribe(subject, cb=note)
        await second_bus.settle()
        await two.rooms.open(editor.canvas_id)
        gateways = {bus.replica_id, second_bus.replica_id}
        async with asyncio.timeout(20):
            while gateways:
                gateways.discard(await asking.get())
        for key in ("a", "b"):
            await writer.save(key, "1")
        await reader.until_has(first="1", a="1", b="1")


async def test_client_joins_a_canvas_of_a_silent_holder_before_its_request_ends(
    backing: DevStack,
    bus: Bus,
    second_bus: Bus,
    editor: Editor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Another replica opens the canvas, and the request of the gateway goes to that replica. Proves R-FAIL-24."""
    monkeypatch.setattr(canvas_module, "LATE_SECONDS", 0.2)
    monkeypatch.setattr(canvas_module, "ATTEMPT_SECONDS", 60.0)
    # On a busy machine, the other replica may notice late that no answer came.
    monkeypatch.setattr(app, "LONGEST_DELAY_SECONDS", 10.0)

    async def stay_silent(_: Any) -> None:
        pass

    async with replica(backing) as two:
        await editor.set("a", "1")
        await two.rooms.leave(editor.canvas_id)
        await two.redis.set(f"svgx:lease:{editor.canvas_id}", "frozen")
        sync = CANVAS_SYNC.subject_of(canvas_id=editor.canvas_id)
        for subject in (sync, replica_subject("collab", "frozen")):
            await second_bus.connection.subscribe(subject, cb=stay_silent)
        await second_bus.settle()
        async with asyncio.timeout(20), connected(bus, editor.canvas_id) as (_, client):
            await client.until_has(a="1")


async def test_awareness_states_on_a_link_are_merged(
    backing: DevStack, bus: Bus, second_bus: Bus, editor: Editor
) -> None:
    """A newer state replaces an older one that still waits, and the holder gets the newest. Proves R-AWARE-1."""
    messages: list[LinkToReplica] = []
    async with replica(backing) as one, writing(bus, editor.canvas_id) as writer:
        subject = LINK_TO_REPLICA.subject_of(replica_id=one.bus.replica_id)

        async def read(message: Any) -> None:
            messages.append(link_codec.decode_to_replica(message.data))

        await second_bus.connection.subscribe(subject, cb=read)
        await second_bus.settle()
        for clock in range(1, 21):
            assert writer.live.outbox.send_state(AuthoredState("ann", 7, clock, f"{clock}", 1))
        while b"20" not in (await editor.sync()).awareness:
            await pause()
        await second_bus.settle()
    states = [each.state.clock for message in messages for each in message.states]
    assert states == [20]


async def test_replica_that_stops_leaves_its_link_at_once(
    backing: DevStack, bus: Bus, editor: Editor
) -> None:
    """After the handover, NATS tells the gateway that nobody receives messages to this replica. Proves R-FAIL-10."""
    async with replica(backing) as one, writing(bus, editor.canvas_id) as writer:
        before = failures("gone"), failures("timeout")
        async with replica(backing):
            await one.rooms.hand_over()
            await writer.save("a", "1")
            assert (failures("gone"), failures("timeout")) == (before[0] + 1, before[1])
            await writer.client.until_has(first="1", a="1")


async def test_room_that_failed_takes_no_further_batch(
    backing: DevStack, bus: Bus, editor: Editor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The replica reports later batches of the canvas as not held, even in the same message. Proves R-SYNC-13."""
    failed: list[Room] = []

    def fail(room: Room, *_: object, **__: object) -> Receipt:
        failed.append(room)
        raise Fault(None)

    async with replica(backing) as one, writing(bus, editor.canvas_id) as writer:
        (edit,) = [Edit("ann", editor.draw("b", "2"))]
        batches = tuple([LinkBatch(editor.canvas_id, number, (edit,)) for number in (1, 2)])
        message = link_codec.encode_to_replica(LinkToReplica(bus.replica_id, batches, ()))
        before = failures("refused")
        with monkeypatch.context() as patch:
            patch.setattr(Room, "receive", fail)
            await bus.publish(LINK_TO_REPLICA.subject_of(replica_id=one.bus.replica_id), message)
            while not failed:
                await pause()
            await one.bus.settle()
        await writer.save("a", "1")
        await writer.client.until_has(first="1", a="1")
    assert len(failed) == 1
    assert failures("refused") == before, "the gateway has to look for the next holder"


async def test_batch_that_takes_long_is_applied_in_turns(
    backing: DevStack, bus: Bus, editor: Editor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The replica applies the first edits at once and the others in turns, and does other work between two turns.

    Proves R-BOUND-5.
    """
    monkeypatch.setattr(channels, "TURN_SECONDS", 0.0)
    monkeypatch.setattr(channels, "SECONDS_PER_EDIT", 0.0)
    monkeypatch.setattr(turns, "TURN_SECONDS", 0.0)
    passed: list[int] = []
    events: list[int | str] = []
    """The number of edits that each turn took, and the other work of the event loop."""
    receive = Room.receive

    def receive_noted(room: Room, edits: Sequence[Edit], *args: Any, **options: Any) -> Receipt:
        receipt = receive(room, edits, *args, **options)
        passed.append(len(edits))
        events.append(receipt.taken)
        # The event loop runs this callback as soon as the task of the batch lets it continue.
        asyncio.get_running_loop().call_soon(events.append, "other work")
        return receipt

    async with replica(backing), writing(bus, editor.canvas_id) as writer:
        before = failures("refused")
        keys = [f"{number}" for number in range(3 * EDITS_BETWEEN_TIME_READINGS)]
        with monkeypatch.context() as patch:
            patch.setattr(Room, "receive", receive_noted)
            async with asyncio.timeout(20):
                for saved in [writer.set(key, "1") for key in keys]:
                    await saved.wait()
        assert passed[0] == len(keys), "the edits are in one batch"
        taken = [each for each in events if isinstance(each, int)]
        assert (sum(taken), max(taken)) == (len(keys), EDITS_BETWEEN_TIME_READINGS)
        assert events == [event for count in taken for event in (count, "other work")]
        assert failures("refused") == before
        await writer.client.until_has(first="1", **dict.fromkeys(keys, "1"))


async def test_batch_that_waits_for_its_turns_is_not_overtaken(
    backing: DevStack, bus: Bus, editor: Editor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a batch on the link nor one in a request overtakes the waiting batch. Proves R-BOUND-4 and R-BOUND-5."""
    monkeypatch.setattr(channels, "TURN_SECONDS", 0.0)
    monkeypatch.setattr(channels, "SECONDS_PER_EDIT", 0.0)
    may_continue = asyncio.Event()
    taken: list[bytes] = []
    joined: list[Ticket] = []
    receive, join = Room.receive, BatchQueue.join

    def receive_noted(room: Room, edits: Sequence[Edit], *args: Any, **options: Any) -> Receipt:
        receipt = receive(room, edits, *args, **options)
        taken.extend(edit.update for edit in edits[: receipt.taken])
        return receipt

    def join_noted(queue: BatchQueue) -> Ticket:
        joined.append(join(queue))
        return joined[-1]

    async def receive_later(*args: Any) -> Receipt:
        await may_continue.wait()
        return await receive_in_turns(*args)

    async with replica(backing) as one, writing(bus, editor.canvas_id) as writer:
        monkeypatch.setattr(Room, "receive", receive_noted)
        monkeypatch.setattr(BatchQueue, "join", join_noted)
        monkeypatch.setattr(channels, "receive_in_turns", receive_later)
        drawn = [editor.draw(str(number), "1") for number in range(4 * EDITS_BETWEEN_TIME_READINGS)]
        long, middle, last = (
            drawn[: -2 * EDITS_BETWEEN_TIME_READINGS],
            drawn[-2 * EDITS_BETWEEN_TIME_READINGS : -1],
            drawn[-1:],
        )
        subject = LINK_TO_REPLICA.subject_of(replica_id=one.bus.replica_id)
        for number, updates in enumerate((long, middle)):
            batch = LinkBatch(
                editor.canvas_id, number, tuple([Edit("ann", update) for update in updates])
            )
            link = LinkToReplica(bus.replica_id, (batch,), ())
            await bus.publish(subject, link_codec.encode_to_replica(link))
        while len(joined) < 2:
            await pause()
        request = asyncio.create_task(editor.send(last))
        while len(joined) < 3:
            await pause()
        assert taken == drawn[:EDITS_BETWEEN_TIME_READINGS]
        may_continue.set()
        await request
        assert taken == drawn
        await writer.client.until_has(first="1", **{str(n): "1" for n in range(len(drawn))})


async def test_large_batch_that_is_pulled_delays_no_other_batch(
    backing: DevStack, bus: Bus, editor: Editor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other batches do not wait for a large batch, because its sender may be slow or gone. Proves R-BOUND-5."""
    pulling, may_continue = asyncio.Event(), asyncio.Event()
    async with replica(backing) as one, writing(bus, editor.canvas_id) as writer:
        pull = one.bus.blobs.pull

        async def pull_later(*args: Any, **options: Any) -> bytes:
            pulling.set()
            await may_continue.wait()
            return await pull(*args, **options)

        monkeypatch.setattr(one.bus.blobs, "pull", pull_later)
        request = asyncio.create_task(editor.set("large", "x" * PIECE_BYTES))
        async with asyncio.timeout(20):
            await pulling.wait()
            await writer.save("a", "1")
            may_continue.set()
            await request
            await writer.client.until_has(first="1", a="1", large="x" * PIECE_BYTES)


async def test_batch_for_a_full_queue_is_refused_and_sent_again_in_a_request(
    backing: DevStack, bus: Bus, editor: Editor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The number of batches that wait at the replica is bounded. Proves R-BOUND-5."""
    async with replica(backing), writing(bus, editor.canvas_id) as writer:
        before = failures("refused")
        monkeypatch.setattr(channels, "MAX_QUEUED_BATCHES", 0)
        await writer.save("a", "1")
        assert failures("refused") == before + 1
        await writer.client.until_has(first="1", a="1")


async def test_gateway_without_links_exchanges_edits_with_other_gateways(
    backing: DevStack, bus: Bus, second_bus: Bus, editor: Editor
) -> None:
    """During a rolling update of the services, an older gateway uses the canvas's own subjects. Proves R-BUS-18."""
    updates: asyncio.Queue[Broadcast] = asyncio.Queue()

    async def receive(_: str, content: bytes) -> None:
        updates.put_nowait(decode(Broadcast, content))

    async with replica(backing), writing(bus, editor.canvas_id) as writer:
        await second_bus.listen(CANVAS_UPDATE.subject_of(canvas_id=editor.canvas_id), receive)
        await second_bus.settle()
        before = (await editor.sync()).sequence
        await writer.save("a", "1")
        async with asyncio.timeout(10):
            assert (await updates.get()).sequence == before + 1
        await editor.set("b", "2")
        async with asyncio.timeout(10):
            assert (await updates.get()).sequence == before + 2
        await writer.client.until_has(first="1", a="1", b="2")


MALFORMED = [
    pytest.param(b"", id="empty"),
    pytest.param(b"\x03one\xff\xff\x03", id="count beyond the end"),
    pytest.param(link_codec.encode_to_replica(LinkToReplica("a.>", (), ())), id="wildcard"),
    pytest.param(link_codec.encode_to_replica(LinkToReplica("", (), ())), id="no gateway"),
]


@pytest.mark.parametrize("content", MALFORMED)
async def test_malformed_message_of_a_link_changes_nothing(
    backing: DevStack, bus: Bus, editor: Editor, content: bytes
) -> None:
    """The receiver ignores the message, also if its gateway id cannot be part of a subject. Proves R-BUS-18."""
    async with replica(backing) as one, writing(bus, editor.canvas_id) as writer:
        await bus.publish(LINK_TO_REPLICA.subject_of(replica_id=one.bus.replica_id), content)
        to_gateway = LINK_TO_GATEWAY.subject_of(gateway_id=bus.replica_id)
        await one.bus.publish(to_gateway, content[:1])
        await writer.save("a", "1")
        await writer.client.until_has(first="1", a="1")
