"""Jobs that take too much time or memory fail for their caller, and harm no other request."""

import asyncio
import time

import psutil
import pytest

from svgx_canvas import import_svg
from svgx_common.contract.errors import Invalid, TooLarge, TooManyRequests, Unavailable
from svgx_common.contract.policy import CanvasRole
from svgx_common.contract.state import Entry
from svgx_devstack import DevStack
from svgx_state import exports
from svgx_workers.child import Child
from svgx_workers.errors import WorkerUnavailable
from svgx_workers.frames import Frame
from tests.integration.state.drawing import Pen, elements
from tests.integration.state.service import Client, replica, user
from tests.polling import pause

_PICTURE = (
    '<svg xmlns="http://www.w3.org/2000/svg" width="300" height="300">'
    + "".join(f'<circle cx="{n}" cy="{n}" r="{n % 50}" opacity=".9"/>' for n in range(300))
    + "</svg>"
)
# This SVG file is within all limits, but resvg takes minutes to draw its 5,000 layers.
_SLOW = (
    '<svg xmlns="http://www.w3.org/2000/svg" width="2000" height="2000">'
    + '<g opacity=".5"><path d="M0 0H2000V2000"/><path d="M0 0V2000H2000"/></g>' * 5000
    + "</svg>"
)


async def create(client: Client, svg: str) -> str:
    """Create a canvas with the content of an SVG file, and return its id."""
    canvas_id = await client.create()
    await client.append(Entry(canvas_id, "holder", 1, (), import_svg(svg.encode(), None).update))
    return canvas_id


def workers() -> list[psutil.Process]:
    """Return the worker processes of this process."""
    children = psutil.Process().children()
    return [child for child in children if "svgx_workers.worker" in child.cmdline()]


async def seconds(client: Client, canvas_id: str) -> float:
    """Return the seconds that a PNG export takes."""
    started = time.perf_counter()
    assert (await client.export(canvas_id, format="png")).content.startswith(b"\x89PNG")
    return time.perf_counter() - started


