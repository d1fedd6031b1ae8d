"""Something dies while ten people draw. Nobody loses an edit, and nobody has to do anything.

Each drill ends with the same proof (`EditorGroup.finish`): every edit is reported as saved, all ten documents are equal
down to each insertion and deletion, and so is what PostgreSQL has and what a newcomer gets.
"""

import asyncio
from collections.abc import AsyncIterator

import pytest

from svgx_devstack import DevStack
from tests.e2e.clients.editor_group import RECOVERY_TIMEOUT, editing
from tests.e2e.clients.workspace import Workspace, open_workspace
from tests.e2e.clients.yjs_driver import AWARENESS, YjsDriver
from tests.limits import HIGH_LIMITS

pytestmark = pytest.mark.timeout(240)

HELD_DOWN = 5.0
"""Seconds that a server stays down."""


@pytest.fixture(scope="module")
async def own_stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[DevStack]:
    """A stack of its own: what is killed here serves nobody else."""
    async with DevStack(tmp_path_factory.mktemp("drills"), settings=HIGH_LIMITS) as stack:
        yield stack


@pytest.fixture(scope="module")
async def workspace(own_stack: DevStack, driver: YjsDriver) -> AsyncIterator[Workspace]:
    """The workspace on that stack."""
    async with open_workspace(own_stack, driver) as workspace:
        yield workspace


@pytest.mark.parametrize("service", ["collab", "state", "auth"])
async def test_a_killed_service_is_not_noticed(workspace: Workspace, service: str) -> None:
    """SIGKILL to a service behind the gateway: no connection is lost. Proves R-FAIL-1, R-FAIL-2 and R-FAIL-3."""
    process = workspace.stack.process(service)
    async with editing(workspace, seed=11) as editors:
        for _ in range(2):
            process.kill()
            await process.wait_ready()
            await editors.wait_for_edits()
            await editors.wait_for_broadcast()
        await editors.stop_and_verify()
        assert await editors.connection_counts() == {1}


async def test_a_killed_gateway_is_reconnected_to(workspace: Workspace) -> None:
    """Its clients come back by themselves and bring what was not saved. Proves R-FAIL-4."""
    gateway = workspace.stack.process("gateway")
    async with editing(workspace, seed=12) as editors:
        gateway.kill()
        await asyncio.gather(*(client.wait_closed() for client in editors.clients))
        await gateway.wait_ready()
        await workspace.driver.wait_connected(editors.clients)
        await editors.wait_for_edits()
        await editors.stop_and_verify()
        assert await editors.connection_counts() == {2}


async def test_a_holder_that_dies_while_nobody_draws_is_replaced(workspace: Workspace) -> None:
    """Nobody moves: the gateway looks, finds no holder, and tells the next one who is there. Proves R-FAIL-14."""
    try:
        canvas_id = await workspace.create_canvas("Quiet")
        one, other = await workspace.connect_many(canvas_id, 2)
        await workspace.driver.wait_for_presence([one, other], [one.name, other.name])
        heard = (await one.status()).received[AWARENESS]
        process = workspace.stack.process("collab")
        process.kill()
        await process.wait_ready()
        # Sooner than the clients repeat themselves (15 s) or connect anew (30 s of silence).
        await one.wait_received(AWARENESS, heard + 1, timeout=12)
        late = await workspace.connect(canvas_id)
        await workspace.driver.wait_for_presence(
            [one, other, late], [one.name, other.name, late.name]
        )
        assert (await one.status()).connections == 1
    finally:
        await workspace.destroy_all()


@pytest.mark.parametrize("server", ["nats", "postgres", "valkey"])
async def test_a_server_that_stays_away_is_waited_for(workspace: Workspace, server: str) -> None:
    """SIGKILL, five seconds of nothing, and it returns. Proves R-FAIL-5, R-FAIL-6 and R-FAIL-7."""
    process = workspace.stack.process(server)
    async with editing(workspace, seed=13) as editors:
        process.restart = False
        process.kill()
        try:
            # Not a wait for something: the length of the outage is what is tried here.
            await asyncio.sleep(HELD_DOWN)
        finally:
            process.restart = True
            await process.start()
        await process.wait_ready()
        await editors.wait_for_edits()
        await editors.stop_and_verify()
        assert await editors.connection_counts() == {1}


