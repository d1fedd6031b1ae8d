"""The whole stack ends and starts again: what was saved is there."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from svgx_devstack import DevStack
from tests.e2e.clients import canvas_session as studios
from tests.e2e.clients.canvas_session import Studio
from tests.e2e.clients.editor_group import PATIENCE, painting
from tests.e2e.clients.yjs_driver import YjsDriver
from tests.limits import ROOMY

pytestmark = pytest.mark.timeout(240)


@pytest.fixture
async def studio(tmp_path: Path, driver: YjsDriver) -> AsyncIterator[Studio]:
    """A studio on a stack of its own."""
    async with (
        DevStack(tmp_path / "home", settings=ROOMY) as stack,
        studios.opened(stack, driver) as studio,
    ):
        yield studio
        await studio.empty()


async def test_stop_and_start_keep_everything(studio: Studio) -> None:
    """Users sign in, canvases and roles are listed, content is equal, and those who stayed go on. Proves R-SAVE-6."""
    friend = await studio.user("editor")
    async with painting(studio, 3, seed=21) as painters:
        await studio.owner.set_member(painters.canvas_id, friend, "viewer")
        digest = await painters.finish()
        canvases = await studio.owner.canvases()
        staying = painters.clients[0]

        await studio.stack.down()
        await staying.add("made-while-all-was-down")
        await studio.stack.up()

        assert await studio.owner.canvases() == canvases
        exported = await studio.owner.export(painters.canvas_id, "yjs")
        before = await studio.driver.digest_of(exported)
        assert before in (digest, await staying.digest())
        viewer = studio.api.of(friend)
        assert (await viewer.me())["id"] == friend.id
        assert [(canvas.id, canvas.role) for canvas in await viewer.canvases()] == [
            (painters.canvas_id, "viewer")
        ]
        # Same address, same keys: those who stayed need nothing new.
        await studio.driver.saved(painters.clients, timeout=PATIENCE)
        newcomer = await studio.join(painters.canvas_id)
        after = await studio.driver.converged([*painters.clients, newcomer])
        assert after.elements == digest.elements + 1
        exported = await studio.owner.export(painters.canvas_id, "yjs")
        assert await studio.driver.digest_of(exported) == after


async def test_a_power_cut_keeps_everything_saved(studio: Studio) -> None:
    """SIGKILL to all at once, in the middle of drawing. Those who drew are gone too. Proves R-SAVE-7."""
    canvas_id = await studio.canvas("Power cut")
    drawing, unsaved = await studio.crowd(canvas_id, 2)
    await studio.driver.draw([drawing], seed=22, rate=20)
    await studio.driver.drawn([drawing], 50)
    await studio.driver.rest([drawing])
    await studio.driver.saved([drawing, unsaved])
    saved = set((await drawing.content())["elements"])
    assert saved
    await studio.driver.draw([unsaved], seed=23, rate=50)
    await studio.driver.drawn([unsaved], 20)

    studio.stack.kill()
    await studio.empty()
    await studio.stack.down()
    await studio.stack.up()

    newcomer = await studio.join(canvas_id)
    await studio.driver.synced([newcomer])
    digest = await newcomer.digest()
    assert not digest.pending
    exported = await studio.owner.export(canvas_id, "yjs")
    assert await studio.driver.digest_of(exported) == digest