async def test_slow_exports_of_one_account_do_not_delay_others(
    backing: DevStack, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A PNG export of another account takes at most twice its time alone, plus 0.5 s. Proves R-RESIL-5.

    Edits are saved meanwhile. Each slow export takes at most the longest wait in the queue, the time limit of one job
    and 20 s together.
    """
    monkeypatch.setattr(exports, "WORKER_WAIT_SECONDS", 4.0)
    waits: list[float] = []

    async def export(hostile: Client, canvas_id: str) -> object:
        started = time.perf_counter()
        try:
            return await hostile.export(canvas_id, format="png")
        finally:
            waits.append(time.perf_counter() - started)

    # No compaction runs, because its time on a busy machine is not the subject here.
    settings = {"worker_count": 3, "worker_timeout_seconds": 6, "compact_after_bytes": 2**30}
    async with replica(backing, **settings):
        hostile = Client(client.bus, user())
        slow, picture = await create(hostile, _SLOW), await create(client, _PICTURE)
        alone = min([await seconds(client, picture) for _ in range(3)])
        jobs = [asyncio.create_task(export(hostile, slow)) for _ in range(100)]
        # Nine may run or wait. Each further export is refused at once, so the queue is full at the first refusal.
        await asyncio.wait(jobs, return_when=asyncio.FIRST_COMPLETED)
        beside: list[float] = []
        while len(beside) < 3 and not all(job.done() for job in jobs):
            beside.append(await seconds(client, picture))
        assert beside
        started = time.perf_counter()
        await client.append(Pen(slow, "other holder").draw("a"))
        assert time.perf_counter() - started < 5
        results = await asyncio.gather(*jobs, return_exceptions=True)
        # Other tests may have begun to occupy the machine since the first measurement.
        alone = max(alone, min([await seconds(client, picture) for _ in range(3)]))
    # Compare the shortest times, because other tests run on the same machine.
    print(f"alone {alone:.3f} s, beside {min(beside):.3f} to {max(beside):.3f} s")
    print(f"own: 91 refused after {sorted(waits)[90]:.1f} s, all ended after {max(waits):.1f} s")
    assert max(waits) < 4 + 6 + 20
    assert min(beside) <= 2 * alone + 0.5
    refused = [result for result in results if isinstance(result, TooManyRequests)]
    assert {(error.limit, error.retry_after) for error in refused} == {(9, 2.0)}
    assert len(refused) >= 91
    assert {type(result) for result in results} == {TooManyRequests, Invalid}


async def test_job_of_a_killed_worker_is_too_large(
    backing: DevStack, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When a worker is killed in a job, the job's content counts as too large. A later export works.

    Proves R-STATE-17.
    """
    run = Child.run

    async def killed(child: Child, job: Frame) -> Frame:
        monkeypatch.setattr(Child, "run", run)
        (worker,) = workers()
        worker.suspend()
        running = asyncio.create_task(run(child, job))
        await asyncio.sleep(0)
        worker.kill()
        return await running

    async with replica(backing, worker_count=1):
        canvas_id = await create(client, _PICTURE)
        monkeypatch.setattr(Child, "run", killed)
        with pytest.raises(TooLarge, match="could not be finished") as caught:
            await client.export(canvas_id, format="png")
        assert (caught.value.field, caught.value.limit) == ("content", 1024 * 1024 * 1024)
        assert (await client.export(canvas_id)).content.startswith(b"<svg")


async def test_worker_killed_without_a_job_is_replaced(
    backing: DevStack, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that ends while it is idle makes no export fail. Proves R-STATE-17."""
    children: list[Child] = []
    start = Child.start

    async def note_start(child: Child) -> None:
        children.append(child)
        await start(child)

    monkeypatch.setattr(Child, "start", note_start)
    async with replica(backing, worker_count=1):
        canvas_id = await client.create()
        await client.append(Pen(canvas_id, "holder").draw("a"))
        (worker,) = workers()
        worker.kill()
        async with asyncio.timeout(20):
            while children[0].is_running:
                await pause()
        assert elements([(await client.export(canvas_id, format="yjs")).content]) == {"a": "x"}


async def test_export_without_a_worker_is_unavailable(
    backing: DevStack, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An export fails as `unavailable` when no worker can be started. Proves R-STATE-17."""

    async def fail(_: Child, job: Frame) -> Frame:
        raise WorkerUnavailable("no process can be started")

    async with replica(backing, worker_count=1):
        canvas_id = await client.create()
        await client.append(Pen(canvas_id, "holder").draw("a"))
        with monkeypatch.context() as patch:
            patch.setattr(Child, "run", fail)
            with pytest.raises(Unavailable):
                await client.export(canvas_id)
        assert (await client.export(canvas_id)).content.startswith(b"<svg")


async def test_job_that_takes_too_long_is_invalid(backing: DevStack, client: Client) -> None:
    """An export that takes longer than the limit is refused; other requests still work. Proves R-STATE-17."""
    async with replica(backing, worker_count=1, worker_timeout_seconds=0.001):
        canvas_id = await client.create()
        await client.append(Pen(canvas_id, "holder").draw("a", "x" * 5_000_000))
        for _ in range(2):
            with pytest.raises(Invalid, match="too long") as caught:
                await client.export(canvas_id)
            assert caught.value.field == "content"
        assert await client.access(canvas_id) is CanvasRole.OWNER


async def test_export_ends_before_the_deadline_of_its_caller(
    backing: DevStack, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A caller gets the actual error, and not only a timeout of its own. Proves R-RESIL-6."""
    monkeypatch.setattr(exports, "MARGIN_SECONDS", 59.0)  # the operation's limit is 60 s
    async with replica(backing):
        canvas_id = await create(client, _SLOW)
        with pytest.raises(Invalid, match="too long"):
            await client.export(canvas_id, format="png")
