"""Something dies while ten people draw. Nobody loses an edit, and nobody has to do anything.

Each drill ends with the same proof (`Painters.finish`): every edit is reported as saved, all ten documents are equal
down to each insertion and deletion, and so is what PostgreSQL has and what a newcomer gets.
"""

import asyncio
from collections.abc import AsyncIterator

import pytest

from svgx_devstack import DevStack
from tests.e2e.clients import canvas_session as studios
from tests.e2e.clients.canvas_session import Studio
from tests.e2e.clients.editor_group import PATIENCE, painting
from tests.e2e.clients.yjs_driver import AWARENESS, YjsDriver
from tests.limits import ROOMY

pytestmark = pytest.mark.timeout(240)

HELD_DOWN = 5.0
"""Seconds that a server stays down."""


@pytest.fixture(scope="module")
async def own_stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[DevStack]:
    """A stack of its own: what is killed here serves nobody else."""
    async with DevStack(tmp_path_factory.mktemp("drills"), settings=ROOMY) as stack:
        yield stack


@pytest.fixture(scope="module")
async def studio(own_stack: DevStack, driver: YjsDriver) -> AsyncIterator[Studio]:
    """The studio on that stack."""
    async with studios.opened(own_stack, driver) as studio:
        yield studio


@pytest.mark.parametrize("service", ["collab", "state", "auth"])
async def test_a_killed_service_is_not_noticed(studio: Studio, service: str) -> None:
    """SIGKILL to a service behind the gateway: no connection is lost. Proves R-FAIL-1, R-FAIL-2 and R-FAIL-3."""
    process = studio.stack.process(service)
    async with painting(studio, seed=11) as painters:
        for _ in range(2):
            process.kill()
            await process.wait_ready()
            await painters.go_on()
            await painters.meet()
        await painters.finish()
        assert await painters.connections() == {1}


async def test_a_killed_gateway_is_reconnected_to(studio: Studio) -> None:
    """Its clients come back by themselves and bring what was not saved. Proves R-FAIL-4."""
    gateway = studio.stack.process("gateway")
    async with painting(studio, seed=12) as painters:
        gateway.kill()
        await asyncio.gather(*(client.closed() for client in painters.clients))
        await gateway.wait_ready()
        await studio.driver.connected(painters.clients)
        await painters.go_on()
        await painters.finish()
        assert await painters.connections() == {2}


async def test_a_holder_that_dies_while_nobody_draws_is_replaced(studio: Studio) -> None:
    """Nobody moves: the gateway looks, finds no holder, and tells the next one who is there. Proves R-FAIL-14."""
    try:
        canvas_id = await studio.canvas("Quiet")
        one, other = await studio.crowd(canvas_id, 2)
        await studio.driver.see([one, other], [one.name, other.name])
        heard = (await one.status()).received[AWARENESS]
        process = studio.stack.process("collab")
        process.kill()
        await process.wait_ready()
        # Sooner than the clients repeat themselves (15 s) or connect anew (30 s of silence).
        await one.received(AWARENESS, heard + 1, timeout=12)
        late = await studio.join(canvas_id)
        await studio.driver.see([one, other, late], [one.name, other.name, late.name])
        assert (await one.status()).connections == 1
    finally:
        await studio.empty()


@pytest.mark.parametrize("server", ["nats", "postgres", "valkey"])
async def test_a_server_that_stays_away_is_waited_for(studio: Studio, server: str) -> None:
    """SIGKILL, five seconds of nothing, and it returns. Proves R-FAIL-5, R-FAIL-6 and R-FAIL-7."""
    process = studio.stack.process(server)
    async with painting(studio, seed=13) as painters:
        process.restart = False
        process.kill()
        try:
            # Not a wait for something: the length of the outage is what is tried here.
            await asyncio.sleep(HELD_DOWN)
        finally:
            process.restart = True
            await process.start()
        await process.wait_ready()
        await painters.go_on()
        await painters.finish()
        assert await painters.connections() == {1}


