"""Who is there: everybody sees everybody, for as long as they are connected."""

from pathlib import Path

import websockets

from svgx_yjs import awareness, protocol
from svgx_yjs.awareness import State
from svgx_yjs.lib0 import Decoder
from tests.e2e.clients.canvas_session import Studio
from tests.e2e.clients.yjs_driver import AWARENESS, YjsDriver

# Yjs clients themselves forget a silent one after 30 s. An end seen within this time was told by the server.
PROMPT = 12.0


async def test_everybody_sees_everybody(studio: Studio, canvas: str) -> None:
    """Twenty people, each with a name. Proves R-AWARE-1."""
    clients = await studio.crowd(canvas, 20)
    await studio.driver.see(clients, [client.name for client in clients], timeout=PROMPT)


async def test_a_change_reaches_everybody(studio: Studio, canvas: str) -> None:
    """A cursor moves. Proves R-AWARE-1."""
    clients = await studio.crowd(canvas, 3)
    names = [client.name for client in clients]
    await studio.driver.see(clients, names, timeout=PROMPT)
    await clients[0].set_awareness({"name": "moved", "cursor": {"x": 3, "y": 4}})
    await studio.driver.see(clients, ["moved", *names[1:]], timeout=PROMPT)
    states = await clients[2].awareness()
    assert {"name": "moved", "cursor": {"x": 3, "y": 4}} in states


async def test_whoever_comes_late_sees_those_already_there(studio: Studio, canvas: str) -> None:
    """Nobody has to move first: clients repeat themselves every 15 s only. Proves R-AWARE-2."""
    clients = await studio.crowd(canvas, 3)
    names = [client.name for client in clients]
    await studio.driver.see(clients, names, timeout=PROMPT)
    late = await studio.join(canvas)
    await studio.driver.see([late], [*names, late.name], timeout=PROMPT)


async def test_presence_ends_with_an_orderly_close(studio: Studio, canvas: str) -> None:
    """Proves R-AWARE-3."""
    staying, leaving = await studio.crowd(canvas, 2)
    await studio.driver.see([staying], [staying.name, leaving.name], timeout=PROMPT)
    await studio.leave(leaving)
    await studio.driver.see([staying], [staying.name], timeout=PROMPT)


async def test_presence_ends_with_a_broken_connection(studio: Studio, canvas: str) -> None:
    """The server says it, because the client cannot any more. Proves R-AWARE-3."""
    staying, other, leaving = await studio.crowd(canvas, 3)
    await studio.driver.see(
        [staying, other], [staying.name, other.name, leaving.name], timeout=PROMPT
    )
    await leaving.vanish()
    await studio.driver.see([staying, other], [staying.name, other.name], timeout=PROMPT)


async def test_presence_ends_with_the_process(studio: Studio, canvas: str, node: Path) -> None:
    """A browser crashes with five people in it. Proves R-AWARE-3."""
    staying = await studio.join(canvas)
    async with YjsDriver(node) as crashing:
        others = [await studio.join(canvas, driver=crashing) for _ in range(5)]
        await studio.driver.see(
            [staying], [staying.name, *(other.name for other in others)], timeout=PROMPT
        )
        crashing.kill()
    await studio.driver.see([staying], [staying.name], timeout=PROMPT)


async def test_presence_returns_with_the_connection(studio: Studio, canvas: str) -> None:
    """A connection breaks and comes back; with their next movements people see each other again. Proves R-AWARE-4.

    Not before: with its connection a Yjs client forgets the others' states, but remembers their clocks, and takes a
    state with a newer clock only. People move, and clients repeat themselves after 15 s with a newer clock.
    """
    staying, blinking = await studio.crowd(canvas, 2)
    await studio.driver.see([staying], [staying.name, blinking.name], timeout=PROMPT)
    await blinking.drop()
    await blinking.closed()
    await studio.driver.synced([blinking])
    await blinking.set_awareness({"name": "back again"})
    await studio.driver.see([staying], [staying.name, "back again"], timeout=PROMPT)
    await staying.set_awareness({"name": "still here"})
    await studio.driver.see([staying, blinking], ["still here", "back again"], timeout=PROMPT)


async def test_canvases_have_their_own_presence(studio: Studio) -> None:
    """Proves R-AWARE-5."""
    here = await studio.crowd(await studio.canvas("Here"), 2)
    there = await studio.crowd(await studio.canvas("There"), 2)
    await studio.driver.see(here, [client.name for client in here], timeout=PROMPT)
    await studio.driver.see(there, [client.name for client in there], timeout=PROMPT)


