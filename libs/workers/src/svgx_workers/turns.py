"""The order in which accounts get the places of a pool: each account has a share, and a short queue of its own."""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from svgx_workers.errors import AccountBusy, WorkersBusy

_NO_ACCOUNT = ""
"""The result of `_next_account` when no waiting account may have a place. No account has this name."""


class Turns:
    """The `places` of a pool. A turn takes one place, and one account gets at most `share` places at a time.

    A free place goes to the waiting account with the fewest places. Among accounts with equally few places, it goes to
    the account that has had no new place for the longest time. At most `waiting` turns may wait in all, and at most
    `waiting_each` turns of one account.

    The account None is the service itself, for background work. The service has a share too, but any number of its
    turns may wait.
    """

    def __init__(self, places: int, share: int, *, waiting: int, waiting_each: int) -> None:
        self._free_places = places
        self._share = share
        self._max_waiting = waiting
        self._max_waiting_per_account = waiting_each
        self._taken_places: Counter[str | None] = Counter()
        self._queues: dict[str | None, deque[asyncio.Future[None]]] = {}
        """The waiting turns of each account that has waiting turns."""
        self._last_turns: dict[str | None, int] = {}
        """For each account that waits or has a place, the number of the account's last turn."""
        self._turn_count = 0

    @asynccontextmanager
    async def take(
        self, account: str | None, wait_seconds: float | None = None
    ) -> AsyncIterator[None]:
        """Wait for a place, and keep it until the block ends.

        Raises `AccountBusy` or `WorkersBusy` if too many turns wait already, or after `wait_seconds` without a place.
        With None, the wait has no limit.
        """
        if (
            self._free_places
            and self._taken_places[account] < self._share
            and account not in self._queues
        ):
            self._grant(account)
        else:
            await self._wait(account, wait_seconds)
        try:
            yield
        finally:
            self._release(account)

    async def _wait(self, account: str | None, wait_seconds: float | None) -> None:
        """Wait until the account is granted a place. When this call fails, the turn has no place."""
        self._check_waiting_limits(account)
        queue = self._queues.setdefault(account, deque())
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        queue.append(turn)
        try:
            async with asyncio.timeout(wait_seconds):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():
                # The place was granted just before the wait ended.
                self._release(account)
            elif turn in queue:
                queue.remove(turn)
                if not queue:
                    del self._queues[account]
            self._forget(account)
            if not isinstance(error, TimeoutError):
                raise
            if self._taken_places[account] >= self._share:
                raise AccountBusy("the account's other jobs take too long") from None
            raise WorkersBusy("other jobs take too long") from None

    @property
    def running(self) -> int:
        """Places that are taken."""
        return self._taken_places.total()

    @property
    def waiting(self) -> int:
        """Turns that wait, those of the service itself included."""
        return sum(map(len, self._queues.values()))

    def _check_waiting_limits(self, account: str | None) -> None:
        if account is None:
            return
        if len(self._queues.get(account, ())) >= self._max_waiting_per_account:
            raise AccountBusy(f"{self._max_waiting_per_account} jobs of the account wait already")
        waiting = sum(len(queue) for name, queue in self._queues.items() if name is not None)
        if waiting >= self._max_waiting:
            raise WorkersBusy("too many jobs are waiting")

    def _grant(self, account: str | None) -> None:
        self._free_places -= 1
        self._taken_places[account] += 1
        self._turn_count += 1
        self._last_turns[account] = self._turn_count

    def _release(self, account: str | None) -> None:
        self._free_places += 1
        self._taken_places[account] -= 1
        self._grant_free_places()
        self._forget(account)

    def _grant_free_places(self) -> None:
        while self._free_places and (account := self._next_account()) is not _NO_ACCOUNT:
            queue = self._queues[account]
            turn = queue.popleft()
            if not queue:
                del self._queues[account]
            if not turn.done():  # the waiter may have been cancelled
                self._grant(account)
                turn.set_result(None)

    def _next_account(self) -> str | None:
        """Return the waiting account that gets the next place, or `_NO_ACCOUNT`."""
        waiting = [name for name in self._queues if self._taken_places[name] < self._share]
        return min(
            waiting,
            key=lambda name: (self._taken_places[name], self._last_turns.get(name, 0)),
            default=_NO_ACCOUNT,
        )

    def _forget(self, account: str | None) -> None:
        """Forget an account that neither waits nor has a place."""
        if not self._taken_places[account] and account not in self._queues:
            self._last_turns.pop(account, None)
            self._taken_places.pop(account, None)
