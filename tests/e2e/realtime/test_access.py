"""Access of WebSocket clients to canvases, by token and by role."""

from uuid import uuid4

import pytest

from tests.e2e.clients.workspace import Workspace
from tests.e2e.clients.yjs_driver import YjsClient


async def _refused_close_code(client: YjsClient) -> int | None:
    """Wait for the close, check that the client got no update and does not reconnect, and return the close code."""
    close = await client.wait_closed()
    status = await client.status()
    assert status.gave_up == close
    assert not status.synced
    assert status.updates == 0
    return close.code


@pytest.mark.parametrize(
    "params", [{}, {"token": ""}, {"token": "garbage"}, {"token": "a.b.c", "saved": "1"}]
)
async def test_missing_or_malformed_token_closes_the_socket_with_4401(
    workspace: Workspace, canvas: str, params: dict[str, str]
) -> None:
    """A client without a valid token cannot join a canvas. Proves R-ACCESS-1."""
    assert await _refused_close_code(await workspace.connect(canvas, params=params)) == 4401


async def test_forged_token_closes_the_socket_with_4401(workspace: Workspace, canvas: str) -> None:
    """A token with a wrong signature, or with the algorithm `none`, is invalid. Proves R-ACCESS-1."""
    header, claims, signature = (await workspace.owner.access_token()).split(".")
    forged = ".".join((header, claims, signature[:-6] + signature[:6]))
    assert (
        await _refused_close_code(await workspace.connect(canvas, params={"token": forged})) == 4401
    )
    unsigned = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0"  # {"alg":"none","typ":"JWT"}
    token = f"{unsigned}.{claims}."
    assert (
        await _refused_close_code(await workspace.connect(canvas, params={"token": token})) == 4401
    )


async def test_unknown_canvas_closes_the_socket_with_4404(workspace: Workspace) -> None:
    """The canvas never existed. Proves R-ACCESS-2."""
    assert await _refused_close_code(await workspace.connect(str(uuid4()))) == 4404


@pytest.mark.parametrize("room", ["*", "%3E", "a.b", "x" * 500])
async def test_invalid_canvas_id_closes_the_socket_with_4404(
    workspace: Workspace, room: str
) -> None:
    """An id with wildcards or dots never becomes part of a NATS subject. Proves R-ACCESS-2."""
    assert await _refused_close_code(await workspace.connect(room)) == 4404


async def test_deleted_canvas_closes_its_sockets_with_4404(
    workspace: Workspace, canvas: str
) -> None:
    """The deletion closes open connections, and new ones are refused. Proves R-ACCESS-2."""
    client = await workspace.connect(canvas)
    await workspace.driver.wait_synced([client])
    await workspace.owner.delete_canvas(canvas)
    assert (await client.wait_closed()).code == 4404
    assert await _refused_close_code(await workspace.connect(canvas)) == 4404


async def test_caller_without_a_role_on_the_canvas_gets_4403(
    workspace: Workspace, canvas: str
) -> None:
    """The account role `editor` gives no access to canvases of other accounts. Proves R-ACCESS-3."""
    stranger = workspace.api.session_of(await workspace.create_user("editor"))
    assert await _refused_close_code(await workspace.connect(canvas, session=stranger)) == 4403


async def test_edit_of_a_canvas_editor_is_saved_and_broadcast(
    workspace: Workspace, canvas: str
) -> None:
    """An editor of a canvas may edit it without being its owner. Proves R-ACCESS-4."""
    member = await workspace.create_user("editor")
    await workspace.owner.set_member(canvas, member, "editor")
    owner = await workspace.connect(canvas)
    editor = await workspace.connect(canvas, session=workspace.api.session_of(member))
    await workspace.driver.wait_synced([owner, editor])
    await editor.add_element("by-the-editor")
    await workspace.driver.wait_saved([editor])
    await workspace.driver.wait_for_elements([owner], "by-the-editor")


