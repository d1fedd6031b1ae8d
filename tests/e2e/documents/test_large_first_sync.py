"""Large documents that a client makes offline, and sends in its first sync."""

import pytest

from tests.e2e.clients.workspace import Workspace

WAIT = 60.0
"""Seconds that the first sync may take."""


@pytest.mark.parametrize("y_websocket", [2, 3])
async def test_document_of_20_mb_made_offline_is_saved_with_one_connection(
    workspace: Workspace, canvas: str, y_websocket: int
) -> None:
    """The whole document is saved, and another canvas is edited meanwhile. Proves R-SYNC-16 and R-SYNC-4."""
    client = await workspace.connect(canvas, version=y_websocket, offline=True)
    for number in range(20):
        await client.add_element(f"photo-{number}", "image", href="x" * 1_000_000)
    await client.reconnect()
    other = await workspace.connect(await workspace.create_canvas())
    await other.add_element("quick")
    await workspace.driver.wait_saved([other])
    await workspace.driver.wait_saved([client], timeout=WAIT)
    status = await client.status()
    assert (status.connections, status.closes) == (1, ())
    observer = await workspace.connect(canvas)
    await workspace.driver.wait_converged([client, observer], timeout=WAIT)
