"""A join repeats its question to a service that does not answer, for a limited time."""

import asyncio

import pytest

from svgx_common.contract.errors import Forbidden, NotFound, SvgxError, Unavailable
from svgx_gateway.websocket.sessions import join_retries
from svgx_gateway.websocket.sessions.join_retries import CONCURRENT_ATTEMPTS, WAITING, JoinRetries
from tests.polling import pause


class Service:
    """A service that raises `error`, or answers if `error` is None."""

    def __init__(self, error: SvgxError | None) -> None:
        self.error = error
        self.asked = 0
        self.running = 0
        self.most_running = 0
        self.repeated = asyncio.Event()
        """Set by the second question."""

    async def ask(self) -> str:
        """Return the answer, or raise the error."""
        self.asked += 1
        if self.asked > 1:
            self.repeated.set()
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        await asyncio.sleep(0)
        self.running -= 1
        if self.error is not None:
            raise self.error
        return "answer"


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the pauses between attempts."""
    monkeypatch.setattr(join_retries, "SHORTEST_PAUSE_SECONDS", 0.001)
    monkeypatch.setattr(join_retries, "LONGEST_PAUSE_SECONDS", 0.002)


async def test_question_is_repeated_until_the_service_answers() -> None:
    """Proves R-FAIL-26: the client waits, and is counted while it waits."""
    service = Service(Unavailable())
    waiting = asyncio.create_task(JoinRetries().until_answered(service.ask))
    async with asyncio.timeout(10):
        await service.repeated.wait()
        assert WAITING._value.get() == 1
        service.error = None
        assert await waiting == "answer"
    assert WAITING._value.get() == 0


async def test_wait_beyond_its_time_limit_raises_the_last_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Proves R-FAIL-26: the wait has a time limit, also while an attempt is running."""
    monkeypatch.setattr(join_retries, "RETRY_SECONDS", 0.05)
    with pytest.raises(Unavailable, match="down"):
        await JoinRetries().until_answered(Service(Unavailable("down")).ask)

    asked = 0

    async def hang() -> None:
        nonlocal asked
        asked += 1
        if asked == 1:
            raise Unavailable("frozen")
        await asyncio.Event().wait()

    with pytest.raises(Unavailable, match="frozen"):
        await JoinRetries().until_answered(hang)


@pytest.mark.parametrize("error", [NotFound(), Forbidden()])
async def test_question_with_a_final_error_is_not_repeated(error: SvgxError) -> None:
    """Proves R-FAIL-26: a question is repeated only after a temporary error."""
    service = Service(error)
    with pytest.raises(type(error)):
        await JoinRetries().until_answered(service.ask)
    assert service.asked == 1


async def test_drain_ends_the_wait() -> None:
    """Proves R-FAIL-26: a stopping gateway sends waiting clients to another gateway."""
    draining = False
    service = Service(Unavailable())
    waiting = asyncio.create_task(JoinRetries(lambda: draining).until_answered(service.ask))
    await service.repeated.wait()
    draining = True
    with pytest.raises(Unavailable):
        await waiting


async def test_many_waiting_clients_do_not_flood_the_service() -> None:
    """Proves R-FAIL-26: at most `CONCURRENT_ATTEMPTS` repeated questions run at a time."""
    service = Service(Unavailable())
    shared = JoinRetries()
    waiting = [asyncio.create_task(shared.until_answered(service.ask)) for _ in range(100)]
    await service.repeated.wait()
    while service.asked < 100:
        await pause()
    service.most_running = 0
    while service.asked < 400:
        await pause()
    service.error = None
    assert await asyncio.gather(*waiting) == ["answer"] * 100
    assert service.most_running <= CONCURRENT_ATTEMPTS
