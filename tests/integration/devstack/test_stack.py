"""The stack runs each real service in a process, and adds and removes further replicas."""

import httpx
import pytest

from svgx_devstack import DevStack


async def _readiness_status(url: str) -> int:
    async with httpx.AsyncClient(timeout=60) as client:
        return (await client.get(f"{url}/health/ready")).status_code


@pytest.mark.parametrize("service", ["auth", "collab", "gateway", "state"])
async def test_each_service_runs_in_its_own_process(stack: DevStack, service: str) -> None:
    assert await _readiness_status(stack.service_url(service)) == 200
    others = {process.pid for process in stack.processes if process.name != service}
    assert stack.process(service).pid not in others


async def test_replica_is_added_and_removed(stack: DevStack) -> None:
    name = await stack.add_replica("collab")
    assert name == "collab-2"
    assert await _readiness_status(stack.service_url(name)) == 200
    replica = stack.process(name)
    assert replica.pid != stack.process("collab").pid
    await stack.remove_replica(name)
    assert replica.pid is None
    with pytest.raises(KeyError):
        stack.process(name)
