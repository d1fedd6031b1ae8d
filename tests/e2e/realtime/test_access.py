"""Who may join a canvas, and who may write on it."""

from uuid import uuid4

import pytest

from tests.e2e.clients.canvas_session import Studio
from tests.e2e.clients.yjs_driver import YjsClient


async def _refused(client: YjsClient) -> int | None:
    """The code of the one close after which the provider does not come back."""
    closed = await client.closed()
    status = await client.status()
    assert status.gave_up == closed
    assert not status.synced
    assert status.updates == 0
    return closed.code


@pytest.mark.parametrize(
    "params", [{}, {"token": ""}, {"token": "garbage"}, {"token": "a.b.c", "saved": "1"}]
)
async def test_without_a_token_nobody_joins(
    studio: Studio, canvas: str, params: dict[str, str]
) -> None:
    """Proves R-ACCESS-1."""
    assert await _refused(await studio.join(canvas, params=params)) == 4401


async def test_a_token_with_another_signature_is_none(studio: Studio, canvas: str) -> None:
    """Proves R-ACCESS-1."""
    head, body, signature = (await studio.owner.token()).split(".")
    forged = ".".join((head, body, signature[:-6] + signature[:6]))
    assert await _refused(await studio.join(canvas, params={"token": forged})) == 4401
    unsigned = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0"  # {"alg":"none","typ":"JWT"}
    token = f"{unsigned}.{body}."
    assert await _refused(await studio.join(canvas, params={"token": token})) == 4401


async def test_a_canvas_that_never_was(studio: Studio) -> None:
    """Proves R-ACCESS-2."""
    assert await _refused(await studio.join(str(uuid4()))) == 4404


@pytest.mark.parametrize("room", ["*", "%3E", "a.b", "x" * 500])
async def test_what_cannot_be_a_canvas(studio: Studio, room: str) -> None:
    """An id becomes part of subjects on the bus: wildcards and dots get nowhere. Proves R-ACCESS-2."""
    assert await _refused(await studio.join(room)) == 4404


async def test_a_deleted_canvas(studio: Studio, canvas: str) -> None:
    """Proves R-ACCESS-2."""
    client = await studio.join(canvas)
    await studio.driver.synced([client])
    await studio.owner.delete_canvas(canvas)
    assert (await client.closed()).code == 4404
    assert await _refused(await studio.join(canvas)) == 4404


async def test_without_a_role_nobody_joins(studio: Studio, canvas: str) -> None:
    """An editor of the system is nobody on another's canvas. Proves R-ACCESS-3."""
    stranger = studio.api.of(await studio.user("editor"))
    assert await _refused(await studio.join(canvas, by=stranger)) == 4403


async def test_an_editor_of_the_canvas_draws(studio: Studio, canvas: str) -> None:
    """Proves R-ACCESS-4."""
    friend = await studio.user("editor")
    await studio.owner.set_member(canvas, friend, "editor")
    owner = await studio.join(canvas)
    editor = await studio.join(canvas, by=studio.api.of(friend))
    await studio.driver.synced([owner, editor])
    await editor.add("by-the-editor")
    await studio.driver.saved([editor])
    await studio.driver.have([owner], "by-the-editor")


async def test_what_a_viewer_draws_changes_nothing_for_anyone(studio: Studio, canvas: str) -> None:
    """A viewer sees everything and is seen; what it writes reaches nobody. Proves R-ACCESS-5."""
    guest = await studio.user("viewer")
    await studio.owner.set_member(canvas, guest, "viewer")
    painter, other = await studio.crowd(canvas, 2)
    viewer = await studio.join(canvas, by=studio.api.of(guest))
    await studio.driver.synced([viewer])
    await painter.add("first")
    await studio.driver.have([viewer, other], "first")

    await viewer.add("by-the-viewer")
    await viewer.edit({"op": "delete", "id": "first"})
    # One connection keeps its order: when this is seen, the server has read the edits before it.
    await viewer.set_awareness({"name": "has drawn"})
    await studio.driver.see([painter, other], [painter.name, other.name, "has drawn"])
    # And what is saved after it is committed after it.
    await painter.add("second")
    await studio.driver.saved([painter])
    await studio.driver.have([viewer, other], "second")

    late = await studio.join(canvas)
    digest = await studio.driver.converged([painter, other, late])
    assert await studio.driver.digest_of(await studio.owner.export(canvas, "yjs")) == digest
    assert set((await late.content())["elements"]) == {"first", "second"}
    status = await viewer.status()
    assert (status.connections, status.closes) == (1, ())
    assert not status.saved


