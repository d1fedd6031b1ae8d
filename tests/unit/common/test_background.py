"""Background tasks: repetition, failures, waiting and stopping."""

import asyncio
import contextvars
from contextlib import suppress

import pytest
import structlog
from structlog.testing import capture_logs

from svgx_common import background
from svgx_common.background import BackgroundTasks, OutageLog, repeat
from svgx_common.contract.errors import Unavailable


@pytest.fixture(autouse=True)
def fresh_logger(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use a logger that `capture_logs` can capture, because an earlier test may have cached the module's own logger."""
    monkeypatch.setattr(background, "log", structlog.get_logger("background"))


async def test_repeat_runs_the_step_again_until_stop() -> None:
    tasks = BackgroundTasks()
    runs = 0
    third = asyncio.Event()

    async def step() -> None:
        nonlocal runs
        runs += 1
        if runs == 3:
            third.set()
        await asyncio.sleep(0)

    tasks.repeat("count", step)
    await third.wait()
    assert len(tasks) == 1
    await tasks.stop()
    assert len(tasks) == 0
    stopped_at = runs
    await asyncio.sleep(0)
    assert runs == stopped_at


async def test_failed_step_is_logged_and_repeated_after_a_pause(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(background, "PAUSE_SECONDS", 0.05)
    started = asyncio.get_running_loop().time()
    succeeded = asyncio.Event()
    runs = 0

    async def step() -> None:
        nonlocal runs
        runs += 1
        if runs == 1:
            raise ValueError("a defect")
        succeeded.set()
        await asyncio.Event().wait()

    with capture_logs() as lines:
        task = asyncio.create_task(repeat("failing", step))
        await succeeded.wait()
    assert asyncio.get_running_loop().time() - started >= 0.04
    assert [(line["log_level"], line["work"]) for line in lines] == [("error", "failing")]
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_failed_task_is_logged_and_raises_nothing() -> None:
    tasks = BackgroundTasks()

    async def fail() -> None:
        raise ValueError("a defect")

    with capture_logs() as lines:
        await tasks.start("failing", fail())
    assert [(line["log_level"], line["work"]) for line in lines] == [("error", "failing")]
    assert len(tasks) == 0


async def test_task_runs_in_the_given_context() -> None:
    variable = contextvars.ContextVar("variable", default="outside")
    context = contextvars.copy_context()
    context.run(variable.set, "inside")
    values: list[str] = []

    async def read() -> None:
        values.append(variable.get())

    tasks = BackgroundTasks()
    tasks.start("read", read(), context=context)
    tasks.start("read", read())
    await tasks.wait()
    assert values == ["inside", "outside"]


async def test_wait_returns_when_all_tasks_have_ended_or_the_timeout_has_passed() -> None:
    tasks = BackgroundTasks()
    await tasks.wait()
    release = asyncio.Event()

    async def work() -> None:
        await release.wait()

    tasks.start("work", work())
    await tasks.wait(timeout=0.01)
    assert len(tasks) == 1
    release.set()
    await tasks.wait()
    assert len(tasks) == 0


async def test_stop_waits_for_the_cleanup_of_cancelled_tasks() -> None:
    tasks = BackgroundTasks()
    started = asyncio.Event()
    cleaned_up = False

    async def work() -> None:
        nonlocal cleaned_up
        try:
            started.set()
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.01)
            cleaned_up = True

    tasks.start("work", work())
    await started.wait()
    await tasks.stop()
    assert cleaned_up
    assert len(tasks) == 0


async def test_stop_ends_a_task_that_missed_its_cancellation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Proves R-SHIP-1: a step that ignores a cancellation, as a library's call may, does not block the stop."""
    monkeypatch.setattr(background, "CANCEL_AGAIN_SECONDS", 0.05)
    tasks = BackgroundTasks()
    waiting = asyncio.Event()

    async def step() -> None:
        waiting.set()
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        await asyncio.Event().wait()

    tasks.repeat("miss a cancellation", step)
    await waiting.wait()
    async with asyncio.timeout(20):
        await tasks.stop()
    assert len(tasks) == 0


async def test_stop_ends_a_task_that_has_not_started_yet() -> None:
    """The coroutine of a task that is cancelled before its first step must still be closed, without a warning."""
    tasks = BackgroundTasks()

    async def work() -> None:
        raise AssertionError

    tasks.start("work", work())
    await tasks.stop()
    assert len(tasks) == 0


async def test_outage_is_logged_once_and_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Proves R-OBS-16: work that repeats while a server is not reachable does not fill the log."""
    monkeypatch.setattr(background, "PAUSE_SECONDS", 0.0)
    tasks = BackgroundTasks()
    runs = 0
    enough = asyncio.Event()

    async def step() -> None:
        nonlocal runs
        runs += 1
        if runs > 20:
            enough.set()
            await asyncio.Event().wait()
        raise Unavailable("the database is read-only")

    with capture_logs() as logs:
        tasks.repeat("remove old rows", step)
        await enough.wait()
        await tasks.stop()
    (line,) = logs
    assert line["detail"] == "the database is read-only"
    assert "exc_info" not in line


@pytest.mark.parametrize(
    ("quiet_seconds", "steps", "levels"),
    [
        (60.0, "fff", ["info"]),
        (0.0, "fff", ["warning"]),
        (60.0, "fsf", ["info", "info"]),
        (60.0, "ftff", ["info", "warning"]),
        (60.0, "ftfsf", ["info", "warning", "warning"]),
    ],
    ids=["at the start", "not quiet", "again at the start", "lasting", "again later"],
)
def test_outage_is_information_only_at_the_start(
    quiet_seconds: float, steps: str, levels: list[str]
) -> None:
    """Proves R-OBS-16. In `steps`, f is a failure, s is a success, and t is the end of the `quiet_seconds`."""
    now = 1000.0
    with capture_logs() as lines:
        outages = OutageLog(
            "it waits", quiet_seconds=quiet_seconds, clock=lambda: now, work="relay events"
        )
        for step in steps:
            match step:
                case "f":
                    outages.note_failure(Unavailable("no answer"))
                case "s":
                    outages.note_success()
                case _:
                    now += quiet_seconds
    assert [line["log_level"] for line in lines] == levels
    assert {(line["event"], line["work"], line["detail"]) for line in lines} == {
        ("it waits", "relay events", "no answer")
    }
