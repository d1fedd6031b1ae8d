"""Work that a worker does not finish costs its caller an error, and nobody else anything."""

import psutil
import pytest

from svgx_common.contract.errors import Invalid, Unavailable
from svgx_common.contract.policy import CanvasRole
from svgx_devstack import DevStack
from tests.integration.state.drawing import Pen, elements
from tests.integration.state.service import Client, replica


async def test_one_that_is_killed(backing: DevStack, client: Client) -> None:
    """Proves R-STATE-17."""
    async with replica(backing, worker_count=1):
        canvas_id = await client.create()
        await client.append(Pen(canvas_id, "holder").draw("a"))
        for child in psutil.Process().children():
            if "svgx_workers.worker" in child.cmdline():
                child.kill()
        with pytest.raises(Unavailable, match="could not be finished"):
            await client.export(canvas_id, format="yjs")
        assert elements([(await client.export(canvas_id, format="yjs")).content]) == {"a": "x"}


async def test_one_that_takes_too_long(backing: DevStack, client: Client) -> None:
    """Proves R-STATE-17."""
    async with replica(backing, worker_count=1, worker_timeout_seconds=0.001):
        canvas_id = await client.create()
        await client.append(Pen(canvas_id, "holder").draw("a", "x" * 5_000_000))
        for _ in range(2):
            with pytest.raises(Invalid, match="too long"):
                await client.export(canvas_id)
        assert await client.access(canvas_id) is CanvasRole.OWNER
