"""A large canvas is imported, opened, edited and exported with a limited amount of memory.

`make large` uses 10 MB, 50,000 elements and a limit of 1 GiB. `make test` uses a tenth of the elements, because the
full size takes minutes of CPU time.
"""

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import pytest

from svgx_devstack import DevStack
from tests.e2e.clients.workspace import Workspace, open_workspace
from tests.e2e.clients.yjs_driver import YjsDriver
from tests.e2e.cluster.memory_monitor import MemoryMonitor
from tests.e2e.documents.large_svg import large_svg

FULL_SIZE = os.environ.get("SVGX_LARGE") == "1"
ELEMENTS = 50_000 if FULL_SIZE else 5_000
SVG_BYTES = 200 * ELEMENTS
MAX_MEMORY = (1024 if FULL_SIZE else 768) * 1024 * 1024
"""Bytes of memory that all processes of the stack may use together: services, NATS, PostgreSQL, Valkey."""

WAIT_TIMEOUT = 90.0
"""Seconds that each wait of a client may take."""


@pytest.fixture
async def workspace(killed_stack: DevStack, driver: YjsDriver) -> AsyncIterator[Workspace]:
    """Open a workspace on a stack that no test has used before, because the test measures its memory."""
    async with open_workspace(killed_stack, driver) as workspace:
        yield workspace
        await workspace.destroy_all()


@contextmanager
def _timed(times: dict[str, float], label: str) -> Iterator[None]:
    started = time.monotonic()
    yield
    times[label] = time.monotonic() - started


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux reports the proportional set size")
@pytest.mark.timeout(400)
async def test_large_canvas_stays_below_the_memory_limit(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    """All processes together stay below the limit while the canvas is imported, opened, edited and exported.

    Durations are printed but not checked, because they depend on the machine. Proves R-DOC-3.
    """
    svg = await asyncio.to_thread(large_svg, ELEMENTS, SVG_BYTES)
    assert len(svg) >= SVG_BYTES
    canvas_id = await workspace.create_canvas("Large")
    driver = workspace.driver
    times: dict[str, float] = {}
    with MemoryMonitor(workspace.stack) as memory:
        with _timed(times, "import"):
            imported = await workspace.owner.import_svg(canvas_id, svg)
        assert imported["dropped"] == []

        client = await workspace.connect(canvas_id)
        with _timed(times, "join"):
            await driver.wait_synced([client], timeout=WAIT_TIMEOUT)
        tags = await client.count_tags()
        tags.pop("#text", None)
        assert tags == {"g": ELEMENTS // 100, "path": ELEMENTS - ELEMENTS // 100}

        observer = await workspace.connect(canvas_id)
        await driver.wait_synced([observer], timeout=WAIT_TIMEOUT)
        with _timed(times, "one more edit broadcast"):
            await client.add_element("one-more", "circle", r="5")
            await driver.wait_for_elements([observer], "one-more", timeout=WAIT_TIMEOUT)
        await driver.wait_saved([client], timeout=WAIT_TIMEOUT)

        exported: dict[str, bytes] = {}
        for kind in ("yjs", "svg", "json", "png"):
            with _timed(times, f"export {kind}"):
                exported[kind] = await workspace.owner.export(canvas_id, kind)
    with capsys.disabled():
        seconds = ", ".join(f"{label} {took:.1f} s" for label, took in times.items())
        print(f"\n{len(svg) / 1e6:.1f} MB, {ELEMENTS} elements: {seconds}; {memory.report()}")

    assert await driver.digest_of(exported["yjs"]) == await observer.digest()
    assert exported["svg"].count(b"<path") == tags["path"]
    assert exported["png"].startswith(b"\x89PNG")
    assert memory.peak < MAX_MEMORY, memory.report()
