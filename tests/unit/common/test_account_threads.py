"""Work of accounts in threads: its turns, its result and its end."""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator

import pytest

from svgx_common.account_threads import AccountThreads


class HeldWork:
    """Pieces of work that run until they are released. `events` has the begin and the end of each."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()
        self._releases: dict[str, threading.Event] = {}

    def __call__(self, name: str) -> Callable[[], str]:
        """Return a piece of work with this name."""
        release = self._releases[name] = threading.Event()

        def work() -> str:
            self._note(f"{name} begins")
            assert release.wait(10)
            self._note(f"{name} ends")
            return name

        return work

    def _note(self, event: str) -> None:
        self.events.append(event)
        self._loop.call_soon_threadsafe(self._changed.set)

    async def release(self, name: str, *, then: str) -> None:
        """End a piece of work, and wait for an event."""
        self._releases[name].set()
        await self.wait_for(then)

    async def wait_for(self, event: str) -> None:
        async with asyncio.timeout(10):
            while event not in self.events:
                self._changed.clear()
                await self._changed.wait()


async def test_account_has_one_piece_of_work_and_others_are_not_delayed() -> None:
    """Proves R-HTTP-18: the work of another account runs before the further work of the first account."""
    threads, work = AccountThreads(1), HeldWork()
    names = ("a1", "a2", "a3", "b1")
    tasks = [asyncio.create_task(threads.run(name[0], work(name))) for name in names]
    await work.wait_for("a1 begins")
    assert work.events == ["a1 begins"]
    await work.release("a1", then="b1 begins")
    await work.release("b1", then="a2 begins")
    await work.release("a2", then="a3 begins")
    await work.release("a3", then="a3 ends")
    assert await asyncio.gather(*tasks) == list(names)
    assert [event for event in work.events if event.endswith("begins")] == [
        f"{name} begins" for name in ("a1", "b1", "a2", "a3")
    ]


async def test_two_accounts_run_at_a_time_with_a_limit_of_two() -> None:
    """Proves R-HTTP-18: no more pieces run at a time than the limit allows."""
    threads, work = AccountThreads(2), HeldWork()
    tasks = [asyncio.create_task(threads.run(name, work(name))) for name in ("a", "b", "c")]
    await work.wait_for("a begins")
    await work.wait_for("b begins")
    await asyncio.sleep(0)
    assert "c begins" not in work.events
    await work.release("b", then="c begins")
    await work.release("a", then="a ends")
    await work.release("c", then="c ends")
    await asyncio.gather(*tasks)


async def test_turn_and_memory_last_until_the_thread_of_a_cancelled_caller_has_ended() -> None:
    """Proves R-HTTP-18: a client that disconnects does not start a second thread beside the first."""
    threads, work = AccountThreads(1), HeldWork()
    kept: list[str] = []

    @contextlib.contextmanager
    def memory() -> Iterator[None]:
        kept.append("reserved")
        yield
        kept.append("released")

    first = asyncio.create_task(threads.run("a", work("first"), memory()))
    await work.wait_for("first begins")
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    second = asyncio.create_task(threads.run("a", work("second")))
    await asyncio.sleep(0)
    assert (work.events, kept) == (["first begins"], ["reserved"])
    await work.release("first", then="second begins")
    assert kept == ["reserved", "released"]
    await work.release("second", then="second ends")
    assert await second == "second"


async def test_failed_work_raises_and_ends_its_turn() -> None:
    """The next piece of work of the account runs."""
    threads = AccountThreads(1)
    with pytest.raises(ZeroDivisionError):
        await threads.run("a", lambda: 1 // 0)
    assert await threads.run("a", lambda: 2) == 2