async def test_who_is_alone_hears_the_server(studio: Studio, canvas: str) -> None:
    """A provider that hears nothing for 30 s reconnects; its own awareness must come back to it. Proves R-AWARE-6."""
    alone = await studio.join(canvas)
    await studio.driver.synced([alone])
    heard = (await alone.status()).received.get(AWARENESS, 0)
    for number in range(3):
        await alone.set_awareness({"name": alone.name, "number": number})
        heard = await alone.received(AWARENESS, heard + 1, timeout=PROMPT)


async def states_until(socket: websockets.ClientConnection, json_part: str) -> list[State]:
    """All awareness states the server sends, up to and including one with this text in it."""
    found: list[State] = []
    while not any(json_part in state.json for state in found):
        frame = await socket.recv(decode=False)
        if frame[0] == AWARENESS:
            found += awareness.decode(Decoder(frame[1:]).buffer())
    return found


async def test_who_leaves_takes_nobody_else_along(studio: Studio, canvas: str) -> None:
    """y-websocket repeats everything it hears; the server must not think that it spoke for all. Proves R-AWARE-9."""
    staying, other, leaving = await studio.crowd(canvas, 3)
    people = [staying, other, leaving]
    await studio.driver.see(people, [client.name for client in people], timeout=PROMPT)
    url = f"{studio.api.live_url}/{canvas}?token={await studio.owner.token()}"
    async with websockets.connect(url) as socket:
        await socket.send(protocol.encode_sync_step_1(b"\x00"))
        await states_until(socket, leaving.name)
        await leaving.vanish()
        await studio.driver.see([staying, other], [staying.name, other.name], timeout=PROMPT)
        await other.set_awareness({"name": "and now"})
        states = await states_until(socket, "and now")
        assert len({state.client for state in states if not state.present}) == 1


async def test_a_tab_that_loses_its_connection_takes_nobody_along(
    studio: Studio, canvas: str
) -> None:
    """It tells the other tab that everybody has gone, and that one repeats it to the server. Proves R-AWARE-9."""
    far, further = await studio.crowd(canvas, 2)
    tabs = [await studio.join(canvas, tab=True) for _ in range(2)]
    people = [far, further, *tabs]
    await studio.driver.see(people, [client.name for client in people], timeout=PROMPT)
    url = f"{studio.api.live_url}/{canvas}?token={await studio.owner.token()}"
    async with websockets.connect(url) as socket:
        await socket.send(protocol.encode_sync_step_1(b"\x00"))
        await states_until(socket, further.name)
        await tabs[0].drop()
        await tabs[0].closed()
        await studio.driver.synced(tabs)
        # What the other tab has said on the way is heard before what it says now.
        await tabs[1].set_awareness({"name": "other tab"})
        states = await states_until(socket, "other tab")
        await tabs[0].set_awareness({"name": "this tab"})
        states += await states_until(socket, "this tab")
        assert len({state.client for state in states if not state.present}) == 1
    names = [far.name, further.name, "this tab", "other tab"]
    await studio.driver.see([far, further], names, timeout=PROMPT)
    await studio.leave(tabs[1])
    await studio.driver.see([far, further], names[:3], timeout=PROMPT)


async def test_a_stranger_cannot_silence_anybody(studio: Studio, canvas: str) -> None:
    """A viewer says of an owner's client that it left, with a clock nobody reaches. Proves R-AWARE-10."""
    guest = await studio.user("viewer")
    await studio.owner.set_member(canvas, guest, "viewer")
    victim, witness = await studio.crowd(canvas, 2)
    token = await studio.api.of(guest).token()
    url = f"{studio.api.live_url}/{canvas}?token={token}"
    async with websockets.connect(url) as socket:
        await socket.send(protocol.encode_sync_step_1(b"\x00"))
        seen = await states_until(socket, victim.name)
        target = next(state.client for state in seen if victim.name in state.json)
        for json in ('{"name":"stolen"}', "null"):
            stolen = State(target, awareness.MAX_CLOCK, json)
            await socket.send(protocol.encode_awareness(awareness.encode([stolen])))
        # One connection keeps its order: the answer comes after what was said before.
        await socket.send(bytes([protocol.QUERY_AWARENESS]))
        assert not any("stolen" in state.json for state in await states_until(socket, victim.name))
        await victim.set_awareness({"name": "still here"})
        await studio.driver.see([witness], ["still here", witness.name], timeout=PROMPT)
