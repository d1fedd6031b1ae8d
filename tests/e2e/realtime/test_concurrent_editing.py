"""Several Yjs clients edit one canvas at the same time."""

import asyncio

import pytest

from tests.e2e.clients.workspace import Workspace
from tests.e2e.clients.yjs_driver import SYNC
from tests.png import top_left_color


@pytest.mark.parametrize(("client_count", "edits"), [(2, 100), (20, 600)])
async def test_concurrent_random_edits_converge_for_all_clients_and_postgresql(
    workspace: Workspace, canvas: str, client_count: int, edits: int
) -> None:
    """After all edits are saved, the clients' documents and the export are equal. Proves R-SYNC-1 and R-SYNC-2."""
    clients = await workspace.connect_many(canvas, client_count)
    await workspace.driver.start_random_edits(clients, seed=client_count, rate=10)
    await workspace.driver.wait_for_edits(clients, edits)
    await workspace.driver.stop_random_edits(clients)
    await workspace.driver.wait_saved(clients)
    digest = await workspace.driver.wait_converged(clients)
    assert digest.elements > 0
    exported = await workspace.owner.export(canvas, "yjs")
    assert await workspace.driver.digest_of(exported) == digest
    for client in clients:
        status = await client.status()
        assert (status.connections, status.closes) == (1, ())


async def test_conflicting_edits_converge(workspace: Workspace, canvas: str) -> None:
    """Different clients set, move and delete one element at the same time. Proves R-SYNC-1."""
    clients = await workspace.connect_many(canvas, 4)
    await clients[0].add_element("contested", fill="#000000")
    await workspace.driver.wait_for_elements(clients, "contested")
    await asyncio.gather(
        clients[0].edit({"op": "set", "id": "contested", "attrs": {"fill": "#111111"}}),
        clients[1].edit({"op": "set", "id": "contested", "attrs": {"fill": "#222222"}}),
        clients[2].edit({"op": "move", "id": "contested", "order": "a9"}),
        clients[3].edit({"op": "delete", "id": "contested"}),
        # Two clients add the same id: one of the two elements wins for all clients.
        clients[0].add_element("twin", "rect"),
        clients[1].add_element("twin", "circle"),
    )
    await workspace.driver.wait_saved(clients)
    digest = await workspace.driver.wait_converged(clients)
    assert await workspace.driver.digest_of(await workspace.owner.export(canvas, "yjs")) == digest
    elements = (await clients[0].content())["elements"]
    assert set(elements) == {"twin"}
    assert elements["twin"]["tag"] in ("rect", "circle")


async def test_newcomer_receives_all_earlier_edits(workspace: Workspace, canvas: str) -> None:
    """One client joins while others edit, and another one joins after all clients have left. Proves R-SYNC-3."""
    clients = await workspace.connect_many(canvas, 3)
    await workspace.driver.start_random_edits(clients, seed=3, rate=20)
    await workspace.driver.wait_for_edits(clients, 100)
    newcomer = await workspace.connect(canvas)
    await workspace.driver.wait_synced([newcomer])
    await workspace.driver.wait_for_edits(clients, 200)
    await workspace.driver.stop_random_edits(clients)
    await workspace.driver.wait_saved(clients)
    digest = await workspace.driver.wait_converged([*clients, newcomer])
    await workspace.destroy(*clients, newcomer)
    last = await workspace.connect(canvas)
    assert await workspace.driver.wait_converged([last], to=digest) == digest


async def test_offline_edits_are_exchanged_on_reconnect(workspace: Workspace, canvas: str) -> None:
    """A connected and a disconnected client both edit. Proves R-SYNC-4."""
    online, offline = await workspace.connect_many(canvas, 2)
    await offline.disconnect()
    await offline.add_element("made-offline")
    await online.add_element("made-online")
    await workspace.driver.wait_saved([online])
    await offline.reconnect()
    await workspace.driver.wait_saved([offline])
    await workspace.driver.wait_for_elements([online, offline], "made-online", "made-offline")
    digest = await workspace.driver.wait_converged([online, offline])
    assert await workspace.driver.digest_of(await workspace.owner.export(canvas, "yjs")) == digest


