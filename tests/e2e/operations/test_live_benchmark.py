"""The benchmark of live editing counts each edit of a small load."""

import asyncio

import pytest

from bench.collab import load as module
from bench.collab.load import Load, measure
from bench.collab.servers.stack import StackServer
from svgx_devstack import DevStack


@pytest.fixture
async def server(stack: DevStack) -> StackServer:
    """Return the shared stack as a server of the benchmark."""
    return StackServer(stack, asyncio.get_running_loop())


async def test_live_benchmark_counts_edits_of_several_rooms(
    server: StackServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each edit arrives at the other clients of its room, and is saved. Nothing is lost. Proves R-OBS-6."""
    monkeypatch.setattr(module, "LATE_SECONDS", 20.0)  # the machine may be busy
    load = Load(rooms=2, writers=2, readers=1, seconds=1.0, saved=True, quiet=1.0)
    figures = await asyncio.to_thread(measure, server, load)
    server.close()
    assert load.deliveries == 2 * 2 * 5 * 2
    assert figures["share"] == 1.0
    assert figures["saved_share"] == 1.0
    assert figures["missing"] == figures["closed"] == 0
    assert figures["frames"] > 0
    assert 0 < figures["p50"] <= figures["p95"]
    assert figures["server_cores"] > 0