@pytest.mark.parametrize("missing", ["postgres", "state"])
async def test_without_storage_drawing_goes_on_unsaved(workspace: Workspace, missing: str) -> None:
    """Others see the edit, `saved` does not say it, and says it when it is true. Proves R-FAIL-6 and R-SAVE-5."""
    process = workspace.stack.process(missing)
    canvas_id = await workspace.create_canvas("Outage")
    try:
        drawing, watching = await workspace.connect_many(canvas_id, 2)
        await workspace.driver.wait_saved([drawing, watching])
        process.restart = False
        process.kill()
        await process.wait_dead()
        try:
            await drawing.add_element("made-in-the-outage")
            await workspace.driver.wait_for_elements([watching], "made-in-the-outage")
            status = await drawing.status()
            assert (status.saved, status.documents) == (1, 2)
        finally:
            process.restart = True
            await process.start()
        await workspace.driver.wait_saved([drawing], timeout=RECOVERY_TIMEOUT)
        await process.wait_ready()
        digest = await workspace.driver.wait_converged([drawing, watching])
        exported = await workspace.owner.export(canvas_id, "yjs")
        assert await workspace.driver.digest_of(exported) == digest
        assert (await drawing.status()).connections == 1
    finally:
        await workspace.destroy_all()


async def test_another_replica_takes_the_canvas_over(workspace: Workspace) -> None:
    """The holder is killed and stays dead, then the next one too. Proves R-FAIL-8."""
    first = workspace.stack.process("collab")
    async with editing(workspace, seed=14) as editors:
        # The first one holds the canvas: there was no other when it was opened.
        name = await workspace.stack.add_replica("collab")
        try:
            second = workspace.stack.process(name)
            for holder, heir in ((first, second), (second, first)):
                await heir.start()
                await heir.wait_ready()
                holder.restart = False
                holder.kill()
                await editors.wait_for_broadcast()
                await editors.wait_for_edits()
            await editors.stop_and_verify()
            assert await editors.connection_counts() == {1}
        finally:
            await first.start()
            first.restart = True
            await first.wait_ready()
            await workspace.stack.remove_replica(name)


async def test_a_holder_that_was_only_asleep(workspace: Workspace) -> None:
    """It stops answering, another takes over, it wakes up and believes to hold still. Proves R-FAIL-9."""
    first = workspace.stack.process("collab")
    async with editing(workspace, seed=15) as editors:
        name = await workspace.stack.add_replica("collab")
        try:
            first.pause()
            try:
                # An edit that is made now reaches others: somebody else holds the canvas.
                await editors.wait_for_broadcast()
                await editors.wait_for_edits()
            finally:
                first.resume()
            await editors.wait_for_edits()
            await editors.stop_and_verify()
            assert await editors.connection_counts() == {1}
        finally:
            await workspace.stack.remove_replica(name)


async def test_a_replica_that_is_stopped_hands_over(workspace: Workspace) -> None:
    """SIGTERM to the holder while another replica runs. Proves R-FAIL-10."""
    first = workspace.stack.process("collab")
    async with editing(workspace, seed=16) as editors:
        name = await workspace.stack.add_replica("collab")
        try:
            await first.stop()
            await editors.wait_for_broadcast()
            await editors.wait_for_edits()
            await editors.stop_and_verify()
            assert await editors.connection_counts() == {1}
        finally:
            await first.start()
            await first.wait_ready()
            await workspace.stack.remove_replica(name)


async def test_a_gateway_that_is_stopped_says_so(workspace: Workspace) -> None:
    """SIGTERM: clients are closed with 1012 and come back. Proves R-FAIL-11."""
    gateway = workspace.stack.process("gateway")
    async with editing(workspace, seed=17) as editors:
        try:
            await gateway.stop()
        finally:
            await gateway.start()
        for client in editors.clients:
            closes = (await client.status()).closes
            assert closes[0].code == 1012
        await gateway.wait_ready()
        await workspace.driver.wait_connected(editors.clients)
        await editors.wait_for_edits()
        await editors.stop_and_verify()


async def test_one_thing_after_the_other(workspace: Workspace) -> None:
    """Everything dies once, without time to recover in between. Proves R-FAIL-12."""
    async with editing(workspace, seed=18) as editors:
        processes = [
            workspace.stack.process(name)
            for name in ("collab", "nats", "state", "postgres", "valkey", "auth", "gateway")
        ]
        for process in processes:
            process.kill()
            await editors.wait_for_edits(20)
        await asyncio.gather(*(process.wait_ready() for process in processes))
        await workspace.driver.wait_connected(editors.clients, timeout=RECOVERY_TIMEOUT)
        await editors.wait_for_edits()
        await editors.stop_and_verify()
