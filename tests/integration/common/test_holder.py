"""Reaching a canvas's holder."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from nats.aio.msg import Msg

from svgx_common.contract import subjects
from svgx_common.contract.collab import OPEN, Opened
from svgx_common.contract.errors import NotFound, Overloaded, SvgxError, Unavailable
from svgx_common.messaging.bus import Bus
from svgx_common.messaging.holder import Holder
from svgx_devstack import DevStack
from tests.integration.common.party import service_bus

CANVAS = "00000000-0000-0000-0000-000000000001"


class Collab:
    """Answers `open` and `edit` with what it is given, a step at a time; the last step is repeated."""

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self.opens: list[SvgxError | None] = []
        self.edits: list[SvgxError | None] = []
        self.opened = 0
        self.sought = asyncio.Event()
        self.asked = 0
        self.holds = False

    async def hold(self) -> None:
        if not self.holds:
            self.holds = True
            subject = subjects.canvas(CANVAS, "edit")
            await self.bus.connection.subscribe(subject, cb=self._edit)

    async def open(self, message: Msg) -> None:
        self.opened += 1
        self.sought.set()
        if error := self._next(self.opens):
            await self.bus.refuse(message.reply, error)
            return
        await self.hold()
        await self.bus.settle()
        await self.bus.respond(message.reply, Opened(epoch="e").model_dump_json().encode())

    async def _edit(self, message: Msg) -> None:
        self.asked += 1
        if error := self._next(self.edits):
            await self.bus.refuse(message.reply, error)
        else:
            await self.bus.respond(message.reply, message.data)

    def _next(self, steps: list[SvgxError | None]) -> SvgxError | None:
        return steps.pop(0) if len(steps) > 1 else next(iter(steps), None)


@pytest.fixture
async def collab(backing: DevStack) -> AsyncIterator[Collab]:
    """The only collab there is; it holds nothing yet."""
    bus = await service_bus(backing, "collab")
    collab = Collab(bus)
    await bus.connection.subscribe(OPEN.subject, cb=collab.open)
    await bus.settle()
    yield collab
    await bus.close()


async def test_who_is_overloaded_is_asked_again_when_it_says(asker: Bus, collab: Collab) -> None:
    """Proves R-BUS-13: not before."""
    await collab.hold()
    await collab.bus.settle()
    collab.edits = [Overloaded(retry_after=0.3), Overloaded(retry_after=0.3), None]
    started = asyncio.get_running_loop().time()
    answer = await Holder(asker, CANVAS).ask("edit", b"x", patience=20, attempt=5)
    assert answer == b"x"
    assert collab.asked == 3
    assert asyncio.get_running_loop().time() - started >= 0.6


async def test_patience_ends(asker: Bus, collab: Collab) -> None:
    """Proves R-BUS-13: with the last failure; what cannot pass is told at once."""
    await collab.hold()
    await collab.bus.settle()
    collab.edits = [Overloaded(retry_after=60)]
    with pytest.raises(Overloaded):
        await Holder(asker, CANVAS).ask("edit", b"x", patience=20, attempt=5)
    collab.edits = [NotFound()]
    with pytest.raises(NotFound):
        await Holder(asker, CANVAS).ask("edit", b"x", patience=20, attempt=5)


async def test_many_who_find_nobody_seek_once(asker: Bus, collab: Collab) -> None:
    """Proves R-BUS-13: 500 requests wait for one that has the canvas opened, and all are answered."""
    collab.opens = [Unavailable(retry_after=0.05)] * 10 + [None]
    holder = Holder(asker, CANVAS)
    contents = [b"%d" % number for number in range(500)]
    answers = await asyncio.gather(
        *(holder.ask("edit", content, patience=20, attempt=5) for content in contents)
    )
    assert answers == contents
    assert collab.opened == 11
    assert collab.asked == 500


async def test_a_seeker_that_gives_up_is_followed_by_another(asker: Bus, collab: Collab) -> None:
    """Proves R-BUS-13: whoever waits goes on by itself."""
    collab.opens = [Unavailable(retry_after=0.05)]
    holder = Holder(asker, CANVAS)
    seeker = asyncio.create_task(holder.ask("edit", b"first", patience=20, attempt=5))
    await collab.sought.wait()
    waiter = asyncio.create_task(holder.ask("edit", b"second", patience=20, attempt=5))
    await asyncio.sleep(0)
    seeker.cancel()
    collab.opens = [None]
    assert await waiter == b"second"
