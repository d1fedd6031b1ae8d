"""The queue of requests that use a password: short, bounded and fair (docs/decisions/0038).

A password hash occupies a core for 20 ms or more. Therefore, in a flood of log-ins, a few wait and the others are
refused at once. Log-ins from different networks are served in turn. In a full queue, a new log-in replaces the last
log-in of the network with the most log-ins. That network must have at least two more than the new log-in's network.
Requests of signed-in callers come before log-ins.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator

from prometheus_client import Counter, Gauge

from svgx_common.contract.errors import Overloaded, SvgxError, TooManyRequests

WAITING = Gauge("svgx_engine_password_queue", "Requests that wait until a password worker is free.")
REFUSED = Counter(
    "svgx_engine_password_refused",
    "Requests refused because the password queue, or the caller's share of it, was full.",
    ["reason"],
)
for _reason in ("share", "full"):
    REFUSED.labels(_reason)

RETRY_SECONDS = 2.0
"""Seconds until a refused client may try again. A full queue is usually empty by then."""

_Turn = asyncio.Future[None]


class _Lane:
    """A queue for requests of one kind, by customer: a network or a user.

    Customers are served in turn. The requests of one customer keep their order.
    """

    def __init__(self, limit: int, full: type[SvgxError]) -> None:
        self._limit = limit
        self._full_error = full
        """The error for a customer without a request in the full lane."""
        self._waiting: dict[str, deque[_Turn]] = {}
        """The waiting requests of each customer. The first customer's request is the next."""
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, customer: str) -> _Turn:
        """Add a request. Return its turn: a future that is done when the request may begin, or when it is refused.

        In a full lane, the request replaces the last request of the customer with the most requests, if that customer
        has at least two more than this customer. Otherwise, raises `TooManyRequests` for a customer with a request in
        the lane, and the lane's error for a customer without a request.
        """
        if self._count >= self._limit:
            self._make_room(customer)
        turn: _Turn = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(customer, deque()).append(turn)
        self._count += 1
        return turn

    def next(self) -> _Turn:
        """Remove and return the next turn of a lane that is not empty."""
        customer, turns = next(iter(self._waiting.items()))
        del self._waiting[customer]
        turn = turns.popleft()
        if turns:
            self._waiting[customer] = turns  # behind the other customers
        self._count -= 1
        return turn

    def remove(self, customer: str, turn: _Turn) -> None:
        """Remove a request that no longer waits, if it is still in the lane."""
        turns = self._waiting.get(customer)
        if turns is None or turn not in turns:
            return
        turns.remove(turn)
        self._count -= 1
        if not turns:
            del self._waiting[customer]

    def _make_room(self, customer: str) -> None:
        own = len(self._waiting.get(customer, ()))
        largest = max(self._waiting, key=lambda each: len(self._waiting[each]))
        if len(self._waiting[largest]) < own + 2:
            raise self._refusal("full") if own == 0 else self._refusal("share")
        turn = self._waiting[largest].pop()
        self._count -= 1
        if not turn.done():
            turn.set_exception(self._refusal("share"))

    def _refusal(self, reason: str) -> SvgxError:
        """Return the error for a request that gets no place in the lane, and count the refusal."""
        REFUSED.labels(reason).inc()
        if reason == "share":
            detail = "too many of your requests that use a password are waiting; try again"
            return TooManyRequests(detail, retry_after=RETRY_SECONDS)
        detail = "too many requests that use a password are waiting; try again"
        return self._full_error(detail, retry_after=RETRY_SECONDS)


class PasswordQueue:
    """A limit for the requests that use a password at the same time.

    `slots` requests run at the same time. At most `waiting` log-ins wait, and at most `waiting` requests of signed-in
    callers. The requests of signed-in callers come first.
    """

    def __init__(self, *, slots: int, waiting: int) -> None:
        self._free = slots
        # `Overloaded` would open the gateway's circuit breaker for all quick operations, because `UPDATE_USER`, which
        # may set a password, is a quick operation.
        self._signed_in = _Lane(waiting, TooManyRequests)
        self._log_ins = _Lane(waiting, Overloaded)

    @contextlib.asynccontextmanager
    async def log_in(self, network: str) -> AsyncIterator[None]:
        """Wait for the turn of a log-in from a network, and keep the turn until the block ends.

        Raises `TooManyRequests` when too many log-ins from this network wait, and `Overloaded` when the queue is full.
        """
        async with self._turn(self._log_ins, network):
            yield

    @contextlib.asynccontextmanager
    async def signed_in(self, user_id: str) -> AsyncIterator[None]:
        """Wait for the turn of a signed-in caller's request, and keep the turn until the block ends.

        Raises `TooManyRequests` when too many requests of this or of all signed-in callers wait.
        """
        async with self._turn(self._signed_in, user_id):
            yield

    @contextlib.asynccontextmanager
    async def _turn(self, lane: _Lane, customer: str) -> AsyncIterator[None]:
        if self._free:
            self._free -= 1
        else:
            await self._wait(lane, customer)
        try:
            yield
        finally:
            self._release_slot()

    async def _wait(self, lane: _Lane, customer: str) -> None:
        turn = lane.add(customer)
        self._update_gauge()
        try:
            await turn
        except asyncio.CancelledError:
            lane.remove(customer, turn)
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self._release_slot()  # the request got its slot at the moment of the cancellation
            raise
        finally:
            self._update_gauge()

    def _release_slot(self) -> None:
        """Give the slot to the next waiting request. Without a waiting request, free the slot."""
        for lane in (self._signed_in, self._log_ins):
            while lane:
                turn = lane.next()
                if not turn.done():
                    turn.set_result(None)
                    return
        self._free += 1

    def _update_gauge(self) -> None:
        WAITING.set(len(self._signed_in) + len(self._log_ins))
