"""A client that means harm, on a canvas of its own."""

import contextlib

import websockets

from svgx_common.lib0 import Encoder
from svgx_gateway.live import protocol
from tests.e2e.studio import Studio


def nested(depth: int) -> bytes:
    """A Yjs v1 update that sets a key to arrays inside one another."""
    item = Encoder().raw(b"\x28").uint(1).text("elements").text("deep").uint(1).finish()
    head = Encoder().uint(1).uint(1).uint(7).uint(0).finish()
    return head + item + b"\x75\x01" * depth + b"\x7e" + b"\x00"


async def close_code(socket: websockets.ClientConnection) -> int | None:
    """The code the server closes with, whatever it says before."""
    with contextlib.suppress(websockets.ConnectionClosed):
        while True:
            await socket.recv()
    return socket.close_code


async def test_deep_nesting_does_not_end_the_holder(studio: Studio) -> None:
    """Proves R-SYNC-11: 200 KB that would overflow the usual stack; everybody else draws on."""
    mine, theirs = await studio.canvas(), await studio.canvas()
    friend = await studio.join(theirs)
    await studio.driver.synced([friend])
    restarts = studio.stack.process("collab").restarts
    url = f"{studio.api.live_url}/{mine}?saved=1&token={await studio.owner.token()}"
    async with websockets.connect(url) as socket:
        await socket.send(protocol.update(nested(100_000)))
        while await socket.recv() != protocol.saved(1):
            pass
    await friend.add("still-here")
    await studio.driver.saved([friend])
    assert studio.stack.process("collab").restarts == restarts


async def test_what_cannot_be_read_closes_its_sender_only(studio: Studio, canvas: str) -> None:
    """Proves R-SYNC-8: malformed frames and malformed updates, beside somebody who draws."""
    friend = await studio.join(canvas)
    await studio.driver.synced([friend])
    url = f"{studio.api.live_url}/{canvas}?token={await studio.owner.token()}"
    frames: list[bytes | str] = [
        b"",
        b"\xff",
        b"\x00\x09",
        "text",
        protocol.step_1(b"\xff\xff"),
        protocol.update(b"no update"),
        protocol.update(nested(1_000_001)),
    ]
    for frame in frames:
        async with websockets.connect(url) as socket:
            await socket.send(frame)
            assert await close_code(socket) == 4400, frame[:20]
    await friend.add("still-here")
    await studio.driver.saved([friend])
