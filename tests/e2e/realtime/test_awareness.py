"""Awareness: each client receives the states of all clients that are connected to the same canvas."""

from pathlib import Path

import pytest
import websockets

from svgx_yjs import awareness, protocol
from svgx_yjs.awareness import State
from svgx_yjs.lib0 import Decoder
from tests.e2e.clients.workspace import Workspace
from tests.e2e.clients.yjs_driver import AWARENESS, YjsDriver

SERVER_TIMEOUT = 12.0
"""Seconds to wait for an awareness change. Yjs clients remove a silent client by themselves after 30 s, so a removal
within this time comes from the server.
"""

RETURN_TIMEOUT = 12.0
"""Seconds within which all clients must see a client that has returned.

Yjs clients renew their states by themselves after 15 s, so a return within this time comes from the server.
"""


async def test_twenty_clients_receive_each_others_awareness_states(
    workspace: Workspace, canvas: str
) -> None:
    """Each client has the states of all twenty clients, its own included. Proves R-AWARE-1."""
    clients = await workspace.connect_many(canvas, 20)
    await workspace.driver.wait_for_presence(
        clients, [client.name for client in clients], timeout=SERVER_TIMEOUT
    )


async def test_awareness_change_reaches_all_clients(workspace: Workspace, canvas: str) -> None:
    """All clients receive the new cursor of a client. Proves R-AWARE-1."""
    clients = await workspace.connect_many(canvas, 3)
    names = [client.name for client in clients]
    await workspace.driver.wait_for_presence(clients, names, timeout=SERVER_TIMEOUT)
    await clients[0].set_awareness({"name": "moved", "cursor": {"x": 3, "y": 4}})
    await workspace.driver.wait_for_presence(clients, ["moved", *names[1:]], timeout=SERVER_TIMEOUT)
    states = await clients[2].awareness_states()
    assert {"name": "moved", "cursor": {"x": 3, "y": 4}} in states


async def test_newcomer_receives_the_existing_awareness_states(
    workspace: Workspace, canvas: str
) -> None:
    """The server sends the states, because clients repeat theirs only every 15 s. Proves R-AWARE-2."""
    clients = await workspace.connect_many(canvas, 3)
    names = [client.name for client in clients]
    await workspace.driver.wait_for_presence(clients, names, timeout=SERVER_TIMEOUT)
    newcomer = await workspace.connect(canvas)
    await workspace.driver.wait_for_presence(
        [newcomer], [*names, newcomer.name], timeout=SERVER_TIMEOUT
    )


async def test_awareness_state_is_removed_after_a_normal_close(
    workspace: Workspace, canvas: str
) -> None:
    """The other client loses the state of the closed client. Proves R-AWARE-3."""
    staying, leaving = await workspace.connect_many(canvas, 2)
    await workspace.driver.wait_for_presence(
        [staying], [staying.name, leaving.name], timeout=SERVER_TIMEOUT
    )
    await workspace.destroy(leaving)
    await workspace.driver.wait_for_presence([staying], [staying.name], timeout=SERVER_TIMEOUT)


async def test_awareness_state_is_removed_after_a_broken_connection(
    workspace: Workspace, canvas: str
) -> None:
    """The server removes the state, because the client cannot send a removal. Proves R-AWARE-3."""
    staying, other, leaving = await workspace.connect_many(canvas, 3)
    await workspace.driver.wait_for_presence(
        [staying, other], [staying.name, other.name, leaving.name], timeout=SERVER_TIMEOUT
    )
    await leaving.drop_without_reconnect()
    await workspace.driver.wait_for_presence(
        [staying, other], [staying.name, other.name], timeout=SERVER_TIMEOUT
    )


async def test_awareness_states_are_removed_after_the_client_process_is_killed(
    workspace: Workspace, canvas: str, node: Path
) -> None:
    """Five clients end at once without close frames. Proves R-AWARE-3."""
    staying = await workspace.connect(canvas)
    async with YjsDriver(node) as killed_driver:
        others = [await workspace.connect(canvas, driver=killed_driver) for _ in range(5)]
        await workspace.driver.wait_for_presence(
            [staying], [staying.name, *(other.name for other in others)], timeout=SERVER_TIMEOUT
        )
        killed_driver.kill()
    await workspace.driver.wait_for_presence([staying], [staying.name], timeout=SERVER_TIMEOUT)


