"""A process fails while ten clients edit. No edit is lost, and all clients recover by themselves.

Most tests end with `EditorGroup.stop_and_verify`: all edits are saved, and the documents of all clients, PostgreSQL and
a new client are equal down to each insertion and deletion.
"""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from svgx_devstack import DevStack
from svgx_gateway.role_rounds import LINK_ROUND_SECONDS
from svgx_gateway.websocket.sessions.join_retries import RETRY_SECONDS
from tests.e2e.accounts.test_share_links import create_link
from tests.e2e.clients.editor_group import RECOVERY_TIMEOUT, editing
from tests.e2e.clients.hocuspocus import connect_hocuspocus
from tests.e2e.clients.json_client import connect_json
from tests.e2e.clients.metrics import Metrics
from tests.e2e.clients.workspace import Workspace, open_workspace
from tests.e2e.clients.yjs_driver import AWARENESS, YjsDriver

pytestmark = pytest.mark.timeout(600)

OUTAGE_SECONDS = 5.0
"""Seconds that a server stays down."""


@pytest.fixture(scope="module")
async def workspace(killed_stack: DevStack, driver: YjsDriver) -> AsyncIterator[Workspace]:
    """Open a workspace on a stack that no other test process uses, because the tests kill the stack's processes."""
    async with open_workspace(killed_stack, driver) as workspace:
        yield workspace


@pytest.mark.parametrize("service", ["collab", "state", "auth"])
async def test_killed_service_costs_no_connection_and_no_edit(
    workspace: Workspace, service: str
) -> None:
    """The service gets SIGKILL twice. Proves R-FAIL-1, R-FAIL-2 and R-FAIL-3."""
    process = workspace.stack.process(service)
    async with editing(workspace, seed=11) as editors:
        for _ in range(2):
            process.kill()
            await process.wait_ready()
            await editors.wait_for_edits()
            await editors.wait_for_broadcast()
        await editors.stop_and_verify()
        assert await editors.connection_counts() == {1}


async def test_killed_gateway_costs_one_reconnect_and_no_edit(workspace: Workspace) -> None:
    """After the reconnect, the clients send their unsaved edits again. Proves R-FAIL-4."""
    gateway = workspace.stack.process("gateway")
    async with editing(workspace, seed=12) as editors:
        gateway.kill()
        await asyncio.gather(*(client.wait_closed() for client in editors.clients))
        await gateway.wait_ready()
        await workspace.driver.wait_connected(editors.clients)
        await editors.wait_for_edits()
        await editors.stop_and_verify()
        assert await editors.connection_counts() == {2}


async def test_killed_holder_of_an_idle_canvas_is_replaced(workspace: Workspace) -> None:
    """No client sends anything. The gateway notices the loss, and sends the awareness states to the next holder.

    Proves R-FAIL-14.
    """
    try:
        canvas_id = await workspace.create_canvas("Quiet")
        first, second = await workspace.connect_many(canvas_id, 2)
        await workspace.driver.wait_for_presence([first, second], [first.name, second.name])
        received = (await first.status()).received[AWARENESS]
        process = workspace.stack.process("collab")
        process.kill()
        await process.wait_ready()
        # The timeout of 12 s is too short for the clients' own recovery: clients repeat their states after 15 s, and
        # reconnect after 30 s of silence.
        await first.wait_received(AWARENESS, received + 1, timeout=12)
        newcomer = await workspace.connect(canvas_id)
        await workspace.driver.wait_for_presence(
            [first, second, newcomer], [first.name, second.name, newcomer.name]
        )
        assert (await first.status()).connections == 1
    finally:
        await workspace.destroy_all()


@pytest.mark.parametrize("process", ["collab", "nats"])
async def test_json_client_follows_the_canvas_after_a_process_was_killed(
    workspace: Workspace, process: str
) -> None:
    """The client loads the canvas again, and then gets events of the edits as before. Proves R-JSON-7."""
    killed = workspace.stack.process(process)
    try:
        canvas_id = await workspace.create_canvas("Followed")
        (editor,) = await workspace.connect_many(canvas_id, 1)
        async with connect_json(workspace, canvas_id) as client:
            await client.handshake()
            await editor.add_element("before")
            await client.wait_for_element("before")
            killed.kill()
            await editor.add_element("meanwhile")
            await killed.wait_ready()
            while not client.reloads:
                await client.wait_for("reload")
            await editor.add_element("after")
            await client.wait_for_element("after")
            await workspace.driver.wait_saved([editor])
            await client.wait_until_equal()
            assert set(client.elements) == {"before", "meanwhile", "after"}
    finally:
        await workspace.destroy_all()


