"""A job that its worker does not finish fails for its caller, and harms no other request."""

import psutil
import pytest

from svgx_common.contract.errors import Invalid, Unavailable
from svgx_common.contract.policy import CanvasRole
from svgx_devstack import DevStack
from tests.integration.state.drawing import Pen, elements
from tests.integration.state.service import Client, replica


async def test_job_of_a_killed_worker_is_unavailable(backing: DevStack, client: Client) -> None:
    """An export fails as `unavailable` when its worker is killed; the next export succeeds. Proves R-STATE-17."""
    async with replica(backing, worker_count=1):
        canvas_id = await client.create()
        await client.append(Pen(canvas_id, "holder").draw("a"))
        for child in psutil.Process().children():
            if "svgx_workers.worker" in child.cmdline():
                child.kill()
        with pytest.raises(Unavailable, match="could not be finished"):
            await client.export(canvas_id, format="yjs")
        assert elements([(await client.export(canvas_id, format="yjs")).content]) == {"a": "x"}


async def test_job_that_takes_too_long_is_invalid(backing: DevStack, client: Client) -> None:
    """An export that takes longer than the limit is refused; other requests still work. Proves R-STATE-17."""
    async with replica(backing, worker_count=1, worker_timeout_seconds=0.001):
        canvas_id = await client.create()
        await client.append(Pen(canvas_id, "holder").draw("a", "x" * 5_000_000))
        for _ in range(2):
            with pytest.raises(Invalid, match="too long"):
                await client.export(canvas_id)
        assert await client.access(canvas_id) is CanvasRole.OWNER