async def test_what_a_viewer_drew_offline_stays_with_the_viewer(
    studio: Studio, canvas: str
) -> None:
    """The handshake asks a client for what the server lacks: a viewer's answer counts as little. Proves R-ACCESS-5."""
    guest = await studio.user("viewer")
    await studio.owner.set_member(canvas, guest, "viewer")
    painter = await studio.join(canvas)
    viewer = await studio.join(canvas, by=studio.api.of(guest))
    await studio.driver.synced([painter, viewer])
    await viewer.disconnect()
    await viewer.add("made-away")
    await viewer.reconnect()
    await studio.driver.synced([viewer])
    await viewer.set_awareness({"name": "returned"})
    await studio.driver.see([painter], [painter.name, "returned"])
    await painter.add("after")
    await studio.driver.saved([painter])
    exported = await studio.driver.digest_of(await studio.owner.export(canvas, "yjs"))
    assert exported == await painter.digest()
    assert set((await painter.content())["elements"]) == {"after"}


async def test_a_new_role_counts_at_once(studio: Studio, canvas: str) -> None:
    """An editor becomes a viewer while connected, without a new connection. Proves R-ACCESS-6."""
    friend = await studio.user("editor")
    await studio.owner.set_member(canvas, friend, "editor")
    owner = await studio.join(canvas)
    editor = await studio.join(canvas, by=studio.api.of(friend))
    await studio.driver.synced([owner, editor])
    await editor.add("as-an-editor")
    await studio.driver.saved([editor])
    await studio.owner.set_member(canvas, friend, "viewer")
    await editor.add("as-a-viewer")
    await editor.set_awareness({"name": "has drawn"})
    await studio.driver.see([owner], [owner.name, "has drawn"])
    await owner.add("after")
    await studio.driver.saved([owner])
    await studio.driver.have([editor], "after")
    exported = await studio.driver.digest_of(await studio.owner.export(canvas, "yjs"))
    assert exported == await owner.digest()
    assert set((await owner.content())["elements"]) == {"as-an-editor", "after"}


async def test_who_becomes_an_editor_brings_what_it_drew_as_a_viewer(
    studio: Studio, canvas: str
) -> None:
    """Its edits build on those that were refused; saved counts them too, in the end.

    Proves R-ACCESS-9 and R-SAVE-10.
    """
    friend = await studio.user("editor")
    await studio.owner.set_member(canvas, friend, "viewer")
    owner = await studio.join(canvas)
    guest = await studio.join(canvas, by=studio.api.of(friend))
    await studio.driver.synced([owner, guest])
    await guest.add("as-a-viewer")
    await guest.set_awareness({"name": "has drawn"})
    await studio.driver.see([owner], [owner.name, "has drawn"])
    assert (await guest.status()).saved is None
    await studio.owner.set_member(canvas, friend, "editor")
    await guest.edit({"op": "set", "id": "as-a-viewer", "attrs": {"fill": "#1b998b"}})
    await guest.add("as-an-editor")
    await studio.driver.saved([guest])
    await studio.driver.have([owner], "as-a-viewer", "as-an-editor")
    digest = await studio.driver.converged([owner, guest])
    assert await studio.driver.digest_of(await studio.owner.export(canvas, "yjs")) == digest
    assert (await guest.status()).connections == 1