@pytest.mark.parametrize("server", ["nats", "postgres", "valkey"])
async def test_server_outage_costs_no_connection_and_no_edit(
    workspace: Workspace, server: str
) -> None:
    """The server gets SIGKILL and starts again after five seconds. Proves R-FAIL-5, R-FAIL-6 and R-FAIL-7."""
    process = workspace.stack.process(server)
    async with editing(workspace, seed=13) as editors:
        process.restart = False
        process.kill()
        try:
            # This sleep waits for no event, because the test is about an outage of this length.
            await asyncio.sleep(OUTAGE_SECONDS)
        finally:
            process.restart = True
            await process.start()
        await process.wait_ready()
        await editors.wait_for_edits()
        await editors.stop_and_verify()
        assert await editors.connection_counts() == {1}


@pytest.mark.parametrize("missing", ["postgres", "state"])
async def test_edits_without_storage_are_broadcast_and_saved_later(
    workspace: Workspace, missing: str
) -> None:
    """Other clients receive the edit at once; `saved` reports it after the outage. Proves R-FAIL-6 and R-SAVE-5."""
    process = workspace.stack.process(missing)
    canvas_id = await workspace.create_canvas("Outage")
    try:
        editor, observer = await workspace.connect_many(canvas_id, 2)
        await workspace.driver.wait_saved([editor, observer])
        process.restart = False
        process.kill()
        await process.wait_dead()
        try:
            await editor.add_element("made-in-the-outage")
            await workspace.driver.wait_for_elements([observer], "made-in-the-outage")
            status = await editor.status()
            assert (status.saved, status.document_messages) == (1, 2)
        finally:
            process.restart = True
            await process.start()
        await workspace.driver.wait_saved([editor], timeout=RECOVERY_TIMEOUT)
        await process.wait_ready()
        digest = await workspace.driver.wait_converged([editor, observer])
        exported = await workspace.owner.export(canvas_id, "yjs")
        assert await workspace.driver.digest_of(exported) == digest
        assert (await editor.status()).connections == 1
    finally:
        await workspace.destroy_all()


async def test_visitor_is_disconnected_after_the_creator_was_disabled_while_state_was_down(
    workspace: Workspace,
) -> None:
    """A visitor is disconnected although state has missed the broadcast about the creator. Proves R-LIFE-5."""
    creator = await workspace.create_user()
    session = workspace.api.session_of(creator)
    link = await create_link(session, await session.create_canvas("Shared"), "editor")
    state = workspace.stack.process("state")
    try:
        visitor = await workspace.connect(link["canvas_id"], params={"link": link["token"]})
        await workspace.driver.wait_synced([visitor])
        await state.stop()
        try:
            path = f"/admin/users/{creator.id}"
            await workspace.admin.request("PATCH", path, json={"disabled": True})
        finally:
            await state.start()
        close = await visitor.wait_closed(timeout=2 * LINK_ROUND_SECONDS + RECOVERY_TIMEOUT)
        assert (close.code, close.reason) == (
            4401,
            "the share link has been revoked, or has expired",
        )
    finally:
        await workspace.destroy_all()


