"""Accounts share the places of a pool. Proves R-RESIL-5."""

import asyncio
import random
from collections import Counter

import pytest

from svgx_workers.errors import AccountBusy, WorkersBusy
from svgx_workers.turns import Turns


class ManualTurns:
    """Begins and ends turns, and notes their accounts."""

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self.running: list[str | None] = []
        self.order: list[str | None] = []
        self._ends: dict[str | None, list[asyncio.Event]] = {}
        self._tasks: list[asyncio.Task[None]] = []

    async def begin(self, *accounts: str | None) -> None:
        for account in accounts:
            self._tasks.append(asyncio.create_task(self._run(account)))
        await self.settle()

    async def end(self, account: str | None) -> None:
        self._ends[account].pop(0).set()
        await self.settle()

    async def settle(self) -> None:
        """Let the other tasks run until each waits."""
        for _ in range(5):
            await asyncio.sleep(0)

    async def _run(self, account: str | None) -> None:
        async with self._turns.take(account):
            end = asyncio.Event()
            self._ends.setdefault(account, []).append(end)
            self.running.append(account)
            self.order.append(account)
            try:
                await end.wait()
            finally:
                self.running.remove(account)

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def test_account_gets_no_more_than_its_share() -> None:
    manual = ManualTurns(Turns(4, 2, waiting=99, waiting_each=99))
    await manual.begin("a", "a", "a", "b")
    assert manual.running == ["a", "a", "b"]
    await manual.end("a")
    assert sorted(map(str, manual.running)) == ["a", "a", "b"]
    await manual.stop()


async def test_free_place_is_given_to_the_account_with_the_fewest_places() -> None:
    manual = ManualTurns(Turns(3, 2, waiting=99, waiting_each=99))
    await manual.begin("a", "a", "b", "b", "c")
    await manual.end("a")
    assert manual.order[-1] == "c"
    await manual.stop()


async def test_accounts_with_equal_places_take_turns() -> None:
    manual = ManualTurns(Turns(1, 1, waiting=99, waiting_each=99))
    await manual.begin("a", "a", "a", "b", "b", "c")
    for account in ("a", "b", "c", "a", "b"):
        assert manual.running == [account]
        await manual.end(account)
    assert manual.order == ["a", "b", "c", "a", "b", "a"]
    await manual.stop()


async def test_service_itself_has_a_share_and_any_number_of_waiting_turns() -> None:
    manual = ManualTurns(Turns(2, 1, waiting=1, waiting_each=1))
    await manual.begin(None, None, None, None, "a")
    assert manual.running == [None, "a"]
    for _ in range(4):
        await manual.end(None)
    assert manual.order.count(None) == 4
    await manual.stop()


async def test_cancelled_and_expired_waits_leave_their_place_to_others() -> None:
    """A wait that ends at the moment of the grant gives the place back."""
    turns = Turns(1, 1, waiting=9, waiting_each=9)

    async def wait(account: str) -> None:
        async with turns.take(account):
            pass

    for _ in range(3):
        async with turns.take("a"):
            cancelled = [asyncio.create_task(wait(name)) for name in ("a", "b", "c")]
            last = asyncio.create_task(wait("d"))
            await asyncio.sleep(0)
            cancelled[0].cancel()
            with pytest.raises(AccountBusy):
                async with turns.take("a", 0.001):
                    pass
            with pytest.raises(WorkersBusy):
                async with turns.take("e", 0.001):
                    pass
        for task in cancelled[1:]:
            task.cancel()  # "b" was granted the place just now
        await last
        results = await asyncio.gather(*cancelled, return_exceptions=True)
        assert {type(result) for result in results} == {asyncio.CancelledError}


@pytest.mark.parametrize("seed", range(20))
async def test_no_place_is_lost_or_given_twice(seed: int) -> None:
    """Random turns, with cancellations and short waits, keep all bounds and end with all places free."""
    rng = random.Random(seed)
    places, share = rng.randint(1, 4), rng.randint(1, 3)
    turns = Turns(places, share, waiting=6, waiting_each=3)
    running: Counter[str | None] = Counter()
    served = 0

    async def run(account: str | None) -> None:
        nonlocal served
        async with turns.take(account, rng.choice([None, 0.0, 0.0005])):
            running[account] += 1
            assert running.total() <= places
            assert running[account] <= share
            try:
                for _ in range(rng.randint(0, 4)):
                    await asyncio.sleep(0)
            finally:
                running[account] -= 1
            served += 1

    tasks = []
    for _ in range(300):
        tasks.append(asyncio.create_task(run(rng.choice(["a", "a", "a", "b", "c", None]))))
        if rng.random() < 0.3:
            rng.choice(tasks).cancel()
        if rng.random() < 0.5:
            await asyncio.sleep(0)
    results = await asyncio.gather(*tasks, return_exceptions=True)
    kinds = {type(result) for result in results}
    assert kinds <= {type(None), asyncio.CancelledError, AccountBusy, WorkersBusy}
    assert served > 20
    async with asyncio.timeout(5):
        manual = ManualTurns(turns)
        await manual.begin(*(f"after-{number}" for number in range(places)))
        assert len(manual.running) == places
        await manual.stop()
    assert not turns._last_turns
    assert not turns._taken_places
    assert not turns._queues
