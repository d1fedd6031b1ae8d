"""Live drills: 100 editors write for a minute while parts of the system fail at random.

`make chaos` runs CHAOS_SEEDS drills (3) with random seeds. CHAOS_SEED repeats the drill of one seed. CHAOS_EDITORS and
CHAOS_SECONDS set the size of a drill. Each drill has its own stack with two replicas of gateway, collab and state.
"""

import asyncio
import os
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from svgx_devstack import DevStack
from tests.chaos.live.drill import LiveDrill, Size
from tests.chaos.live.figures import Figures, table
from tests.chaos.live.nats_proxy import NatsProxy
from tests.e2e.clients.metrics import Metrics
from tests.e2e.clients.workspace import Workspace, open_workspace
from tests.e2e.clients.yjs_driver import YjsDriver
from tests.e2e.cluster.balancer import Balancer, round_robin
from tests.limits import HIGH_LIMITS
from tests.polling import pause
from tests.sampling import MIB, memory

DRILLS = int(os.environ.get("SVGX_CHAOS_SEEDS", "0"))
SEED = int(os.environ.get("SVGX_CHAOS_SEED", "0"))
SEEDS = [SEED] if SEED and DRILLS else [secrets.randbelow(10**6) for _ in range(DRILLS)]
SIZE = Size(
    editors=int(os.environ.get("SVGX_CHAOS_EDITORS", "100")),
    seconds=float(os.environ.get("SVGX_CHAOS_SECONDS", "60")),
    rate=float(os.environ.get("SVGX_CHAOS_RATE", "5")),
    gaps=(1.5, 4.0),
)
REPLICATED = ("gateway", "collab", "state")
SETTINGS = {
    **HIGH_LIMITS,
    "DRAIN_NOTICE_SECONDS": "1",
    "WEBSOCKET_DRAIN_SECONDS": "1",
    # All clients and servers share the processors of one machine, so the event loop lags at times.
    "SHED_LAG_SECONDS": "30",
}
MEMORY_GROWTH = 64 * MIB
"""Bytes by which the memory of a process may grow.

In a drill, a process grows by at most about 40 MiB. There are two reasons. The drill fills the caches of all
services. The C heap keeps freed buffers until the process is quiet and has grown by more than 24 MiB
(docs/decisions/0087-freed-buffers-are-kept-until-a-quiet-moment.md).
"""
MEMORY_SECONDS = 60.0
"""The most seconds of each wait after a drill: until a metric is 0, and until the memory is within `MEMORY_GROWTH`."""

pytestmark = [
    pytest.mark.skipif(not SEEDS, reason="`make chaos` sets SVGX_CHAOS_SEEDS"),
    pytest.mark.timeout(900),
]


@pytest.fixture(scope="module")
def all_figures() -> Iterator[list[Figures]]:
    """Yield a list for the figures of all drills, and print it as a table at the end."""
    found: list[Figures] = []
    yield found
    print(f"\n{table(found)}")


@asynccontextmanager
async def start_pairs(folder: Path) -> AsyncIterator[tuple[DevStack, dict[str, NatsProxy]]]:
    """Start a stack with two replicas of gateway, collab and state.

    The second replica of each service reaches NATS through a proxy that a drill can cut. Yield the stack, and each
    proxy by the name of its replica.
    """
    async with DevStack(folder, settings=SETTINGS) as stack, AsyncExitStack() as opened:
        proxies = {}
        for service in REPLICATED:
            proxy = await opened.enter_async_context(NatsProxy.open(stack.nats_url(service)))
            name = await stack.add_replica(service, settings={"NATS_URL": proxy.url})
            proxies[name] = proxy
        try:
            yield stack, proxies
        finally:
            for name in proxies:
                await stack.remove_replica(name)


def memory_of(stack: DevStack) -> dict[str, int]:
    """Return the memory of each service process, in bytes."""
    return {
        process.name: memory(process.pid)
        for process in stack.processes
        if process.name.startswith((*REPLICATED, "auth"))
    }


async def check_memory(workspace: Workspace, before: dict[str, int]) -> dict[str, int]:
    """Wait until no service has connections, canvases or unsaved data, and memory use is about that of the start.

    Return the memory of each process in bytes.
    """
    metrics = Metrics(workspace.stack, timeout=MEMORY_SECONDS)
    for name in ("live_connections", "live_canvases", "live_unacked_bytes"):
        await metrics.until(name, lambda value: value == 0, "gateway", "gateway-2")
    for name in ("collab_participants", "collab_unsaved_bytes"):
        await metrics.until(name, lambda value: value == 0, "collab", "collab-2")
    try:
        async with asyncio.timeout(MEMORY_SECONDS):
            while True:
                after = await asyncio.to_thread(memory_of, workspace.stack)
                large = [
                    name for name, size in after.items() if size > before[name] + MEMORY_GROWTH
                ]
                if not large:
                    return after
                await pause()
    except TimeoutError:
        sizes = {each: (before[each] // MIB, after[each] // MIB) for each in large}
        raise AssertionError(f"MiB before and after the drill: {sizes}") from None


def errors_of(stack: DevStack) -> list[str]:
    """Return the log lines of the services with the level ERROR or CRITICAL.

    A service logs the failure of another process at a lower level.
    """
    return [
        f"{process.name}: {line[:2000]}"
        for process in stack.processes
        if process.name.startswith((*REPLICATED, "auth"))
        for line in stack.log_path(process.name).read_text(errors="replace").splitlines()
        if '"level": "ERROR"' in line or '"level": "CRITICAL"' in line
    ]


@pytest.mark.parametrize("seed", SEEDS)
async def test_live_drill_loses_no_saved_edit(
    tmp_path: Path, driver: YjsDriver, all_figures: list[Figures], seed: int
) -> None:
    """At the end, all documents are equal, no saved edit is missing, and memory use is about that of the start.

    No service logged an error. Proves R-FAIL-12 and R-SAVE-7.
    """
    print(f"\nSVGX_CHAOS_SEED={seed}, {SIZE.editors} editors, {SIZE.seconds:g} s")
    async with (
        start_pairs(tmp_path) as (stack, proxies),
        Balancer(round_robin()) as balancer,
    ):
        for name in ("gateway", "gateway-2"):
            await balancer.add(stack.port(name))
        async with open_workspace(stack, driver, websocket_base=balancer.url) as workspace:
            await _warm_up(workspace)
            before = memory_of(stack)
            async with LiveDrill.open(workspace, proxies, seed, SIZE) as drill:
                figures = await drill.check(await drill.run())
                await drill.delete_canvases()
            after = await check_memory(workspace, before)
            figures.memory = (sum(before.values()) / MIB, sum(after.values()) / MIB)
            all_figures.append(figures)
            assert not errors_of(stack)
            print(
                "  MiB " + ", ".join(f"{n} {before[n] // MIB} → {after[n] // MIB}" for n in after)
            )


async def _warm_up(workspace: Workspace) -> None:
    """Open four canvases, so that most replicas are used before the drill.

    A process allocates memory at its first use, and does not free it afterwards.
    """
    for _ in range(4):
        canvas_id = await workspace.create_canvas()
        await workspace.connect_many(canvas_id, 2)
        await workspace.destroy_all()
        await workspace.owner.delete_canvas(canvas_id)