async def test_join_without_state_and_collab_waits_for_their_start(workspace: Workspace) -> None:
    """A client that joins in an outage is not closed. It syncs as soon as the services run. Proves R-FAIL-26."""
    processes = [workspace.stack.process(name) for name in ("collab", "state")]
    metrics = Metrics(workspace.stack, timeout=RECOVERY_TIMEOUT)
    canvas_id = await workspace.create_canvas("Outage")
    for process in processes:
        process.restart = False
        process.kill()
        await process.wait_dead()
    began = time.monotonic()
    try:
        clients = [await workspace.connect(canvas_id) for _ in range(5)]
        await metrics.until("live_waiting_joins", lambda value: value == 5, "gateway")
    finally:
        for process in processes:
            process.restart = True
            await process.start()
    await workspace.driver.wait_synced(clients, timeout=RECOVERY_TIMEOUT)
    waited = time.monotonic() - began
    await clients[0].add_element("after-the-outage")
    await workspace.driver.wait_for_elements(clients[1:], "after-the-outage")
    # The gateway closes a client that waits longer, and the client then connects again.
    if waited < RETRY_SECONDS:
        assert [(await client.status()).connections for client in clients] == [1] * 5
    await workspace.destroy_all()


async def test_killed_holder_is_replaced_by_another_replica(workspace: Workspace) -> None:
    """The second replica replaces the killed first one. Then the first starts again and replaces the killed second one.

    Proves R-FAIL-8.
    """
    first = workspace.stack.process("collab")
    async with editing(workspace, seed=14) as editors:
        # The first replica holds the canvas, because it was the only one when the canvas was opened.
        name = await workspace.stack.add_replica("collab")
        try:
            second = workspace.stack.process(name)
            for holder, successor in ((first, second), (second, first)):
                await successor.start()
                await successor.wait_ready()
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


async def test_paused_holder_that_resumes_changes_nothing(workspace: Workspace) -> None:
    """Another replica takes over from the paused holder, which resumes with an old lease. Proves R-FAIL-9."""
    first = workspace.stack.process("collab")
    async with editing(workspace, seed=15) as editors:
        name = await workspace.stack.add_replica("collab")
        try:
            first.pause()
            try:
                # A broadcast proves that another replica holds the canvas.
                await editors.wait_for_broadcast()
                await editors.wait_for_edits()
            finally:
                first.resume()
            await editors.wait_for_edits()
            await editors.stop_and_verify()
            assert await editors.connection_counts() == {1}
        finally:
            await workspace.stack.remove_replica(name)


async def test_stopped_holder_hands_the_canvas_to_another_replica(workspace: Workspace) -> None:
    """The holder gets SIGTERM while another replica runs. Proves R-FAIL-10."""
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


async def test_stopped_gateway_loses_no_edit_of_hocuspocus_clients(workspace: Workspace) -> None:
    """The gateway gets SIGTERM. Both documents of one socket keep the edits that are made without a gateway.

    Proves R-HOCUS-3 and R-HOCUS-5.
    """
    gateway = workspace.stack.process("gateway")
    canvases = [await workspace.create_canvas() for _ in range(2)]
    clients = [await connect_hocuspocus(workspace, each, socket="restart") for each in canvases]
    await workspace.driver.wait_saved(clients)
    try:
        await gateway.stop()
        await clients[0].wait_closed()
        # Later closes belong to attempts to reconnect.
        assert (await clients[0].status()).closes[0].code == 1012
        for client in clients:
            await client.add_element("offline")
            assert await client.unsynced()
    finally:
        await gateway.start()
        await gateway.wait_ready()
    await workspace.driver.wait_saved(clients)
    for canvas in canvases:
        newcomer = await workspace.connect(canvas)
        await workspace.driver.wait_for_elements([newcomer], "offline")


async def test_stopped_gateway_closes_its_clients_with_1012(workspace: Workspace) -> None:
    """The gateway gets SIGTERM, and the clients reconnect. Proves R-FAIL-11."""
    gateway = workspace.stack.process("gateway")
    async with editing(workspace, seed=17) as editors:
        try:
            await gateway.stop()
        finally:
            await gateway.start()
        await asyncio.gather(*(client.wait_closed() for client in editors.clients))
        for client in editors.clients:
            closes = (await client.status()).closes
            assert closes[0].code == 1012
        await gateway.wait_ready()
        await workspace.driver.wait_connected(editors.clients)
        await editors.wait_for_edits()
        await editors.stop_and_verify()


async def test_all_processes_killed_in_turn_cost_no_edit(workspace: Workspace) -> None:
    """Each process is killed while the process before it may still be down. Proves R-FAIL-12."""
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
