"""The whole stack ends and starts again: what was saved is there."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from svgx_devstack import DevStack
from tests.e2e.clients.editor_group import RECOVERY_TIMEOUT, editing
from tests.e2e.clients.workspace import Workspace, open_workspace
from tests.e2e.clients.yjs_driver import YjsDriver
from tests.limits import HIGH_LIMITS

pytestmark = pytest.mark.timeout(240)


@pytest.fixture
async def workspace(tmp_path: Path, driver: YjsDriver) -> AsyncIterator[Workspace]:
    """A workspace on a stack of its own."""
    async with (
        DevStack(tmp_path / "home", settings=HIGH_LIMITS) as stack,
        open_workspace(stack, driver) as workspace,
    ):
        yield workspace
        await workspace.destroy_all()


async def test_stop_and_start_keep_everything(workspace: Workspace) -> None:
    """Users sign in, canvases and roles are listed, content is equal, and those who stayed go on. Proves R-SAVE-6."""
    friend = await workspace.create_user("editor")
    async with editing(workspace, 3, seed=21) as editors:
        await workspace.owner.set_member(editors.canvas_id, friend, "viewer")
        digest = await editors.stop_and_verify()
        canvases = await workspace.owner.canvases()
        staying = editors.clients[0]

        await workspace.stack.down()
        await staying.add_element("made-while-all-was-down")
        await workspace.stack.up()

        assert await workspace.owner.canvases() == canvases
        exported = await workspace.owner.export(editors.canvas_id, "yjs")
        before = await workspace.driver.digest_of(exported)
        assert before in (digest, await staying.digest())
        viewer = workspace.api.session_of(friend)
        assert (await viewer.me())["id"] == friend.id
        assert [(canvas.id, canvas.role) for canvas in await viewer.canvases()] == [
            (editors.canvas_id, "viewer")
        ]
        # Same address, same keys: those who stayed need nothing new.
        await workspace.driver.wait_saved(editors.clients, timeout=RECOVERY_TIMEOUT)
        newcomer = await workspace.connect(editors.canvas_id)
        after = await workspace.driver.wait_converged([*editors.clients, newcomer])
        assert after.elements == digest.elements + 1
        exported = await workspace.owner.export(editors.canvas_id, "yjs")
        assert await workspace.driver.digest_of(exported) == after


async def test_a_power_cut_keeps_everything_saved(workspace: Workspace) -> None:
    """SIGKILL to all at once, in the middle of drawing. Those who drew are gone too. Proves R-SAVE-7."""
    canvas_id = await workspace.create_canvas("Power cut")
    drawing, unsaved = await workspace.connect_many(canvas_id, 2)
    await workspace.driver.start_random_edits([drawing], seed=22, rate=20)
    await workspace.driver.wait_for_edits([drawing], 50)
    await workspace.driver.stop_random_edits([drawing])
    await workspace.driver.wait_saved([drawing, unsaved])
    saved = set((await drawing.content())["elements"])
    assert saved
    await workspace.driver.start_random_edits([unsaved], seed=23, rate=50)
    await workspace.driver.wait_for_edits([unsaved], 20)

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