@pytest.mark.parametrize("y_websocket", [2, 3])
async def test_awareness_states_return_after_a_reconnect_without_a_change(
    workspace: Workspace, canvas: str, y_websocket: int
) -> None:
    """After each of two reconnects, clients have all states at once, although no state changes. Proves R-AWARE-4.

    When a Yjs client loses its connection, it removes the other clients' states but keeps their clocks, and accepts
    only states with a newer clock. Without a change, a Yjs client renews its state after 15 s only.
    """
    staying, other = await workspace.connect_many(canvas, 2)
    reconnecting = await workspace.connect(canvas, version=y_websocket)
    clients = [staying, other, reconnecting]
    names = [client.name for client in clients]
    await workspace.driver.wait_for_presence(clients, names, timeout=SERVER_TIMEOUT)
    for _ in range(2):
        await reconnecting.drop_without_reconnect()
        await workspace.driver.wait_for_presence([staying], names[:2], timeout=SERVER_TIMEOUT)
        await reconnecting.reconnect()
        await workspace.driver.wait_synced([reconnecting])
        await workspace.driver.wait_for_presence(clients, names, timeout=RETURN_TIMEOUT)


async def test_page_that_uses_its_client_id_again_is_present_at_once(
    workspace: Workspace, canvas: str
) -> None:
    """A reloaded page has the same client id and a lower clock. Its new state is shown. Proves R-AWARE-4."""
    staying = await workspace.connect(canvas)
    page = await workspace.connect(canvas, clientId=4711)
    for number in range(20):
        await page.set_awareness({"name": "page", "number": number})
    await workspace.driver.wait_for_presence(
        [staying], [staying.name, "page"], timeout=SERVER_TIMEOUT
    )
    await page.drop_without_reconnect()
    await workspace.driver.wait_for_presence([staying], [staying.name], timeout=SERVER_TIMEOUT)
    reloaded = await workspace.connect(canvas, clientId=4711)
    await workspace.driver.wait_synced([reloaded])
    await workspace.driver.wait_for_presence(
        [staying, reloaded], [staying.name, reloaded.name], timeout=RETURN_TIMEOUT
    )
    await workspace.destroy(reloaded)
    await workspace.driver.wait_for_presence([staying], [staying.name], timeout=SERVER_TIMEOUT)


async def test_page_that_returns_before_its_old_connection_ends_stays_present(
    workspace: Workspace, canvas: str
) -> None:
    """The page keeps its new state, and the end of the old connection does not remove it. Proves R-AWARE-4."""
    staying = await workspace.connect(canvas)
    await workspace.driver.wait_synced([staying])
    url = f"{workspace.api.websocket_url}/{canvas}?token={await workspace.owner.access_token()}"
    async with websockets.connect(url) as old:
        await old.send(protocol.encode_sync_step_1(b"\x00"))
        stale = State(4711, 20, '{"name":"stale"}')
        await old.send(protocol.encode_awareness(awareness.encode([stale])))
        await workspace.driver.wait_for_presence(
            [staying], [staying.name, "stale"], timeout=SERVER_TIMEOUT
        )
        page = await workspace.connect(canvas, clientId=4711)
        names = [staying.name, page.name]
        await workspace.driver.wait_for_presence([staying, page], names, timeout=RETURN_TIMEOUT)
    newcomer = await workspace.connect(canvas)
    names.append(newcomer.name)
    await workspace.driver.wait_for_presence(
        [staying, page, newcomer], names, timeout=SERVER_TIMEOUT
    )
    await workspace.destroy(page)
    names.remove(page.name)
    await workspace.driver.wait_for_presence([staying, newcomer], names, timeout=SERVER_TIMEOUT)


async def test_awareness_states_stay_on_their_canvas(workspace: Workspace) -> None:
    """Clients of different canvases do not receive each other's states. Proves R-AWARE-5."""
    here = await workspace.connect_many(await workspace.create_canvas("Here"), 2)
    there = await workspace.connect_many(await workspace.create_canvas("There"), 2)
    await workspace.driver.wait_for_presence(
        here, [client.name for client in here], timeout=SERVER_TIMEOUT
    )
    await workspace.driver.wait_for_presence(
        there, [client.name for client in there], timeout=SERVER_TIMEOUT
    )


async def test_client_alone_on_a_canvas_receives_its_own_awareness(
    workspace: Workspace, canvas: str
) -> None:
    """The server sends a client its own state, because y-websocket reconnects after 30 s of silence.

    Proves R-AWARE-6.
    """
    client = await workspace.connect(canvas)
    await workspace.driver.wait_synced([client])
    received = (await client.status()).received.get(AWARENESS, 0)
    for number in range(3):
        await client.set_awareness({"name": client.name, "number": number})
        received = await client.wait_received(AWARENESS, received + 1, timeout=SERVER_TIMEOUT)


