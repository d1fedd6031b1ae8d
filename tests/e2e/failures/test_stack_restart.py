"""Restarts of the whole stack keep all saved data."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from pycrdt import Doc

from svgx_devstack import DevStack
from svgx_yjs.structure import read_state_vector
from tests.e2e.clients.editor_group import RECOVERY_TIMEOUT, editing
from tests.e2e.clients.workspace import Workspace, open_workspace
from tests.e2e.clients.yjs_driver import YjsDriver

pytestmark = pytest.mark.timeout(600)


@pytest.fixture
async def workspace(killed_stack: DevStack, driver: YjsDriver) -> AsyncIterator[Workspace]:
    """Open a workspace on a stack that only this test process uses, because the tests stop the whole stack."""
    async with open_workspace(killed_stack, driver) as workspace:
        yield workspace
        await workspace.destroy_all()


def clocks(update: bytes) -> dict[int, int]:
    """Return each client's clock in a Yjs update. The clock is the client's number of insertions."""
    doc: Doc[Any] = Doc()
    doc.apply_update(update)
    return read_state_vector(doc.get_state())


async def test_stop_and_start_of_the_stack_keep_all_data(workspace: Workspace) -> None:
    """Accounts, canvases, roles and content are the same, and connected clients continue. Proves R-SAVE-6."""
    member_user = await workspace.create_user("editor")
    async with editing(workspace, 3, seed=21) as editors:
        await workspace.owner.set_member(editors.canvas_id, member_user, "viewer")
        digest = await editors.stop_and_verify()
        canvases = await workspace.owner.canvases()
        client = editors.clients[0]

        await workspace.stack.down()
        await client.add_element("added-during-the-downtime")
        await workspace.stack.up()

        assert await workspace.owner.canvases() == canvases
        exported = await workspace.owner.export(editors.canvas_id, "yjs")
        export_digest = await workspace.driver.digest_of(exported)
        # The client may have sent its new element before the export.
        assert export_digest in (digest, await client.digest())
        viewer = workspace.api.session_of(member_user)
        assert (await viewer.me())["id"] == member_user.id
        assert [(canvas.id, canvas.role) for canvas in await viewer.canvases()] == [
            (editors.canvas_id, "viewer")
        ]
        # The stack has the same address and the same keys, so the clients reconnect with the same URL and token.
        await workspace.driver.wait_saved(editors.clients, timeout=RECOVERY_TIMEOUT)
        newcomer = await workspace.connect(editors.canvas_id)
        after = await workspace.driver.wait_converged([*editors.clients, newcomer])
        assert after.elements == digest.elements + 1
        exported = await workspace.owner.export(editors.canvas_id, "yjs")
        assert await workspace.driver.digest_of(exported) == after


async def test_kill_of_the_stack_keeps_saved_edits(workspace: Workspace) -> None:
    """All processes get SIGKILL during edits, and all clients are destroyed. A new client still loads all saved edits.

    Proves R-SAVE-7.
    """
    canvas_id = await workspace.create_canvas("Power cut")
    early_editor, interrupted_editor = await workspace.connect_many(canvas_id, 2)
    await workspace.driver.start_random_edits([early_editor], seed=22, rate=20)
    await workspace.driver.wait_for_edits([early_editor], 50)
    await workspace.driver.stop_random_edits([early_editor])
    await workspace.driver.wait_saved([early_editor, interrupted_editor])
    saved_clocks = clocks(await workspace.owner.export(canvas_id, "yjs"))
    assert saved_clocks
    await workspace.driver.start_random_edits([interrupted_editor], seed=23, rate=50)
    await workspace.driver.wait_for_edits([interrupted_editor], 20)

    workspace.stack.kill()
    await workspace.destroy_all()
    await workspace.stack.down()
    await workspace.stack.up()

    newcomer = await workspace.connect(canvas_id)
    await workspace.driver.wait_synced([newcomer])
    digest = await newcomer.digest()
    assert not digest.pending
    exported = await workspace.owner.export(canvas_id, "yjs")
    assert await workspace.driver.digest_of(exported) == digest
    # Later edits may delete saved elements, but the clocks of the saved edits never go back.
    kept_clocks = clocks(exported)
    assert all(kept_clocks[client] >= clock for client, clock in saved_clocks.items())