async def test_broken_connection_reconnects_without_lost_edits(
    workspace: Workspace, canvas: str
) -> None:
    """A connection breaks while its client edits. Proves R-SYNC-4."""
    clients = await workspace.connect_many(canvas, 3)
    await workspace.driver.start_random_edits(clients, seed=5, rate=20)
    await workspace.driver.wait_for_edits(clients, 60)
    await clients[0].drop_connection()
    await clients[0].wait_closed()
    await workspace.driver.wait_for_edits(clients, 180)
    await workspace.driver.stop_random_edits(clients)
    await workspace.driver.wait_saved(clients)
    digest = await workspace.driver.wait_converged(clients)
    assert await workspace.driver.digest_of(await workspace.owner.export(canvas, "yjs")) == digest
    assert [(await client.status()).connections for client in clients] == [2, 1, 1]


async def test_edit_reaches_only_its_own_canvas(workspace: Workspace) -> None:
    """Two canvases share neither broadcasts nor stored content. Proves R-SYNC-5."""
    first, second = await workspace.create_canvas("First"), await workspace.create_canvas("Second")
    on_first, on_second = await workspace.connect(first), await workspace.connect(second)
    witness = await workspace.connect(second)
    await workspace.driver.wait_synced([on_first, on_second, witness])
    await on_first.add_element("on-the-first")
    await workspace.driver.wait_saved([on_first])
    await on_second.add_element("on-the-second")
    await workspace.driver.wait_saved([on_second])
    await workspace.driver.wait_for_elements([witness], "on-the-second")
    assert set((await on_first.content())["elements"]) == {"on-the-first"}
    assert set((await witness.content())["elements"]) == {"on-the-second"}
    exported = await workspace.driver.digest_of(await workspace.owner.export(second, "yjs"))
    assert exported == await witness.digest()


async def test_each_edit_is_broadcast_in_one_message(workspace: Workspace, canvas: str) -> None:
    """No edit is broadcast twice. Proves R-SYNC-6."""
    editor, observer = await workspace.connect_many(canvas, 2)
    await workspace.driver.wait_saved([editor, observer])  # both handshakes are complete
    before = (await observer.status()).received.get(SYNC, 0)
    for number in range(10):
        await editor.add_element(f"shape-{number}")
        await workspace.driver.wait_for_elements([observer], f"shape-{number}")
    status = await observer.status()
    assert status.updates == 10
    assert status.received[SYNC] - before == 10


async def test_saved_edit_is_in_every_export(workspace: Workspace, canvas: str) -> None:
    """As soon as an edit is saved, the SVG, PNG, JSON and Yjs exports contain it. Proves R-DOC-1."""
    client = await workspace.connect(canvas)
    await workspace.driver.wait_synced([client])
    await client.edit(
        {"op": "canvas", "attrs": {"viewBox": "0 0 320 200"}},
        {"op": "add", "id": "layer", "tag": "g", "order": "a0"},
        {
            "op": "add",
            "id": "paper",
            "tag": "rect",
            "parent": "layer",
            "order": "a0",
            "attrs": {"width": "320", "height": "200", "fill": "#1b998b"},
        },
    )
    await workspace.driver.wait_saved([client])
    svg = (await workspace.owner.export(canvas, "svg")).decode()
    assert 'viewBox="0 0 320 200"' in svg
    assert 'fill="#1b998b"' in svg
    assert 'width="320"' in svg
    assert b"#1b998b" in await workspace.owner.export(canvas, "json")
    assert top_left_color(await workspace.owner.export(canvas, "png")) == "#1b998b"
    exported = await workspace.driver.digest_of(await workspace.owner.export(canvas, "yjs"))
    assert exported == await client.digest()


async def test_import_is_broadcast_to_connected_clients(workspace: Workspace, canvas: str) -> None:
    """Connected clients receive the imported content and keep their connections. Proves R-DOC-2."""
    clients = await workspace.connect_many(canvas, 2)
    await clients[0].add_element("before")
    await workspace.driver.wait_saved(clients[:1])
    svg = (
        b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 64 64">'
        b'<g><rect width="20" height="10" fill="#e84855"/><text>A label</text></g></svg>'
    )
    imported = await workspace.owner.import_svg(canvas, svg)
    exported = await workspace.driver.digest_of(await workspace.owner.export(canvas, "yjs"))
    assert await workspace.driver.wait_converged(clients, to=exported) == exported
    assert exported.elements == imported["elements"] == 4
    content = await clients[1].content()
    assert content["canvas"]["viewBox"] == "0 0 64 64"
    assert "before" not in content["elements"]
    assert await clients[1].count_tags() == {"g": 1, "rect": 1, "text": 1, "#text": 1}
    for client in clients:
        assert (await client.status()).closes == ()
