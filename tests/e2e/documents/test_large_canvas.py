"""A 10 MB drawing of 50,000 elements: imported, joined, edited, exported, within 1 GiB."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from svgx_devstack import DevStack
from tests.e2e.clients.workspace import Workspace, open_workspace
from tests.e2e.clients.yjs_driver import YjsDriver
from tests.e2e.cluster.memory_monitor import MemoryMonitor
from tests.e2e.documents.large_svg import large_svg
from tests.limits import HIGH_LIMITS

ELEMENTS = 50_000
BYTES = 10_000_000
MEMORY = 1024 * 1024 * 1024
"""Bytes that all processes of the suite may have together: services, NATS, PostgreSQL, Valkey."""

PATIENCE = 90.0


@pytest.fixture
async def workspace(tmp_path: Path, driver: YjsDriver) -> AsyncIterator[Workspace]:
    """A workspace on a stack of its own, whose memory is nobody else's."""
    async with (
        DevStack(tmp_path / "home", settings=HIGH_LIMITS) as stack,
        open_workspace(stack, driver) as workspace,
    ):
        yield workspace
        await workspace.destroy_all()


@contextmanager
def _timed(times: dict[str, float], what: str) -> Iterator[None]:
    began = time.monotonic()
    yield
    times[what] = time.monotonic() - began


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the proportional set size")
@pytest.mark.timeout(400)
async def test_a_large_canvas_fits(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    """Seconds are printed, not judged: they are the machine's. Proves R-DOC-3."""
    svg = await asyncio.to_thread(large_svg, ELEMENTS, BYTES)
    assert len(svg) >= BYTES
    canvas_id = await workspace.create_canvas("Large")
    driver = workspace.driver
    times: dict[str, float] = {}
    with MemoryMonitor(workspace.stack) as memory:
        with _timed(times, "import"):
            imported = await workspace.owner.import_svg(canvas_id, svg)
        assert imported["dropped"] == []

        client = await workspace.connect(canvas_id)
        with _timed(times, "join"):
            await driver.wait_synced([client], timeout=PATIENCE)
        tags = await client.count_tags()
        tags.pop("#text", None)
        assert tags == {"g": ELEMENTS // 100, "path": ELEMENTS - ELEMENTS // 100}

        watching = await workspace.connect(canvas_id)
        await driver.wait_synced([watching], timeout=PATIENCE)
        with _timed(times, "one more edit seen"):
            await client.add_element("one-more", "circle", r="5")
            await driver.wait_for_elements([watching], "one-more", timeout=PATIENCE)
        await driver.wait_saved([client], timeout=PATIENCE)

        exported: dict[str, bytes] = {}
        for kind in ("yjs", "svg", "json", "png"):
            with _timed(times, f"export {kind}"):
                exported[kind] = await workspace.owner.export(canvas_id, kind)
    with capsys.disabled():
        seconds = ", ".join(f"{what} {took:.1f} s" for what, took in times.items())
        print(f"\n{len(svg) / 1e6:.1f} MB, {ELEMENTS} elements: {seconds}; {memory.report()}")

    assert await driver.digest_of(exported["yjs"]) == await watching.digest()
    assert exported["svg"].count(b"<path") == tags["path"]
    assert exported["png"].startswith(b"\x89PNG")
    assert memory.peak < MEMORY, memory.report()