async def test_edits_of_a_viewer_are_neither_broadcast_nor_saved(
    workspace: Workspace, canvas: str
) -> None:
    """A viewer receives edits. Its awareness state is broadcast, and its edits are not. Proves R-ACCESS-5."""
    member = await workspace.create_user("viewer")
    await workspace.owner.set_member(canvas, member, "viewer")
    author, other = await workspace.connect_many(canvas, 2)
    viewer = await workspace.connect(canvas, session=workspace.api.session_of(member))
    await workspace.driver.wait_synced([viewer])
    await author.add_element("first")
    await workspace.driver.wait_for_elements([viewer, other], "first")

    await viewer.add_element("by-the-viewer")
    await viewer.edit({"op": "delete", "id": "first"})
    # A connection keeps the order of messages: when this state arrives, the server has read the viewer's edits.
    await viewer.set_awareness({"name": "has edited"})
    await workspace.driver.wait_for_presence(
        [author, other], [author.name, other.name, "has edited"]
    )
    # Edits are committed in the order of their arrival. So when "second" is saved, an accepted edit of the viewer would
    # be saved too.
    await author.add_element("second")
    await workspace.driver.wait_saved([author])
    await workspace.driver.wait_for_elements([viewer, other], "second")

    newcomer = await workspace.connect(canvas)
    digest = await workspace.driver.wait_converged([author, other, newcomer])
    assert await workspace.driver.digest_of(await workspace.owner.export(canvas, "yjs")) == digest
    assert set((await newcomer.content())["elements"]) == {"first", "second"}
    status = await viewer.status()
    assert (status.connections, status.closes) == (1, ())
    assert not status.saved


async def test_offline_edits_of_a_viewer_are_discarded_in_the_handshake(
    workspace: Workspace, canvas: str
) -> None:
    """A viewer answers the sync request of the handshake with its edits; the server drops them. Proves R-ACCESS-5."""
    member = await workspace.create_user("viewer")
    await workspace.owner.set_member(canvas, member, "viewer")
    author = await workspace.connect(canvas)
    viewer = await workspace.connect(canvas, session=workspace.api.session_of(member))
    await workspace.driver.wait_synced([author, viewer])
    await viewer.disconnect()
    await viewer.add_element("made-offline")
    await viewer.reconnect()
    await workspace.driver.wait_synced([viewer])
    await viewer.set_awareness({"name": "returned"})
    await workspace.driver.wait_for_presence([author], [author.name, "returned"])
    await author.add_element("after")
    await workspace.driver.wait_saved([author])
    exported = await workspace.driver.digest_of(await workspace.owner.export(canvas, "yjs"))
    assert exported == await author.digest()
    assert set((await author.content())["elements"]) == {"after"}


async def test_role_change_applies_to_open_connections(workspace: Workspace, canvas: str) -> None:
    """A connected editor becomes a viewer and keeps its connection. Proves R-ACCESS-6."""
    member = await workspace.create_user("editor")
    await workspace.owner.set_member(canvas, member, "editor")
    owner = await workspace.connect(canvas)
    editor = await workspace.connect(canvas, session=workspace.api.session_of(member))
    await workspace.driver.wait_synced([owner, editor])
    await editor.add_element("as-an-editor")
    await workspace.driver.wait_saved([editor])
    await workspace.owner.set_member(canvas, member, "viewer")
    await editor.add_element("as-a-viewer")
    await editor.set_awareness({"name": "has edited"})
    await workspace.driver.wait_for_presence([owner], [owner.name, "has edited"])
    await owner.add_element("after")
    await workspace.driver.wait_saved([owner])
    await workspace.driver.wait_for_elements([editor], "after")
    assert (await editor.status()).connections == 1
    exported = await workspace.driver.digest_of(await workspace.owner.export(canvas, "yjs"))
    assert exported == await owner.digest()
    assert set((await owner.content())["elements"]) == {"as-an-editor", "after"}


async def test_viewer_that_becomes_an_editor_sends_its_earlier_edits(
    workspace: Workspace, canvas: str
) -> None:
    """The client's new edits depend on edits that were refused. After the role change `saved` counts both.

    Proves R-ACCESS-9 and R-SAVE-10.
    """
    member = await workspace.create_user("editor")
    await workspace.owner.set_member(canvas, member, "viewer")
    owner = await workspace.connect(canvas)
    promoted = await workspace.connect(canvas, session=workspace.api.session_of(member))
    await workspace.driver.wait_synced([owner, promoted])
    await promoted.add_element("as-a-viewer")
    await promoted.set_awareness({"name": "has edited"})
    await workspace.driver.wait_for_presence([owner], [owner.name, "has edited"])
    assert (await promoted.status()).saved is None
    await workspace.owner.set_member(canvas, member, "editor")
    await promoted.edit({"op": "set", "id": "as-a-viewer", "attrs": {"fill": "#1b998b"}})
    await promoted.add_element("as-an-editor")
    await workspace.driver.wait_saved([promoted])
    await workspace.driver.wait_for_elements([owner], "as-a-viewer", "as-an-editor")
    digest = await workspace.driver.wait_converged([owner, promoted])
    assert await workspace.driver.digest_of(await workspace.owner.export(canvas, "yjs")) == digest
    assert (await promoted.status()).connections == 1