async def receive_states_until(socket: websockets.ClientConnection, json_part: str) -> list[State]:
    """Receive awareness states until the JSON of a state contains `json_part`, and return all of them."""
    states: list[State] = []
    while not any(json_part in state.json for state in states):
        frame = await socket.recv(decode=False)
        if frame[0] == AWARENESS:
            states += awareness.decode(Decoder(frame[1:]).buffer())
    return states


async def test_leaving_client_removes_only_its_own_awareness_state(
    workspace: Workspace, canvas: str
) -> None:
    """y-websocket also sends the states of other clients. The server keeps these states when the sender leaves.

    Proves R-AWARE-9.
    """
    staying, other, leaving = await workspace.connect_many(canvas, 3)
    clients = [staying, other, leaving]
    await workspace.driver.wait_for_presence(
        clients, [client.name for client in clients], timeout=SERVER_TIMEOUT
    )
    url = f"{workspace.api.websocket_url}/{canvas}?token={await workspace.owner.access_token()}"
    async with websockets.connect(url) as socket:
        await socket.send(protocol.encode_sync_step_1(b"\x00"))
        await receive_states_until(socket, leaving.name)
        await leaving.drop_without_reconnect()
        await workspace.driver.wait_for_presence(
            [staying, other], [staying.name, other.name], timeout=SERVER_TIMEOUT
        )
        await other.set_awareness({"name": "and now"})
        states = await receive_states_until(socket, "and now")
        assert len({state.client for state in states if not state.present}) == 1


async def test_tab_that_loses_its_connection_removes_no_other_awareness_state(
    workspace: Workspace, canvas: str
) -> None:
    """The tab sends removals of all clients to the other tab, which sends them to the server. The server drops them.

    Proves R-AWARE-9.
    """
    others = await workspace.connect_many(canvas, 2)
    tabs = [await workspace.connect(canvas, tab=True) for _ in range(2)]
    clients = [*others, *tabs]
    await workspace.driver.wait_for_presence(
        clients, [client.name for client in clients], timeout=SERVER_TIMEOUT
    )
    url = f"{workspace.api.websocket_url}/{canvas}?token={await workspace.owner.access_token()}"
    async with websockets.connect(url) as socket:
        await socket.send(protocol.encode_sync_step_1(b"\x00"))
        await receive_states_until(socket, others[1].name)
        await tabs[0].drop_connection()
        await tabs[0].wait_closed()
        await workspace.driver.wait_synced(tabs)
        # A connection keeps the order of messages: earlier messages of the other tab arrive before this state.
        await tabs[1].set_awareness({"name": "other tab"})
        states = await receive_states_until(socket, "other tab")
        await tabs[0].set_awareness({"name": "this tab"})
        states += await receive_states_until(socket, "this tab")
        assert len({state.client for state in states if not state.present}) == 1
    names = [others[0].name, others[1].name, "this tab", "other tab"]
    await workspace.driver.wait_for_presence(others, names, timeout=SERVER_TIMEOUT)
    await workspace.destroy(tabs[1])
    await workspace.driver.wait_for_presence(others, names[:3], timeout=SERVER_TIMEOUT)


async def test_viewer_cannot_replace_the_awareness_state_of_another_client(
    workspace: Workspace, canvas: str
) -> None:
    """A viewer sends states with the highest clock in the name of the owner's client; the server drops them.

    Proves R-AWARE-10.
    """
    member = await workspace.create_user("viewer")
    await workspace.owner.set_member(canvas, member, "viewer")
    victim, witness = await workspace.connect_many(canvas, 2)
    token = await workspace.api.session_of(member).access_token()
    url = f"{workspace.api.websocket_url}/{canvas}?token={token}"
    async with websockets.connect(url) as socket:
        await socket.send(protocol.encode_sync_step_1(b"\x00"))
        states = await receive_states_until(socket, victim.name)
        target = next(state.client for state in states if victim.name in state.json)
        for json in ('{"name":"forged"}', "null"):
            forged = State(target, awareness.MAX_CLOCK, json)
            await socket.send(protocol.encode_awareness(awareness.encode([forged])))
        # A connection keeps the order of messages: the server answers after it has read the forged states.
        await socket.send(bytes([protocol.QUERY_AWARENESS]))
        assert not any(
            "forged" in state.json for state in await receive_states_until(socket, victim.name)
        )
        await victim.set_awareness({"name": "still here"})
        await workspace.driver.wait_for_presence(
            [witness], ["still here", witness.name], timeout=SERVER_TIMEOUT
        )
