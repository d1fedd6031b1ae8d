"""Worker processes return results, are replaced after failures, and leave no process behind. Proves R-SVG-7."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator

import psutil
import pytest

from svgx_canvas import Dropped, SvgRefused
from svgx_workers import pool
from svgx_workers.frames import Frame, decode, decode_prefix, encode
from svgx_workers.pool import WorkerDied, Workers, WorkersBusy, WorkerTimeout, _Child

SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="8" height="8"><rect onclick="a" width="8" height="8"/></svg>'
# Within all limits, but resvg takes minutes to draw it: 5,000 layers one after another.
SLOW = (
    '<svg xmlns="http://www.w3.org/2000/svg" width="2000" height="2000">'
    + '<g opacity=".5"><path d="M0 0H2000V2000"/><path d="M0 0V2000H2000"/></g>' * 5000
    + "</svg>"
).encode()
MEMORY = 1024 * 1024 * 1024


@pytest.fixture
async def workers() -> AsyncIterator[Workers]:
    async with Workers(1, MEMORY, 30) as workers:
        yield workers


def children() -> list[int]:
    return sorted(
        child.pid
        for child in psutil.Process().children()  # not the descendants: a running stack has workers too
        if "svgx_workers.worker" in " ".join(child.cmdline())
    )


async def test_each_job_returns_the_result_of_its_function(workers: Workers) -> None:
    imported = await workers.import_svg(SVG, None)
    assert imported.elements == 1
    assert imported.dropped == [Dropped("rect@onclick", "event handler", 1)]
    second_import = await workers.import_svg(SVG, imported.update)
    state = await workers.compact(imported.update, [second_import.update])
    assert state == await workers.compact(None, [imported.update, second_import.update])
    svg = await workers.export_svg(state)
    assert svg.count(b"<rect") == 1
    assert (await workers.export_json(state)).startswith(b'{"canvas":{"height":"8"')
    assert (await workers.render_png(svg, 4)).startswith(b"\x89PNG")
    assert len(children()) == 1


async def test_refusal_keeps_all_its_fields(workers: Workers) -> None:
    with pytest.raises(SvgRefused) as refused:
        await workers.render_png(SVG, 100_000)
    assert (refused.value.code, refused.value.field) == ("too_large", "side")
    assert (refused.value.limit, refused.value.actual) == (16_384, 100_000)
    with pytest.raises(SvgRefused) as refused:
        await workers.import_svg(b"no", None)
    assert (refused.value.code, refused.value.limit) == ("malformed", None)
    assert len(children()) == 1


async def test_job_with_a_large_frame_succeeds(workers: Workers) -> None:
    text = b"<text>" + b"x" * 500_000 + b"</text>"
    file = b'<svg xmlns="http://www.w3.org/2000/svg">' + text * 20 + b"</svg>"
    imported = await workers.import_svg(file, None)
    assert len(imported.update) > 10_000_000
    assert await workers.export_svg(imported.update) == file


async def test_job_beyond_the_time_limit_is_killed_and_its_process_replaced() -> None:
    async with Workers(1, MEMORY, 3) as workers:
        (before,) = children()
        with pytest.raises(WorkerTimeout):
            await workers.render_png(SLOW)
        assert before not in children()
        assert (await workers.import_svg(SVG, None)).elements == 1
        assert len(children()) == 1


async def test_killed_process_is_replaced(workers: Workers) -> None:
    (before,) = children()
    job = asyncio.create_task(workers.render_png(SLOW))
    await asyncio.sleep(0)  # the job is written when the task first runs
    os.kill(before, signal.SIGKILL)
    with pytest.raises(WorkerDied):
        await job
    assert (await workers.import_svg(SVG, None)).elements == 1
    assert before not in children()


async def test_process_killed_while_idle_is_replaced(workers: Workers) -> None:
    (before,) = children()
    os.kill(before, signal.SIGKILL)
    with pytest.raises(WorkerDied):
        await workers.import_svg(SVG, None)
    assert (await workers.import_svg(SVG, None)).elements == 1


async def test_job_beyond_the_memory_limit_fails() -> None:
    """The address space is limited, so an allocation fails before the machine runs out of memory."""
    async with Workers(1, 300 * 1024 * 1024, 30) as workers:
        body = '<g opacity=".5">' * 9 + '<rect width="4000" height="4000"/>' + "</g>" * 9
        file = f'<svg xmlns="http://www.w3.org/2000/svg" width="4000" height="4000">{body}</svg>'
        with pytest.raises(WorkerDied):
            await workers.render_png(file.encode())
        assert (await workers.import_svg(SVG, None)).elements == 1


async def test_process_of_a_cancelled_job_is_killed(workers: Workers) -> None:
    (before,) = children()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await workers.render_png(SLOW)
    assert before not in children()
    assert (await workers.import_svg(SVG, None)).elements == 1


async def test_process_that_holds_too_much_memory_is_replaced() -> None:
    async with Workers(1, MEMORY, 30, recycle_bytes=1) as workers:
        (before,) = children()
        await workers.import_svg(SVG, None)
        assert children() == []
        await workers.import_svg(SVG, None)
        assert before not in children()


async def test_job_beyond_the_waiting_limit_raises_workers_busy() -> None:
    async with Workers(1, MEMORY, 30, waiting=1) as workers:
        jobs = [asyncio.create_task(workers.import_svg(SVG, None)) for _ in range(3)]
        results = await asyncio.gather(*jobs, return_exceptions=True)
        assert sum(isinstance(result, WorkersBusy) for result in results) == 1
        assert (await workers.import_svg(SVG, None)).elements == 1


async def test_jobs_run_in_parallel() -> None:
    async with Workers(2, MEMORY, 30) as workers:
        results = await asyncio.gather(*(workers.import_svg(SVG, None) for _ in range(20)))
        assert {result.elements for result in results} == {1}
        assert len(children()) == 2


async def test_heavy_jobs_run_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even with two children, a second heavy job starts only after the first has ended."""
    running = most = 0

    class Counting(Workers):
        async def _run_on(self, child: _Child, job: Frame) -> Frame:
            nonlocal running, most
            running += 1
            most = max(most, running)
            try:
                return await super()._run_on(child, job)
            finally:
                running -= 1

    async with Counting(2, MEMORY, 30) as workers:
        for heavy, expected in ((pool.HEAVY_BYTES, 2), (1, 1)):
            monkeypatch.setattr(pool, "HEAVY_BYTES", heavy)
            most = 0
            await asyncio.gather(*(workers.import_svg(SVG, None) for _ in range(4)))
            assert most == expected


