"""Local copies of state that another service owns."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import cast

import pytest
from structlog.testing import CapturingLogger

from svgx_common import background
from svgx_common.contract.errors import Unavailable
from svgx_common.messaging.bus import Bus, Listener
from svgx_gateway import watched_copy
from svgx_gateway.watched_copy import WatchedCopy


class FakeBus:
    """A bus that records listeners and reconnect callbacks."""

    def __init__(self) -> None:
        self.listeners: dict[str, Listener] = {}
        self.reconnect: list[Callable[[], Awaitable[None]]] = []

    async def listen(self, subject: str, listener: Listener) -> None:
        self.listeners[subject] = listener

    def on_reconnect(self, callback: Callable[[], Awaitable[None]]) -> None:
        self.reconnect.append(callback)


class Owner:
    """A service that owns state. It records reads and broadcasts."""

    def __init__(self) -> None:
        self.unavailable = False
        self.reads: asyncio.Queue[bool] = asyncio.Queue()
        self.broadcasts: list[bytes] = []
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def read(self) -> None:
        """Answer a read, or raise `Unavailable` while `unavailable` is set."""
        await self.may_answer.wait()
        self.reads.put_nowait(not self.unavailable)
        if self.unavailable:
            raise Unavailable

    async def on_broadcast(self, _: str, content: bytes) -> None:
        self.broadcasts.append(content)

    async def next_read(self) -> bool:
        """Wait for the next read. Return whether it was answered."""
        async with asyncio.timeout(10):
            return await self.reads.get()


@pytest.fixture
def bus() -> FakeBus:
    return FakeBus()


@pytest.fixture
def owner() -> Owner:
    return Owner()


@pytest.fixture
async def copy(bus: FakeBus, owner: Owner) -> AsyncIterator[WatchedCopy]:
    """Yield a copy that is not started. Stop it afterwards."""
    copy = WatchedCopy(
        "state",
        cast(Bus, bus),
        owner.read,
        subject="svgx.changed",
        on_broadcast=owner.on_broadcast,
    )
    yield copy
    await copy.stop()


async def test_copy_is_ready_after_the_first_answer(copy: WatchedCopy, owner: Owner) -> None:
    """A copy is not ready until its owner has answered once. Proves R-AUTH-19."""
    with pytest.raises(ConnectionError):
        await copy.ready()
    await copy.start()
    await copy.first_attempt()
    await copy.ready()
    assert await owner.next_read()


async def test_copy_retries_while_the_owner_does_not_answer(
    copy: WatchedCopy, owner: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the owner does not answer, the copy retries without waiting for a poll."""
    monkeypatch.setattr(watched_copy, "RETRY_SECONDS", 0.001)
    owner.unavailable = True
    await copy.start()
    await copy.first_attempt()
    with pytest.raises(ConnectionError):
        await copy.ready()
    assert not await owner.next_read()
    owner.unavailable = False
    while not await owner.next_read():
        pass
    await asyncio.sleep(0)
    await copy.ready()
    assert owner.reads.empty()


async def test_copy_polls(copy: WatchedCopy, owner: Owner, monkeypatch: pytest.MonkeyPatch) -> None:
    """The copy reads from its owner again every `POLL_SECONDS`."""
    monkeypatch.setattr(watched_copy, "POLL_SECONDS", 0.001)
    await copy.start()
    for _ in range(3):
        assert await owner.next_read()


async def test_reconnect_during_a_read_causes_another_read(
    copy: WatchedCopy, bus: FakeBus, owner: Owner
) -> None:
    """A reconnect causes a read at once, or as soon as a running read has ended. Proves R-AUTH-19."""
    owner.may_answer.clear()
    await copy.start()
    await asyncio.sleep(0)
    for callback in bus.reconnect:
        await callback()
    owner.may_answer.set()
    for _ in range(2):
        assert await owner.next_read()
    for callback in bus.reconnect:
        await callback()
    assert await owner.next_read()


async def test_broadcasts_are_received_before_the_first_read(
    copy: WatchedCopy, bus: FakeBus, owner: Owner
) -> None:
    """The copy listens before it reads, so that it misses no change in between. Proves R-AUTH-19."""
    owner.may_answer.clear()
    await copy.start()
    await bus.listeners["svgx.changed"]("svgx.changed", b"news")
    assert owner.broadcasts == [b"news"]
    assert owner.reads.empty()


async def test_stop_waits_for_the_end_of_the_task(copy: WatchedCopy, owner: Owner) -> None:
    """After `stop` no task of the copy runs."""
    owner.may_answer.clear()
    before = asyncio.all_tasks()
    await copy.start()
    await asyncio.sleep(0)
    assert asyncio.all_tasks() != before
    await copy.stop()
    assert asyncio.all_tasks() == before


@pytest.mark.parametrize(
    ("starting", "level"), [(60.0, "info"), (0.0, "warning")], ids=["start", "later"]
)
async def test_missing_answer_is_a_warning_only_after_the_start(
    copy: WatchedCopy,
    owner: Owner,
    monkeypatch: pytest.MonkeyPatch,
    starting: float,
    level: str,
) -> None:
    """Proves R-OBS-16: a missing answer is logged as information soon after the start, and as a warning later.

    A missing answer that repeats is not logged again at the same level.
    """
    logger = CapturingLogger()
    monkeypatch.setattr(background, "log", logger)
    monkeypatch.setattr(watched_copy, "RETRY_SECONDS", 0.001)
    monkeypatch.setattr(watched_copy, "STARTUP_SECONDS", starting)
    owner.unavailable = True
    await copy.start()
    for _ in range(4):
        await owner.next_read()
    assert [call.method_name for call in logger.calls] == [level]
