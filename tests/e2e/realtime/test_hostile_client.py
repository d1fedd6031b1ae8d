"""A client that sends malformed messages and harmful updates to a canvas that it may edit."""

import websockets

from svgx_yjs import protocol
from svgx_yjs.structure import encode_state_vector
from tests.e2e.clients.close_code import wait_close_code
from tests.e2e.clients.workspace import Workspace
from tests.unit.yjs.updates import nested_types, nested_values


def harmful_updates() -> list[bytes]:
    """Return updates that no client may send."""
    return [
        b"no update",
        nested_types(100_000),
        nested_values(1_000_000),
        # Clocks that exceed 32 bits: pycrdt would panic on the next edit, or on every later load.
        bytes.fromhex("010107ffffffff0f040101740361626300"),
        bytes.fromhex("010139f0b2fa8ec284031344c9f0b2fa8ec284030f0361626300"),
    ]


async def test_malformed_message_closes_only_its_sender_with_4400(
    workspace: Workspace, canvas: str
) -> None:
    """Another client edits the same canvas and is not affected. Proves R-SYNC-8, R-SYNC-11 and R-SYNC-12."""
    bystander = await workspace.connect(canvas)
    await workspace.driver.wait_synced([bystander])
    restarts = workspace.stack.process("collab").restarts
    url = f"{workspace.api.websocket_url}/{canvas}?token={await workspace.owner.access_token()}"
    messages: list[bytes | str] = [
        b"",
        b"\xff",
        b"\x00\x09",
        "text",
        protocol.encode_sync_step_1(b"\xff\xff"),
        protocol.encode_sync_step_1(b"\xff\xff\xff\xff\x0f"),
        protocol.encode_sync_step_1(encode_state_vector(dict.fromkeys(range(20_000), 1))),
        *map(protocol.encode_update, harmful_updates()),
    ]
    for message in messages:
        async with websockets.connect(url) as socket:
            await socket.send(message)
            assert await wait_close_code(socket) == 4400, message[:20]
    await bystander.add_element("still-here")
    await workspace.driver.wait_saved([bystander])
    assert workspace.stack.process("collab").restarts == restarts


async def test_pending_item_inside_a_text_keeps_the_canvas_usable(
    workspace: Workspace, canvas: str
) -> None:
    """An item arrives before its parent, which is a text. Clients can still edit, and the canvas loads again.

    Proves R-SAVE-9 and R-SYNC-12.
    """
    url = f"{workspace.api.websocket_url}/{canvas}?saved=1&token={await workspace.owner.access_token()}"
    bystander = await workspace.connect(canvas)
    await workspace.driver.wait_synced([bystander])
    # The first update has an item inside client 7's first struct. The second has that struct, a text in the root "t".
    updates = [
        bytes.fromhex("01010800040007000162") + b"\x00",
        bytes.fromhex("01010700040101740161") + b"\x00",
    ]
    async with websockets.connect(url) as socket:
        for number, update in enumerate(updates, start=1):
            await socket.send(protocol.encode_update(update))
            while await socket.recv() != protocol.encode_saved(number):
                pass
    await bystander.add_element("still-here")
    await workspace.driver.wait_saved([bystander])
    workspace.stack.process("collab").kill()
    newcomer = await workspace.connect(canvas)
    await workspace.driver.wait_synced([newcomer])
    await workspace.driver.wait_converged([bystander, newcomer])
