"""Requests to the holder of a canvas."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from nats.aio.msg import Msg

from svgx_common.contract.collab import CANVAS_EDIT, OPEN, Opened
from svgx_common.contract.errors import NotFound, Overloaded, SvgxError, Unavailable
from svgx_common.messaging.bus import Bus
from svgx_common.messaging.holder import Holder
from svgx_devstack import DevStack
from tests.integration.common.example_operations import service_bus

CANVAS = "00000000-0000-0000-0000-000000000001"


class FakeCollab:
    """A collab replica with scripted answers to `open` and `edit`.

    Each request takes the next entry of `open_results` or `edit_results`: an error, or None for success. The last entry
    is repeated.
    """

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self.open_results: list[SvgxError | None] = []
        self.edit_results: list[SvgxError | None] = []
        self.open_requests = 0
        self.open_requested = asyncio.Event()
        self.edit_requests = 0
        self.holds = False

    async def hold(self) -> None:
        if not self.holds:
            self.holds = True
            subject = CANVAS_EDIT.subject_of(canvas_id=CANVAS)
            await self.bus.connection.subscribe(subject, cb=self._edit)

    async def open(self, message: Msg) -> None:
        self.open_requests += 1
        self.open_requested.set()
        if error := self._next(self.open_results):
            await self.bus.refuse(message.reply, error)
            return
        await self.hold()
        await self.bus.settle()
        await self.bus.respond(message.reply, Opened(epoch="e").model_dump_json().encode())

    async def _edit(self, message: Msg) -> None:
        self.edit_requests += 1
        if error := self._next(self.edit_results):
            await self.bus.refuse(message.reply, error)
        else:
            await self.bus.respond(message.reply, message.data)

    def _next(self, results: list[SvgxError | None]) -> SvgxError | None:
        return results.pop(0) if len(results) > 1 else next(iter(results), None)


class WatchedHolder(Holder):
    """A `Holder` that sets `request_waits` when a request begins to wait for another request to open the canvas."""

    def __init__(self, bus: Bus, canvas_id: str) -> None:
        super().__init__(bus, canvas_id)
        self.request_waits = asyncio.Event()

    async def _wait_for_recovery(self, deadline: float) -> None:
        self.request_waits.set()
        await super()._wait_for_recovery(deadline)


@pytest.fixture
async def collab(backing: DevStack) -> AsyncIterator[FakeCollab]:
    """The only collab replica. It does not hold the canvas yet."""
    bus = await service_bus(backing, "collab")
    collab = FakeCollab(bus)
    await bus.connection.subscribe(OPEN.subject, cb=collab.open)
    await bus.settle()
    yield collab
    await bus.close()


async def test_overloaded_holder_is_asked_again_after_its_retry_time(
    gateway_bus: Bus, collab: FakeCollab
) -> None:
    """Proves R-BUS-13: the request is not repeated before `retry_after`."""
    await collab.hold()
    await collab.bus.settle()
    collab.edit_results = [Overloaded(retry_after=0.3), Overloaded(retry_after=0.3), None]
    started = asyncio.get_running_loop().time()
    answer = await Holder(gateway_bus, CANVAS).ask(
        CANVAS_EDIT, b"x", retry_seconds=20, attempt_seconds=5
    )
    assert answer == b"x"
    assert collab.edit_requests == 3
    assert asyncio.get_running_loop().time() - started >= 0.6


async def test_error_that_repetition_cannot_remedy_is_raised_at_once(
    gateway_bus: Bus, collab: FakeCollab
) -> None:
    """Proves R-BUS-13: `NotFound`, and `Overloaded` with a `retry_after` above `retry_seconds`, are raised at once."""
    await collab.hold()
    await collab.bus.settle()
    collab.edit_results = [Overloaded(retry_after=60)]
    with pytest.raises(Overloaded):
        await Holder(gateway_bus, CANVAS).ask(
            CANVAS_EDIT, b"x", retry_seconds=20, attempt_seconds=5
        )
    collab.edit_results = [NotFound()]
    with pytest.raises(NotFound):
        await Holder(gateway_bus, CANVAS).ask(
            CANVAS_EDIT, b"x", retry_seconds=20, attempt_seconds=5
        )


async def test_canvas_is_opened_once_for_many_failed_requests(
    gateway_bus: Bus, collab: FakeCollab
) -> None:
    """Proves R-BUS-13: 499 requests wait while one opens the canvas, and all 500 are answered."""
    collab.open_results = [Unavailable(retry_after=0.05)] * 10 + [None]
    holder = Holder(gateway_bus, CANVAS)
    contents = [b"%d" % number for number in range(500)]
    answers = await asyncio.gather(
        *(
            holder.ask(CANVAS_EDIT, content, retry_seconds=20, attempt_seconds=5)
            for content in contents
        )
    )
    assert answers == contents
    assert collab.open_requests == 11
    assert collab.edit_requests == 500


async def test_waiting_request_opens_the_canvas_when_the_first_is_cancelled(
    gateway_bus: Bus, collab: FakeCollab
) -> None:
    """Proves R-BUS-13: when the request that opens the canvas is cancelled, a waiting request opens it."""
    collab.open_results = [Unavailable(retry_after=0.05)]
    holder = WatchedHolder(gateway_bus, CANVAS)
    first = asyncio.create_task(
        holder.ask(CANVAS_EDIT, b"first", retry_seconds=20, attempt_seconds=5)
    )
    await collab.open_requested.wait()
    second = asyncio.create_task(
        holder.ask(CANVAS_EDIT, b"second", retry_seconds=20, attempt_seconds=5)
    )
    async with asyncio.timeout(10):
        await holder.request_waits.wait()
        assert not second.done()
        first.cancel()
        collab.open_results = [None]
        assert await second == b"second"


async def test_request_is_sent_again_at_once_when_nats_was_lost(
    backing: DevStack, gateway_bus: Bus, collab: FakeCollab
) -> None:
    """After a loss of NATS, a request is repeated at once, not after its timeout of ten minutes. Proves R-BOUND-10."""
    received = asyncio.Event()

    async def answer_the_second_time(message: Msg) -> None:
        if received.is_set():
            await collab.bus.respond(message.reply, message.data)
        received.set()

    subject = CANVAS_EDIT.subject_of(canvas_id=CANVAS)
    await collab.bus.connection.subscribe(subject, cb=answer_the_second_time)
    await collab.bus.settle()
    holder = Holder(gateway_bus, CANVAS)
    asking = asyncio.create_task(
        holder.ask(CANVAS_EDIT, b"edits", retry_seconds=600, attempt_seconds=600)
    )
    await received.wait()
    nats = backing.process("nats")
    nats.kill()
    await nats.wait_ready()
    async with asyncio.timeout(30):
        assert await asking == b"edits"


async def test_restarted_request_is_sent_again_at_once(
    gateway_bus: Bus, collab: FakeCollab
) -> None:
    """Proves R-FAIL-24: a request that waits for a frozen holder goes to the new holder."""
    asked = asyncio.Event()

    async def note(_: Msg) -> None:
        asked.set()

    subject = CANVAS_EDIT.subject_of(canvas_id=CANVAS)
    await collab.bus.connection.subscribe(subject, cb=note)
    await collab.bus.settle()
    holder = Holder(gateway_bus, CANVAS)
    request = asyncio.create_task(
        holder.ask(CANVAS_EDIT, b"x", retry_seconds=60, attempt_seconds=60)
    )
    async with asyncio.timeout(10):
        await asked.wait()
        await collab.hold()
        await collab.bus.settle()
        holder.restart()
        assert await request == b"x"
    assert holder.has_repeated
