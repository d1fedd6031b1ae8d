"""A client that means harm, on a canvas of its own."""

import contextlib

import websockets

from svgx_yjs import protocol
from tests.e2e.studio import Studio
from tests.unit.yjs.updates import nested_types, nested_values

HARM = [
    b"no update",
    nested_types(100_000),
    nested_values(1_000_000),
    # Clocks that no counter of 32 bits holds: pycrdt would panic on the edit after them, or on every later load.
    bytes.fromhex("010107ffffffff0f040101740361626300"),
    bytes.fromhex("010139f0b2fa8ec284031344c9f0b2fa8ec284030f0361626300"),
]


async def close_code(socket: websockets.ClientConnection) -> int | None:
    """The code the server closes with, whatever it says before."""
    with contextlib.suppress(websockets.ConnectionClosed):
        while True:
            await socket.recv()
    return socket.close_code


async def test_what_cannot_be_read_closes_its_sender_only(studio: Studio, canvas: str) -> None:
    """Proves R-SYNC-8, R-SYNC-11 and R-SYNC-12: malformed frames and harmful updates, beside somebody who draws."""
    friend = await studio.join(canvas)
    await studio.driver.synced([friend])
    restarts = studio.stack.process("collab").restarts
    url = f"{studio.api.live_url}/{canvas}?token={await studio.owner.token()}"
    frames: list[bytes | str] = [
        b"",
        b"\xff",
        b"\x00\x09",
        "text",
        protocol.encode_sync_step_1(b"\xff\xff"),
        protocol.encode_sync_step_1(b"\xff\xff\xff\xff\x0f"),
        *map(protocol.encode_update, HARM),
    ]
    for frame in frames:
        async with websockets.connect(url) as socket:
            await socket.send(frame)
            assert await close_code(socket) == 4400, frame[:20]
    await friend.add("still-here")
    await studio.driver.saved([friend])
    assert studio.stack.process("collab").restarts == restarts


async def test_what_waits_harms_nobody_when_what_it_waits_for_arrives(
    studio: Studio, canvas: str
) -> None:
    """Proves R-SYNC-12: an item in what turns out to be a text; the canvas is drawn on, and opens again."""
    url = f"{studio.api.live_url}/{canvas}?saved=1&token={await studio.owner.token()}"
    friend = await studio.join(canvas)
    await studio.driver.synced([friend])
    # First the text inside of client 7's first struct, then that struct: a text in the root "t".
    frames = [
        bytes.fromhex("01010800040007000162") + b"\x00",
        bytes.fromhex("01010700040101740161") + b"\x00",
    ]
    async with websockets.connect(url) as socket:
        for number, frame in enumerate(frames, start=1):
            await socket.send(protocol.encode_update(frame))
            while await socket.recv() != protocol.encode_saved(number):
                pass
    await friend.add("still-here")
    await studio.driver.saved([friend])
    studio.stack.process("collab").kill()
    latecomer = await studio.join(canvas)
    await studio.driver.synced([latecomer])
    await studio.driver.converged([friend, latecomer])
