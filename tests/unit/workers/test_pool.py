"""Worker processes return results, are replaced after failures, and leave no process behind. Proves R-SVG-7."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator

import psutil
import pytest

from svgx_canvas import Dropped, Snapshot, SvgRefused
from svgx_workers import pool
from svgx_workers.child import LOW_PRIORITY
from svgx_workers.errors import (
    AccountBusy,
    WorkerDied,
    WorkersBusy,
    WorkerTimeout,
    WorkerUnavailable,
)
from svgx_workers.frames import Frame, decode, decode_prefix, encode
from svgx_workers.pool import Workers
from tests.unit.yjs.updates import nested_values

SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="8" height="8"><rect onclick="a" width="8" height="8"/></svg>'
# This SVG file is within all limits, but resvg takes minutes to draw its 5,000 layers.
SLOW_SVG = (
    '<svg xmlns="http://www.w3.org/2000/svg" width="2000" height="2000">'
    + '<g opacity=".5"><path d="M0 0H2000V2000"/><path d="M0 0V2000H2000"/></g>' * 5000
    + "</svg>"
).encode()
MEMORY_BYTES = 1024 * 1024 * 1024


@pytest.fixture
async def workers() -> AsyncIterator[Workers]:
    async with Workers(1, MEMORY_BYTES, 30) as workers:
        yield workers


def children() -> list[int]:
    return sorted(
        child.pid
        # The workers of services are not direct children of this process.
        for child in psutil.Process().children()
        if "svgx_workers.worker" in " ".join(child.cmdline())
    )


async def _until_ready(workers: Workers) -> None:
    """Repeat a quick job until it succeeds, because a busy machine starts a process slowly."""
    async with asyncio.timeout(120):
        while True:
            try:
                assert (await workers.import_svg(SVG, None)).elements == 1
            except WorkerTimeout:
                continue
            return


async def test_each_job_returns_the_result_of_its_function(workers: Workers) -> None:
    imported = await workers.import_svg(SVG, None)
    assert imported.elements == 1
    assert imported.dropped == [Dropped("rect@onclick", "event handler", 1)]
    second_import = await workers.import_svg(SVG, imported.update)
    updates = [imported.update, second_import.update]
    snapshot = await workers.compact(Snapshot(imported.update, b""), [second_import.update])
    assert snapshot == await workers.compact(None, updates)
    state = snapshot.update
    assert (await workers.state(updates)).content == state
    exported = await workers.export_svg(state)
    svg = exported.content
    assert svg.count(b"<rect") == 1
    assert exported.left_out == []
    assert (await workers.export_json(state)).content.startswith(b'{"canvas":{"height":"8"')
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
    assert (await workers.export_svg(imported.update)).content == file


async def test_process_of_a_job_beyond_the_time_limit_is_replaced() -> None:
    async with Workers(1, MEMORY_BYTES, 3) as workers:
        (before,) = children()
        with pytest.raises(WorkerTimeout):
            await workers.render_png(SLOW_SVG)
        assert before not in children()
        await _until_ready(workers)


async def test_killed_process_is_replaced(workers: Workers) -> None:
    (before,) = children()
    job = asyncio.create_task(workers.render_png(SLOW_SVG))
    await asyncio.sleep(0)  # the job is written when the task first runs
    os.kill(before, signal.SIGKILL)
    with pytest.raises(WorkerDied):
        await job
    assert (await workers.import_svg(SVG, None)).elements == 1
    assert before not in children()


async def test_trusted_update_that_ends_the_process_is_checked_in_another(workers: Workers) -> None:
    """pycrdt overflows the stack, because it reads nested values by recursion. The check refuses these values."""
    (before,) = children()
    with pytest.raises(SvgRefused):
        await workers.compact(None, [nested_values(200_000)], trusted=True)
    assert before not in children()


async def test_process_killed_while_idle_is_replaced_for_the_next_job(workers: Workers) -> None:
    (before,) = children()
    os.kill(before, signal.SIGKILL)
    process = workers._children[0]._process
    assert process is not None
    await process.wait()
    assert (await workers.import_svg(SVG, None)).elements == 1
    assert before not in children()


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
            await workers.render_png(SLOW_SVG)
    assert before not in children()
    assert (await workers.import_svg(SVG, None)).elements == 1


async def test_process_that_holds_too_much_memory_is_replaced() -> None:
    async with Workers(1, MEMORY_BYTES, 30, recycle_bytes=1) as workers:
        (before,) = children()
        await workers.import_svg(SVG, None)
        assert before not in children()
        assert (await workers.import_svg(SVG, None)).elements == 1
        assert before not in children()


def _wait_for_low_priority(process: psutil.Process) -> None:
    while process.nice() != LOW_PRIORITY:
        pass


@pytest.mark.parametrize(
    ("account", "limit"), [("a", "SLOW_SECONDS"), (None, "SERVICE_SLOW_SECONDS")], ids=str
)
async def test_slow_job_gets_low_priority_and_its_process_is_replaced(
    account: str | None, limit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job that takes long gets low priority. Jobs of the service have a limit of their own. Proves R-RESIL-5."""
    for each in ("SLOW_SECONDS", "SERVICE_SLOW_SECONDS"):
        monkeypatch.setattr(pool, each, 0.05 if each == limit else 30.0)
    async with Workers(1, MEMORY_BYTES, 4) as workers:

        async def render() -> bytes:
            async with workers.turn(account) as turn:
                return await turn.render_png(SLOW_SVG)

        (before,) = children()
        process = psutil.Process(before)
        assert process.nice() == 0
        job = asyncio.create_task(render())
        await asyncio.to_thread(_wait_for_low_priority, process)
        assert not job.done()
        with pytest.raises(WorkerTimeout):
            await job
        await _until_ready(workers)
        assert before not in children()


