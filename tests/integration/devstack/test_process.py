"""One supervised process, with a stand-in program."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import psutil
import pytest

from svgx_devstack import Process, StackError, ports
from svgx_devstack.backing import probe
from svgx_devstack.program import Program

STANDIN = Path(__file__).with_name("standin.py")

Make = Callable[..., Process]


@pytest.fixture
def reports() -> list[str]:
    return []


@pytest.fixture
async def make(tmp_path: Path, reports: list[str]) -> AsyncIterator[Make]:
    made: list[Process] = []

    def build(kind: str = "", stop_timeout: float = 10.0) -> Process:
        port = ports.choose()
        program = Program(
            name="standin",
            argv=(sys.executable, str(STANDIN), str(port), kind),
            env=dict(os.environ),
            log_path=tmp_path / "standin.log",
            pid_path=tmp_path / "standin.pid",
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


async def test_starts_stops_and_tells_its_status(make: Make) -> None:
    process = make()
    await process.start()
    await process.wait_ready()
    pid = process.pid
    assert psutil.Process(pid).cmdline()[1] == str(STANDIN)  # the id is the program's own
    assert await process.stop() == 3
    assert process.pid is None
    assert pid is not None
    assert not psutil.pid_exists(pid)
    assert process.restarts == 0


async def test_a_killed_process_is_started_again_and_said_so(
    make: Make, reports: list[str]
) -> None:
    process = make()
    await process.start()
    await process.wait_ready()
    first = process.pid
    process.kill()
    await process.wait_ready()
    assert process.pid != first
    assert process.restarts == 1
    assert reports == ["standin ended (SIGKILL; last line: listening): starts again in 0.25 s"]


async def test_the_waits_grow(make: Make, reports: list[str]) -> None:
    process = make("broken")
    await process.start()
    with pytest.raises(StackError, match=r"exit status 7; last line: the setting X is wrong"):
        await process.wait_ready(most_deaths=2)
    assert [line.rpartition("starts again in ")[2] for line in reports[:2]] == ["0.25 s", "0.5 s"]
    assert await process.stop() == 7


async def test_held_down_until_started(make: Make, reports: list[str]) -> None:
    process = make()
    await process.start()
    await process.wait_ready()
    process.restart = False
    process.kill()
    assert await process.wait_dead() == -9
    with pytest.raises(StackError):
        await process.wait_ready()
    assert reports == ["standin ended (SIGKILL) and is held down"]
    await process.start()
    await process.wait_ready()
    assert process.restarts == 0


async def test_start_right_after_kill(make: Make) -> None:
    process = make()
    await process.start()
    await process.wait_ready()
    process.restart = False
    process.kill()
    await process.start()
    await process.wait_ready()


async def test_a_paused_process_is_silent_and_comes_back(make: Make) -> None:
    process = make()
    await process.start()
    await process.wait_ready()
    process.pause()
    with pytest.raises(TimeoutError, match="not ready after 0 s"):
        await process.wait_ready(timeout=0.1)
    process.resume()
    await process.wait_ready()
    process.pause()
    assert await process.stop() == 3


async def test_one_that_does_not_stop_is_killed(make: Make, reports: list[str]) -> None:
    process = make("deaf", stop_timeout=0.3)
    await process.start()
    await process.wait_ready()
    assert await process.stop() == -9
    assert reports == ["standin did not stop within 0 s: killed"]


async def test_stop_during_the_wait_for_a_restart(make: Make) -> None:
    process = make("broken")
    await process.start()
    await process.wait_dead()
    await asyncio.sleep(0)
    assert await process.stop() == 7
    assert process.pid is None
