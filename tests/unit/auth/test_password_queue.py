"""The queue of requests that use a password: bounded, fair between networks, with signed-in callers first."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from svgx_auth.passwords.queue import PasswordQueue
from svgx_common.contract.errors import Overloaded, SvgxError, TooManyRequests


class ObservedQueue:
    """A password queue with requests that keep their slots until the test releases them.

    A customer is a network or a user. `served` has the customers of the requests that got a slot, in order.
    """

    def __init__(self, *, slots: int = 1, waiting: int = 4) -> None:
        self._password_queue = PasswordQueue(slots=slots, waiting=waiting)
        self.served: list[str] = []
        self._release: asyncio.Queue[None] = asyncio.Queue()
        self._tasks: list[asyncio.Task[None]] = []

    async def request(self, customer: str, *, signed_in: bool = False) -> asyncio.Task[None]:
        """Start a request. Return its task as soon as the request has a slot, waits or is refused."""
        wait_for_slot = self._password_queue.signed_in if signed_in else self._password_queue.log_in

        async def work() -> None:
            async with wait_for_slot(customer):
                self.served.append(customer)
                await self._release.get()

        task = asyncio.create_task(work())
        self._tasks.append(task)
        await self.settle()
        return task

    async def settle(self) -> None:
        """Let all tasks run until each of them waits."""
        for _ in range(5):
            await asyncio.sleep(0)

    async def release(self, count: int = 1) -> None:
        """End `count` requests that have a slot, one after the other."""
        for _ in range(count):
            self._release.put_nowait(None)
            await self.settle()

    async def close(self) -> None:
        """Cancel all requests, and wait until they have ended."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@contextlib.asynccontextmanager
async def observe_queue(*, slots: int = 1, waiting: int = 4) -> AsyncIterator[ObservedQueue]:
    queue = ObservedQueue(slots=slots, waiting=waiting)
    try:
        yield queue
    finally:
        await queue.close()
        assert queue._password_queue._free == slots


def refusal(task: asyncio.Task[None]) -> SvgxError:
    """Return the error of a refused request."""
    assert task.done()
    error = task.exception()
    assert isinstance(error, SvgxError)
    assert error.retry_after is not None
    return error


@pytest.mark.parametrize(
    ("sent", "served"),
    [
        ("a", "a"),
        ("ab", "ab"),
        ("aaab", "aaba"),
        ("aaabb", "aabab"),
        ("aaabc", "aabca"),
        ("abcd", "abcd"),
        ("aabba", "aabab"),
    ],
)
async def test_networks_take_turns(sent: str, served: str) -> None:
    """Proves R-AUTH-40: networks take turns, in the order in which they began to wait."""
    async with observe_queue() as queue:
        for network in sent:
            await queue.request(network)
        await queue.release(len(sent))
        assert "".join(queue.served) == served


@pytest.mark.parametrize(
    ("waiting", "newcomer", "refused", "error"),
    [
        ("aaaa", "a", "newcomer", TooManyRequests),
        ("aaaa", "b", "a", TooManyRequests),
        ("aabb", "c", "a", TooManyRequests),
        ("abbb", "c", "b", TooManyRequests),
        ("abbb", "a", "b", TooManyRequests),
        ("aabb", "a", "newcomer", TooManyRequests),
        ("abcc", "a", "newcomer", TooManyRequests),
        ("abcd", "e", "newcomer", Overloaded),
        ("abcd", "a", "newcomer", TooManyRequests),
    ],
)
async def test_full_queue_refuses_the_new_log_in_or_one_of_the_busiest_network(
    waiting: str, newcomer: str, refused: str, error: type[SvgxError]
) -> None:
    """Proves R-AUTH-40: a full queue refuses the new log-in, or one of the network with the most log-ins.

    The new log-in is refused, unless its network has at least two fewer log-ins than the network with the most.
    """
    async with observe_queue() as queue:
        await queue.request("first")
        tasks = [(network, await queue.request(network)) for network in waiting]
        last = await queue.request(newcomer)
        done = [(network, task) for network, task in (*tasks, ("newcomer", last)) if task.done()]
        assert [network for network, _ in done] == [refused]
        assert type(refusal(done[0][1])) is error


async def test_signed_in_callers_come_before_log_ins() -> None:
    """Proves R-AUTH-40: a full queue of log-ins neither refuses nor delays a signed-in caller."""
    async with observe_queue() as queue:
        for network in "abcde":
            await queue.request(network)
        admin = await queue.request("admin", signed_in=True)
        assert not admin.done()
        await queue.release(2)
        assert queue.served == ["a", "admin", "b"]


@pytest.mark.parametrize(("waiting", "newcomer"), [("aaaa", "a"), ("abcd", "e"), ("abcd", "a")])
async def test_full_queue_of_signed_in_callers_refuses_with_429(
    waiting: str, newcomer: str
) -> None:
    """Proves R-AUTH-40: the refusal is 429, because a 503 may open the gateway's circuit breaker."""
    async with observe_queue() as queue:
        for user in ("first", *waiting):
            await queue.request(user, signed_in=True)
        assert type(refusal(await queue.request(newcomer, signed_in=True))) is TooManyRequests


async def test_slots_bound_the_requests_that_run() -> None:
    """Proves R-AUTH-40: as many requests run as there are slots."""
    async with observe_queue(slots=3) as queue:
        for _ in range(6):
            await queue.request("a")
        assert len(queue.served) == 3


async def test_cancelled_request_frees_its_place() -> None:
    """Proves R-AUTH-40: a request that is cancelled while it waits, or when it gets a slot, frees its place or slot."""
    async with observe_queue() as queue:
        await queue.request("a")
        waiting = [await queue.request(network) for network in "bbcd"]
        waiting[1].cancel()
        waiting[2].cancel()
        await queue.settle()
        next_request = await queue.request("e")
        await queue.request("f")
        await queue.release(2)
        assert queue.served == ["a", "b", "d"]
        queue._release.put_nowait(None)
        await asyncio.sleep(0)  # "d" ends, and "e" gets the slot
        next_request.cancel()
        await queue.settle()
        assert queue.served == ["a", "b", "d", "f"]


async def test_failed_work_frees_its_slot() -> None:
    """Proves R-AUTH-40: a request that fails frees its slot for the next request."""
    queue = PasswordQueue(slots=1, waiting=1)
    for _ in range(3):
        with pytest.raises(RuntimeError):
            async with queue.log_in("a"):
                raise RuntimeError
    async with queue.log_in("b"):
        pass
