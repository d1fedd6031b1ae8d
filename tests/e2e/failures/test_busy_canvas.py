"""A busy canvas moves to a reserved replica while its clients edit it."""

from collections.abc import AsyncIterator

import pytest

from svgx_devstack import DevStack
from tests.e2e.clients.editor_group import editing
from tests.e2e.clients.metrics import Metrics
from tests.e2e.clients.workspace import Workspace, open_workspace
from tests.e2e.clients.yjs_driver import YjsDriver

pytestmark = pytest.mark.timeout(300)

SETTINGS = {"BUSY_CANVAS_SHARE": "0.0002"}
"""With this share, ten clients make a canvas busy on every machine."""

HELD, RELEASED = "collab_held_canvases", "collab_released_canvases_total"


@pytest.fixture
async def workspace(
    tmp_path_factory: pytest.TempPathFactory, driver: YjsDriver
) -> AsyncIterator[Workspace]:
    """Open a workspace on a stack of this module."""
    async with (
        DevStack(tmp_path_factory.mktemp("busy"), settings=SETTINGS) as stack,
        open_workspace(stack, driver) as workspace,
    ):
        yield workspace


async def test_busy_canvas_moves_to_a_reserved_replica_and_back_without_a_reconnect(
    workspace: Workspace,
) -> None:
    """The quiet canvas stays. After the reserved replica is killed, the first replica holds both canvases again.

    No edit is lost. Proves R-BOUND-12 and R-FAIL-1.
    """
    stack = workspace.stack
    metrics = Metrics(stack, timeout=60.0)
    quiet = await workspace.connect(await workspace.create_canvas("Quiet"))
    async with editing(workspace, seed=21) as editors:
        await metrics.until(HELD, lambda held: held == 2, "collab")
        reserved = await stack.add_replica("collab", settings={"RESERVED": "true"})
        await metrics.until(HELD, lambda held: held == 1, reserved)
        assert await metrics.value(HELD, "collab") == 1
        assert await metrics.value(RELEASED, "collab", reason="busy") == 1
        await editors.wait_for_edits()
        await editors.wait_for_broadcast()
        stack.process(reserved).kill()
        await metrics.until(HELD, lambda held: held == 2, "collab")
        await editors.wait_for_edits()
        await editors.wait_for_broadcast()
        await editors.stop_and_verify()
        assert await editors.connection_counts() == {1}
        assert (await quiet.status()).connections == 1
