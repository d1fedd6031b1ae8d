"""People draw on one canvas at once, each with a real Yjs client."""

import asyncio

import pytest

from tests.e2e.clients.canvas_session import Studio
from tests.e2e.clients.yjs_driver import SYNC


@pytest.mark.parametrize(("people", "edits"), [(2, 100), (20, 600)])
async def test_everybody_ends_with_the_same(
    studio: Studio, canvas: str, people: int, edits: int
) -> None:
    """All edit at once, and in the end all have the same, and so has PostgreSQL. Proves R-SYNC-1 and R-SYNC-2."""
    clients = await studio.crowd(canvas, people)
    await studio.driver.draw(clients, seed=people, rate=10)
    await studio.driver.drawn(clients, edits)
    await studio.driver.rest(clients)
    await studio.driver.saved(clients)
    digest = await studio.driver.converged(clients)
    assert digest.elements > 0
    exported = await studio.owner.export(canvas, "yjs")
    assert await studio.driver.digest_of(exported) == digest
    for client in clients:
        status = await client.status()
        assert (status.connections, status.closes) == (1, ())


async def test_conflicting_edits_end_the_same_for_all(studio: Studio, canvas: str) -> None:
    """One element is set, moved and deleted by different people at the same moment. Proves R-SYNC-1."""
    clients = await studio.crowd(canvas, 4)
    await clients[0].add("contested", fill="#000000")
    await studio.driver.have(clients, "contested")
    await asyncio.gather(
        clients[0].edit({"op": "set", "id": "contested", "attrs": {"fill": "#111111"}}),
        clients[1].edit({"op": "set", "id": "contested", "attrs": {"fill": "#222222"}}),
        clients[2].edit({"op": "move", "id": "contested", "order": "a9"}),
        clients[3].edit({"op": "delete", "id": "contested"}),
        # The same id twice: one of the two wins, for all.
        clients[0].add("twin", "rect"),
        clients[1].add("twin", "circle"),
    )
    await studio.driver.saved(clients)
    digest = await studio.driver.converged(clients)
    assert await studio.driver.digest_of(await studio.owner.export(canvas, "yjs")) == digest
    found = (await clients[0].content())["elements"]
    assert set(found) == {"twin"}
    assert found["twin"]["tag"] in ("rect", "circle")


async def test_whoever_comes_late_gets_it_all(studio: Studio, canvas: str) -> None:
    """Somebody joins while others draw and after they left. Proves R-SYNC-3."""
    clients = await studio.crowd(canvas, 3)
    await studio.driver.draw(clients, seed=3, rate=20)
    await studio.driver.drawn(clients, 100)
    late = await studio.join(canvas)
    await studio.driver.synced([late])
    await studio.driver.drawn(clients, 200)
    await studio.driver.rest(clients)
    await studio.driver.saved(clients)
    digest = await studio.driver.converged([*clients, late])
    await studio.leave(*clients, late)
    last = await studio.join(canvas)
    assert await studio.driver.converged([last], to=digest) == digest


async def test_edits_made_while_away_arrive_on_return(studio: Studio, canvas: str) -> None:
    """Both sides edit while one is disconnected; its return brings both what they lack. Proves R-SYNC-4."""
    here, away = await studio.crowd(canvas, 2)
    await away.disconnect()
    await away.add("made-away")
    await here.add("made-here")
    await studio.driver.saved([here])
    await away.reconnect()
    await studio.driver.saved([away])
    await studio.driver.have([here, away], "made-here", "made-away")
    digest = await studio.driver.converged([here, away])
    assert await studio.driver.digest_of(await studio.owner.export(canvas, "yjs")) == digest