@pytest.mark.parametrize("missing", ["postgres", "state"])
async def test_without_storage_drawing_goes_on_unsaved(studio: Studio, missing: str) -> None:
    """Others see the edit, `saved` does not say it, and says it when it is true. Proves R-FAIL-6 and R-SAVE-5."""
    process = studio.stack.process(missing)
    canvas_id = await studio.canvas("Outage")
    try:
        drawing, watching = await studio.crowd(canvas_id, 2)
        await studio.driver.saved([drawing, watching])
        process.restart = False
        process.kill()
        await process.wait_dead()
        try:
            await drawing.add("made-in-the-outage")
            await studio.driver.have([watching], "made-in-the-outage")
            status = await drawing.status()
            assert (status.saved, status.documents) == (1, 2)
        finally:
            process.restart = True
            await process.start()
        await studio.driver.saved([drawing], timeout=PATIENCE)
        await process.wait_ready()
        digest = await studio.driver.converged([drawing, watching])
        exported = await studio.owner.export(canvas_id, "yjs")
        assert await studio.driver.digest_of(exported) == digest
        assert (await drawing.status()).connections == 1
    finally:
        await studio.empty()


async def test_another_replica_takes_the_canvas_over(studio: Studio) -> None:
    """The holder is killed and stays dead, then the next one too. Proves R-FAIL-8."""
    first = studio.stack.process("collab")
    async with painting(studio, seed=14) as painters:
        # The first one holds the canvas: there was no other when it was opened.
        name = await studio.stack.add_replica("collab")
        try:
            second = studio.stack.process(name)
            for holder, heir in ((first, second), (second, first)):
                await heir.start()
                await heir.wait_ready()
                holder.restart = False
                holder.kill()
                await painters.meet()
                await painters.go_on()
            await painters.finish()
            assert await painters.connections() == {1}
        finally:
            await first.start()
            first.restart = True
            await first.wait_ready()
            await studio.stack.remove_replica(name)


async def test_a_holder_that_was_only_asleep(studio: Studio) -> None:
    """It stops answering, another takes over, it wakes up and believes to hold still. Proves R-FAIL-9."""
    first = studio.stack.process("collab")
    async with painting(studio, seed=15) as painters:
        name = await studio.stack.add_replica("collab")
        try:
            first.pause()
            try:
                # An edit that is made now reaches others: somebody else holds the canvas.
                await painters.meet()
                await painters.go_on()
            finally:
                first.resume()
            await painters.go_on()
            await painters.finish()
            assert await painters.connections() == {1}
        finally:
            await studio.stack.remove_replica(name)


async def test_a_replica_that_is_stopped_hands_over(studio: Studio) -> None:
    """SIGTERM to the holder while another replica runs. Proves R-FAIL-10."""
    first = studio.stack.process("collab")
    async with painting(studio, seed=16) as painters:
        name = await studio.stack.add_replica("collab")
        try:
            await first.stop()
            await painters.meet()
            await painters.go_on()
            await painters.finish()
            assert await painters.connections() == {1}
        finally:
            await first.start()
            await first.wait_ready()
            await studio.stack.remove_replica(name)


async def test_a_gateway_that_is_stopped_says_so(studio: Studio) -> None:
    """SIGTERM: clients are closed with 1012 and come back. Proves R-FAIL-11."""
    gateway = studio.stack.process("gateway")
    async with painting(studio, seed=17) as painters:
        try:
            await gateway.stop()
        finally:
            await gateway.start()
        for client in painters.clients:
            closes = (await client.status()).closes
            assert closes[0].code == 1012
        await gateway.wait_ready()
        await studio.driver.connected(painters.clients)
        await painters.go_on()
        await painters.finish()


async def test_one_thing_after_the_other(studio: Studio) -> None:
    """Everything dies once, without time to recover in between. Proves R-FAIL-12."""
    async with painting(studio, seed=18) as painters:
        processes = [
            studio.stack.process(name)
            for name in ("collab", "nats", "state", "postgres", "valkey", "auth", "gateway")
        ]
        for process in processes:
            process.kill()
            await painters.go_on(20)
        await asyncio.gather(*(process.wait_ready() for process in processes))
        await studio.driver.connected(painters.clients, timeout=PATIENCE)
        await painters.go_on()
        await painters.finish()