async def test_close_leaves_no_process_and_no_job() -> None:
    workers = Workers(2, MEMORY, 30)
    await workers.start()
    jobs = [asyncio.create_task(workers.render_png(SLOW)) for _ in range(4)]
    await asyncio.sleep(0)
    await workers.close()
    results = await asyncio.gather(*jobs, return_exceptions=True)
    assert {type(result) for result in results} == {WorkerDied}
    assert children() == []
    with pytest.raises(WorkerDied):
        await workers.import_svg(SVG, None)
    await workers.close()


async def test_process_that_fails_to_start_raises_worker_died(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(WorkerDied, match="ended with 1"):
        await Workers(2, MEMORY, 30).start()
    assert children() == []


_PARENT = """
import asyncio, sys
from svgx_workers.pool import Workers
async def main():
    workers = Workers(1, 0, 60)
    await workers.start()
    process = workers._children[0]._process
    print(process.pid, flush=True)
    await workers.render_png(sys.stdin.buffer.read())
    await asyncio.sleep(60)
asyncio.run(main())
"""


@pytest.mark.skipif(
    sys.platform != "linux", reason="on other systems a child ends after its current job"
)
@pytest.mark.parametrize("file", [SVG, SLOW])
def test_child_ends_when_its_parent_is_killed(file: bytes) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdin is not None
        assert parent.stdout is not None
        parent.stdin.write(file)
        parent.stdin.close()
        child = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
        parent.wait()
        child.wait(10)
        assert not child.is_running()


def test_child_ends_when_its_input_is_closed() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "svgx_workers.worker", "0", "5", str(os.getpid())],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        timeout=30,
    )
    assert done.returncode == 0
    assert decode_prefix(done.stdout[:12])[1] == 0


def test_encoded_frame_decodes_to_the_same_frame() -> None:
    frame = Frame({"job": "é", "n": None, "list": [1, "x"]}, [b"", b"\x00\xff", b"abc"])
    encoded = b"".join(encode(frame))
    head, body = decode_prefix(encoded[:12])
    assert len(encoded) == 12 + head + body
    assert decode(encoded[12 : 12 + head], encoded[12 + head :]) == frame


@pytest.mark.parametrize(("head", "body"), [(b"[]", b""), (b'{"blobs": [2]}', b"x"), (b"{", b"")])
def test_malformed_frame_is_refused(head: bytes, body: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        decode(head, body)


def test_frame_of_absurd_length_is_refused() -> None:
    with pytest.raises(ValueError, match="too long"):
        decode_prefix(b"\xff" * 12)