async def test_a_broken_connection_comes_back_by_itself(studio: Studio, canvas: str) -> None:
    """A connection breaks in the middle of drawing; the client loses nothing. Proves R-SYNC-4."""
    clients = await studio.crowd(canvas, 3)
    await studio.driver.draw(clients, seed=5, rate=20)
    await studio.driver.drawn(clients, 60)
    await clients[0].drop()
    await clients[0].closed()
    await studio.driver.drawn(clients, 180)
    await studio.driver.rest(clients)
    await studio.driver.saved(clients)
    digest = await studio.driver.converged(clients)
    assert await studio.driver.digest_of(await studio.owner.export(canvas, "yjs")) == digest
    assert [(await client.status()).connections for client in clients] == [2, 1, 1]


async def test_canvases_are_apart(studio: Studio) -> None:
    """An edit reaches its own canvas and no other. Proves R-SYNC-5."""
    first, second = await studio.canvas("First"), await studio.canvas("Second")
    here, there = await studio.join(first), await studio.join(second)
    witness = await studio.join(second)
    await studio.driver.synced([here, there, witness])
    await here.add("on-the-first")
    await studio.driver.saved([here])
    await there.add("on-the-second")
    await studio.driver.saved([there])
    await studio.driver.have([witness], "on-the-second")
    assert set((await here.content())["elements"]) == {"on-the-first"}
    assert set((await witness.content())["elements"]) == {"on-the-second"}
    exported = await studio.driver.digest_of(await studio.owner.export(second, "yjs"))
    assert exported == await witness.digest()


async def test_one_edit_is_one_message_for_the_others(studio: Studio, canvas: str) -> None:
    """Broadcasts do not repeat themselves: what a receiver gets is bounded by what was drawn. Proves R-SYNC-6."""
    drawing, watching = await studio.crowd(canvas, 2)
    before = (await watching.status()).received.get(SYNC, 0)
    for number in range(10):
        await drawing.add(f"shape-{number}")
        await studio.driver.have([watching], f"shape-{number}")
    status = await watching.status()
    assert status.updates == 10
    assert status.received[SYNC] - before == 10


async def test_what_is_drawn_is_what_is_exported(studio: Studio, canvas: str) -> None:
    """An edit by Yjs is in the SVG and in the JSON as soon as it is saved. Proves R-DOC-1."""
    client = await studio.join(canvas)
    await studio.driver.synced([client])
    await client.edit(
        {"op": "canvas", "attrs": {"viewBox": "0 0 320 200"}},
        {"op": "add", "id": "layer", "tag": "g", "order": "a0"},
        {
            "op": "add",
            "id": "disc",
            "tag": "circle",
            "parent": "layer",
            "order": "a0",
            "attrs": {"cx": "160", "cy": "100", "r": "42", "fill": "#1b998b"},
        },
    )
    await studio.driver.saved([client])
    svg = (await studio.owner.export(canvas, "svg")).decode()
    assert 'viewBox="0 0 320 200"' in svg
    assert 'fill="#1b998b"' in svg
    assert 'r="42"' in svg
    assert b"#1b998b" in await studio.owner.export(canvas, "json")
    assert (await studio.owner.export(canvas, "png")).startswith(b"\x89PNG")


async def test_an_import_is_an_edit(studio: Studio, canvas: str) -> None:
    """A file is imported under people who draw: they see it, and nobody is cut off. Proves R-DOC-2."""
    clients = await studio.crowd(canvas, 2)
    await clients[0].add("before")
    await studio.driver.saved(clients[:1])
    svg = (
        b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 64 64">'
        b'<g><rect width="20" height="10" fill="#e84855"/><text>A label</text></g></svg>'
    )
    imported = await studio.owner.import_svg(canvas, svg)
    exported = await studio.driver.digest_of(await studio.owner.export(canvas, "yjs"))
    assert await studio.driver.converged(clients, to=exported) == exported
    assert exported.elements == imported["elements"] == 4
    found = await clients[1].content()
    assert found["canvas"]["viewBox"] == "0 0 64 64"
    assert "before" not in found["elements"]
    assert await clients[1].tags() == {"g": 1, "rect": 1, "text": 1, "#text": 1}
    for client in clients:
        assert (await client.status()).closes == ()
