"""The repetition of requests that are not answered in time."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import pytest

from svgx_common.contract.errors import NotFound, Overloaded, Unavailable
from svgx_common.messaging import repetition
from svgx_common.messaging.repetition import MAX_BUDGET, Repetition


@pytest.fixture(autouse=True)
def short_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    """Repeat after a thousandth of the time limit, so that no limit ends before the repetitions are sent."""
    monkeypatch.setattr(repetition, "MIN_INTERVAL_SECONDS", 0.0)
    monkeypatch.setattr(repetition, "INTERVALS_PER_TIMEOUT", 1000)


async def hang() -> str:
    """Never answer."""
    await asyncio.Event().wait()
    raise AssertionError


async def answer() -> str:
    """Answer at once."""
    return "answer"


async def overloaded() -> str:
    """Refuse the request at once."""
    raise Overloaded


async def not_found() -> str:
    """Answer at once that the resource does not exist."""
    raise NotFound


def replicas(*behaviours: Callable[[], Awaitable[str]]) -> Callable[[float], Awaitable[str]]:
    """Return a `send`. Each call reaches the next replica."""
    remaining = iter(behaviours)

    async def send(_: float) -> str:
        return await next(remaining)()

    return send


@pytest.mark.parametrize(
    "behaviours",
    [[answer], [hang, answer], [hang, hang, hang, answer], [hang, overloaded, answer]],
)
async def test_first_answer_counts(behaviours: list[Callable[[], Awaitable[str]]]) -> None:
    """Proves R-FAIL-21: a replica that hangs, and one that refuses the repetition, do not fail the read."""
    assert await Repetition().first_answer(replicas(*behaviours), 100.0) == "answer"


@pytest.mark.parametrize("behaviours", [[not_found], [hang, not_found]])
async def test_final_error_counts_as_an_answer(
    behaviours: list[Callable[[], Awaitable[str]]],
) -> None:
    """Proves R-FAIL-21: an error of the request is the same on every replica."""
    with pytest.raises(NotFound):
        await Repetition().first_answer(replicas(*behaviours), 100.0)


async def test_temporary_error_of_the_only_attempt_is_raised() -> None:
    """Proves R-FAIL-21: the caller decides whether it asks again."""
    with pytest.raises(Overloaded):
        await Repetition().first_answer(replicas(overloaded), 100.0)


async def test_repetitions_without_answers_are_bounded() -> None:
    """Proves R-RESIL-4: while no replica answers, repetitions would only add work."""
    sent = 0
    repeating = Repetition()

    async def send(_: float) -> str:
        nonlocal sent
        sent += 1
        await asyncio.sleep(0.3)
        raise Unavailable

    async def ask() -> None:
        with pytest.raises(Unavailable):
            await repeating.first_answer(send, 30.0)

    await asyncio.gather(*(ask() for _ in range(100)))
    assert 100 < sent <= 100 + MAX_BUDGET


@pytest.mark.parametrize(
    ("last", "permitted"), [(answer, True), (not_found, True), (overloaded, False)]
)
async def test_only_an_answered_read_permits_one_more_repetition(
    monkeypatch: pytest.MonkeyPatch, last: Callable[[], Awaitable[str]], permitted: bool
) -> None:
    """Proves R-RESIL-4: an error such as `not_found` is an answer, and `overloaded` is none."""
    monkeypatch.setattr(repetition, "MAX_BUDGET", 1.0)
    repeating = Repetition()
    repeated = asyncio.Event()

    async def late() -> str:
        await repeated.wait()
        raise Overloaded

    async def second() -> str:
        repeated.set()
        raise Overloaded

    with pytest.raises(Overloaded):
        await repeating.first_answer(replicas(late, second), 100.0)  # uses up the budget
    with contextlib.suppress(NotFound, Overloaded):
        await repeating.first_answer(replicas(last), 100.0)
    sent = 0

    async def send(_: float) -> str:
        nonlocal sent
        sent += 1
        return await answer() if sent == 2 else await hang()

    try:
        async with asyncio.timeout(20 if permitted else 0.3):
            await repeating.first_answer(send, 10.0)
    except TimeoutError:
        assert not permitted
    assert sent == (2 if permitted else 1)


async def test_late_answer_of_the_first_attempt_counts() -> None:
    """Proves R-FAIL-21: a slow replica's answer is not lost when the read is sent again."""
    repeated = asyncio.Event()

    async def late() -> str:
        await repeated.wait()
        return "late"

    async def second() -> str:
        repeated.set()
        return await hang()

    assert await Repetition().first_answer(replicas(late, second), 100.0) == "late"


async def test_late_temporary_error_of_the_first_attempt_does_not_end_the_read() -> None:
    """Proves R-FAIL-21: the other attempts continue."""
    repeated = asyncio.Event()

    async def late() -> str:
        await repeated.wait()
        raise Overloaded

    async def second() -> str:
        repeated.set()
        return await hang()

    assert await Repetition().first_answer(replicas(late, second, answer), 100.0) == "answer"


async def test_answer_of_a_further_attempt_leaves_no_cancellation() -> None:
    """Proves R-FAIL-21: ending the first attempt leaves no pending cancellation on the task of the read."""
    task = asyncio.create_task(Repetition().first_answer(replicas(hang, answer), 100.0))
    assert await task == "answer"
    assert task.cancelling() == 0


async def test_cancelled_read_ends_all_attempts() -> None:
    """Proves R-FAIL-21: no attempt continues for a client that has left."""
    ended: list[int] = []
    both_run = asyncio.Event()
    numbers = iter((1, 2))

    async def send(_: float) -> str:
        number = next(numbers)
        try:
            if number == 2:
                both_run.set()
            return await hang()
        finally:
            ended.append(number)

    task = asyncio.create_task(Repetition().first_answer(send, 100.0))
    await both_run.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert sorted(ended) == [1, 2]
