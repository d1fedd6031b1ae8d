"""A process is started, watched, restarted and stopped."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import psutil
import pytest

from svgx_devstack import Process, StackError, logfile, ports
from svgx_devstack.backing import probe
from svgx_devstack.program import Program
from tests.small_disk import small_disk

FAKE_SERVICE = Path(__file__).with_name("fake_service.py")

MakeProcess = Callable[..., Process]


@pytest.fixture
def reports() -> list[str]:
    return []


@pytest.fixture
async def make_process(tmp_path: Path, reports: list[str]) -> AsyncIterator[MakeProcess]:
    made: list[Process] = []
    (tmp_path / "logs").mkdir(exist_ok=True)

    def build(kind: str = "", stop_timeout: float = 10.0) -> Process:
        port = ports.choose()
        program = Program(
            name="fake",
            argv=(sys.executable, str(FAKE_SERVICE), str(port), kind),
            env=dict(os.environ),
            log_path=tmp_path / "logs" / "fake.log",
            pid_path=tmp_path / "fake.pid",
            ready=lambda: probe.service(port),
            stop_timeout=stop_timeout,
        )
        process = Process(program, reports.append)
        made.append(process)
        return process

    yield build
    for process in made:
        process.kill()
        await process.stop()


async def test_stopped_process_returns_its_exit_status(make_process: MakeProcess) -> None:
    process = make_process()
    await process.start()
    await process.wait_ready()
    pid = process.pid
    # `pid` belongs to the program itself, and not to the launcher that started it.
    assert psutil.Process(pid).cmdline()[1] == str(FAKE_SERVICE)
    assert await process.stop() == 3
    assert process.pid is None
    assert pid is not None
    assert not psutil.pid_exists(pid)
    assert process.restarts == 0


async def test_killed_process_is_reported_and_restarted(
    make_process: MakeProcess, reports: list[str]
) -> None:
    process = make_process()
    await process.start()
    await process.wait_ready()
    first = process.pid
    process.kill()
    await process.wait_ready()
    assert process.pid != first
    assert process.restarts == 1
    assert reports == ["fake ended (SIGKILL; last line: listening): starts again in 0.25 s"]


async def test_each_failed_start_doubles_the_delay(
    make_process: MakeProcess, reports: list[str]
) -> None:
    process = make_process("broken")
    await process.start()
    with pytest.raises(StackError, match=r"exit status 7; last line: the setting X is wrong"):
        await process.wait_ready(max_exits=2)
    assert [line.rpartition("starts again in ")[2] for line in reports[:2]] == ["0.25 s", "0.5 s"]
    assert await process.stop() == 7


async def test_process_without_restart_stays_down_until_started(
    make_process: MakeProcess, reports: list[str]
) -> None:
    process = make_process()
    await process.start()
    await process.wait_ready()
    process.restart = False
    process.kill()
    assert await process.wait_dead() == -9
    with pytest.raises(StackError):
        await process.wait_ready()
    assert reports == ["fake ended (SIGKILL) and is not restarted"]
    await process.start()
    await process.wait_ready()
    assert process.restarts == 0


async def test_process_starts_right_after_a_kill(make_process: MakeProcess) -> None:
    process = make_process()
    await process.start()
    await process.wait_ready()
    process.restart = False
    process.kill()
    await process.start()
    await process.wait_ready()


async def test_paused_process_is_not_ready_until_resumed(make_process: MakeProcess) -> None:
    process = make_process()
    await process.start()
    await process.wait_ready()
    process.pause()
    with pytest.raises(TimeoutError, match="not ready after 0 s"):
        await process.wait_ready(timeout=0.1)
    process.resume()
    await process.wait_ready()
    process.pause()
    assert await process.stop() == 3


async def test_process_that_ignores_the_stop_signal_is_killed(
    make_process: MakeProcess, reports: list[str]
) -> None:
    process = make_process("deaf", stop_timeout=0.3)
    await process.start()
    await process.wait_ready()
    assert await process.stop() == -9
    assert reports == ["fake did not stop within 0 s: killed"]


def _lengthen(log: Path, size: int) -> None:
    """Extend a log to `size` bytes. The added bytes take no space on the disk, but a copy of the log does."""
    with log.open("ab") as file:
        file.truncate(size)


async def test_failed_log_rotation_keeps_the_log_and_is_reported(
    make_process: MakeProcess, reports: list[str], tmp_path: Path
) -> None:
    """After a failed rotation, the next attempt waits until the log has grown by `MAX_LOG_BYTES`."""
    log = tmp_path / "logs" / "fake.log"
    with small_disk(log.parent, "1m"):
        process = make_process()
        _lengthen(log, logfile.MAX_LOG_BYTES + 1)
        for _ in range(2):
            process.rotate_log()
        assert reports == [f"fake: cannot rotate {log} (no space left on device)"]
        assert [path.name for path in log.parent.iterdir()] == ["fake.log"]
        _lengthen(log, 2 * logfile.MAX_LOG_BYTES + 1)
        process.rotate_log()
        assert len(reports) == 2
    log.write_bytes(bytes(3 * logfile.MAX_LOG_BYTES + 1))
    process.rotate_log()
    log.write_bytes(bytes(logfile.MAX_LOG_BYTES + 1))
    process.rotate_log()
    assert log.stat().st_size == 0
    assert log.with_name("fake.log.1").stat().st_size == logfile.MAX_LOG_BYTES + 1
    assert len(reports) == 2


async def test_stop_during_the_restart_delay_keeps_the_process_down(
    make_process: MakeProcess,
) -> None:
    process = make_process("broken")
    await process.start()
    await process.wait_dead()
    await asyncio.sleep(0)
    assert await process.stop() == 7
    assert process.pid is None