async def test_child_of_a_quick_job_after_a_slow_one_is_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Only the child of the slow job is replaced, also when one turn has both jobs. Proves R-RESIL-5."""
    async with Workers(1, MEMORY_BYTES, 30) as workers, workers.turn("a") as turn:
        monkeypatch.setattr(pool, "SLOW_SECONDS", 0.0)
        await turn.import_svg(SVG, None)
        assert children() == []
        monkeypatch.setattr(pool, "SLOW_SECONDS", 30.0)
        await turn.import_svg(SVG, None)
        (kept,) = children()
        await turn.import_svg(SVG, None)
        assert children() == [kept]


async def test_turns_beyond_the_waiting_limits_are_refused_at_once() -> None:
    """Proves R-RESIL-5: one account reaches its own limit first, and all accounts together reach the common limit."""
    async with Workers(1, MEMORY_BYTES, 30, waiting=2, waiting_each=1) as workers:

        async def render_in_turn(account: str) -> bytes:
            async with workers.turn(account) as worker:
                return await worker.render_png(SVG)

        accounts = ["a", "a", "a", "b", "b", "c"]
        jobs = [asyncio.create_task(render_in_turn(account)) for account in accounts]
        results = await asyncio.gather(*jobs, return_exceptions=True)
        assert [type(result) for result in results] == [
            bytes, bytes, AccountBusy, bytes, AccountBusy, WorkersBusy,
        ]  # fmt: skip
        assert (await workers.import_svg(SVG, None)).elements == 1


async def test_slow_jobs_of_one_account_leave_a_child_to_others() -> None:
    """Proves R-RESIL-5: eight slow renders of one account do not delay a render of another."""
    async with Workers(2, MEMORY_BYTES, 30) as workers:

        async def render_in_turn(account: str, svg: bytes) -> bytes:
            async with workers.turn(account) as worker:
                return await worker.render_png(svg)

        slow = [asyncio.create_task(render_in_turn("slow", SLOW_SVG)) for _ in range(8)]
        await asyncio.sleep(0)
        async with asyncio.timeout(10):
            for _ in range(5):
                assert await render_in_turn("quick", SVG)
        assert not any(job.done() for job in slow)
        for job in slow:
            job.cancel()
        await asyncio.gather(*slow, return_exceptions=True)
        assert await render_in_turn("slow", SVG)


async def test_error_at_the_end_of_the_wait_states_the_cause() -> None:
    """Proves R-RESIL-5: the error states whether the account's own jobs or those of others are the cause."""
    async with Workers(1, MEMORY_BYTES, 30) as workers, workers.turn("a"):
        with pytest.raises(AccountBusy):
            async with workers.turn("a", wait_seconds=0.01):
                pass
        with pytest.raises(WorkersBusy) as busy:
            async with workers.turn("b", wait_seconds=0.01):
                pass
        assert not isinstance(busy.value, AccountBusy)


async def test_jobs_of_one_turn_share_the_time_limit() -> None:
    """A turn ends at its deadline, however many jobs it has."""
    async with Workers(1, MEMORY_BYTES, 30) as workers:
        assert (await workers.import_svg(SVG, None)).elements == 1  # the first job takes longer
        deadline = asyncio.get_running_loop().time() + 2.0
        async with workers.turn("a", deadline=deadline) as worker:
            assert (await worker.import_svg(SVG, None)).elements == 1
            with pytest.raises(WorkerTimeout) as ended:
                await worker.render_png(SLOW_SVG)
            assert ended.value.seconds <= 2.0  # the limit of the workers is 30 s
            with pytest.raises(WorkerTimeout):
                await worker.import_svg(SVG, None)
        assert (await workers.import_svg(SVG, None)).elements == 1


async def test_simultaneous_jobs_of_many_accounts_succeed() -> None:
    async with Workers(2, MEMORY_BYTES, 30) as workers:

        async def import_in_turn(account: str) -> int:
            async with workers.turn(account) as worker:
                return (await worker.import_svg(SVG, None)).elements

        assert set(await asyncio.gather(*(import_in_turn(f"{n}") for n in range(20)))) == {1}
        assert len(children()) == 2


async def test_close_leaves_no_process_and_no_job() -> None:
    workers = Workers(2, MEMORY_BYTES, 30)
    await workers.start()
    jobs = [asyncio.create_task(workers.render_png(SLOW_SVG)) for _ in range(4)]
    await asyncio.sleep(0)
    await workers.close()
    results = await asyncio.gather(*jobs, return_exceptions=True)
    assert {type(result) for result in results} == {WorkerUnavailable}
    assert children() == []
    with pytest.raises(WorkerUnavailable):
        await workers.import_svg(SVG, None)
    await workers.close()


@pytest.mark.parametrize(
    ("program", "reason"), [("/bin/false", "ended with 1"), ("/no/such/program", "can be started")]
)
async def test_process_that_fails_to_start_raises_worker_unavailable(
    monkeypatch: pytest.MonkeyPatch, program: str, reason: str
) -> None:
    """A process that does not start raises `WorkerUnavailable`, also when it is started anew for a job."""
    async with Workers(1, MEMORY_BYTES, 30) as workers:
        await workers._children[0].kill()
        monkeypatch.setattr(sys, "executable", program)
        with pytest.raises(WorkerUnavailable, match=reason):
            await workers.import_svg(SVG, None)
        with pytest.raises(WorkerUnavailable, match=reason):
            await Workers(2, MEMORY_BYTES, 30).start()
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
@pytest.mark.parametrize("file", [SVG, SLOW_SVG])
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
