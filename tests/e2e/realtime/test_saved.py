"""`saved` messages: the server reports committed edits to clients that connect with `saved=1`."""

from tests.e2e.clients.workspace import Workspace
from tests.e2e.clients.yjs_driver import SAVED


async def test_saved_counts_the_document_messages_of_the_connection(
    workspace: Workspace, canvas: str
) -> None:
    """The count includes the sync step 2 of the handshake. Proves R-SAVE-1."""
    client = await workspace.connect(canvas)
    await workspace.driver.wait_saved([client])
    status = await client.status()
    assert status.saved == status.document_messages == 1
    for number in range(5):
        await client.add_element(f"shape-{number}")
        await workspace.driver.wait_saved([client])
        status = await client.status()
        assert status.saved == status.document_messages == number + 2


async def test_saved_edit_is_in_postgresql(workspace: Workspace, canvas: str) -> None:
    """The export reads PostgreSQL, and contains an edit as soon as `saved` has reported the edit. Proves R-SAVE-2."""
    client = await workspace.connect(canvas)
    for number in range(10):
        await client.add_element(f"shape-{number}")
        await workspace.driver.wait_saved([client])
        exported = await workspace.owner.export(canvas, "yjs")
        assert await workspace.driver.digest_of(exported) == await client.digest()


async def test_saved_counts_only_its_own_connection(workspace: Workspace, canvas: str) -> None:
    """Edits of other clients are not counted, and a new connection has a new count. Proves R-SAVE-3.

    The count of a connection without edits is 1, because its sync step 2 counts.
    """
    busy, quiet = await workspace.connect_many(canvas, 2)
    for number in range(20):
        await busy.add_element(f"shape-{number}")
    await workspace.driver.wait_saved([busy, quiet])
    assert (await quiet.status()).saved == 1
    await busy.drop_connection()
    await busy.wait_closed()
    await workspace.driver.wait_saved([busy])
    assert (await busy.status()).saved == 1


async def test_client_without_the_saved_parameter_receives_no_saved_messages(
    workspace: Workspace, canvas: str
) -> None:
    """y-websocket does not support this message type. Proves R-SAVE-4."""
    plain = await workspace.connect(canvas, params={"token": await workspace.owner.access_token()})
    subscribed = await workspace.connect(canvas)
    await workspace.driver.wait_synced([plain, subscribed])
    await plain.add_element("by-the-plain-client")
    await workspace.driver.wait_for_elements([subscribed], "by-the-plain-client")
    await subscribed.add_element("after")
    await workspace.driver.wait_saved([subscribed])
    await workspace.driver.wait_for_elements([plain], "after")
    assert SAVED not in (await plain.status()).received
