"""Clients that join at the same time share sync requests."""

import asyncio

import pytest

from svgx_common.contract.collab import SyncReply
from svgx_common.contract.errors import NotFound
from svgx_gateway.websocket.shared_sync import LARGE_BYTES, SharedReply, SharedSync
from svgx_gateway.websocket.transport.frames import encode_frame
from svgx_yjs import protocol


class Holder:
    """A holder that answers when the test allows it. The content of an answer is the number of the request."""

    def __init__(self) -> None:
        self.requests: list[bytes] = []
        self.asked = asyncio.Semaphore(0)
        self.answers = asyncio.Semaphore(0)
        self.error: Exception | None = None

    async def answer(self, state_vector: bytes) -> SyncReply:
        self.requests.append(state_vector)
        number = len(self.requests)
        self.asked.release()
        await self.answers.acquire()
        if self.error is not None:
            raise self.error
        return SyncReply("epoch", number, b"", str(number).encode(), b"")


async def updates(*joins: "asyncio.Task[SharedReply]") -> list[bytes]:
    """Return the content that each client got."""
    async with asyncio.timeout(5):
        return [shared.reply.update for shared in await asyncio.gather(*joins)]


async def test_clients_that_join_at_the_same_time_share_one_request() -> None:
    """The holder encodes the content once, and the gateway encodes its frame once. Proves R-SYNC-3."""
    holder = Holder()
    sync = SharedSync(holder.answer)
    joins = [asyncio.create_task(sync.ask(b"\x00")) for _ in range(100)]
    holder.answers.release()
    assert await updates(*joins) == [b"1"] * 100
    replies = {await join for join in joins}
    assert len(replies) == 1
    (shared,) = replies
    assert shared.frame is shared.frame
    assert shared.frame == encode_frame(protocol.encode_sync_step_2(b"1"))


@pytest.mark.parametrize(("size", "turns"), [(LARGE_BYTES, 1), (LARGE_BYTES + 1, 5)])
async def test_large_reply_is_delivered_to_one_client_at_a_time(size: int, turns: int) -> None:
    """Other tasks run before a large reply is encoded, and between its deliveries to two clients. Proves R-BOUND-6."""
    turn = 0

    async def work() -> None:
        nonlocal turn
        while True:
            await asyncio.sleep(0)
            turn += 1

    async def answer(_: bytes) -> SyncReply:
        return SyncReply("epoch", 1, b"", bytes(size), b"")

    async def join() -> int:
        await sync.ask(b"\x00")
        return turn

    sync = SharedSync(answer)
    other = asyncio.create_task(work())
    async with asyncio.timeout(5):
        joined = await asyncio.gather(*(join() for _ in range(5)))
    other.cancel()
    assert len(set(joined)) == turns


async def test_client_that_joins_during_a_request_gets_the_next_one() -> None:
    """A client does not get a broadcast from before its join, so it needs a request that starts after its join.

    Proves R-SYNC-3.
    """
    holder = Holder()
    sync = SharedSync(holder.answer)
    first = asyncio.create_task(sync.ask(b"\x00"))
    await holder.asked.acquire()
    later = [asyncio.create_task(sync.ask(b"\x00")) for _ in range(3)]
    other = asyncio.create_task(sync.ask(b"\x01"))
    await holder.asked.acquire()
    assert holder.requests == [b"\x00", b"\x01"]
    for _ in range(3):
        holder.answers.release()
    assert await updates(first, other, *later) == [b"1", b"2", b"3", b"3", b"3"]


async def test_error_reaches_all_clients_of_the_request() -> None:
    """The next clients start a new request."""
    holder = Holder()
    holder.error = NotFound("there is no such canvas")
    sync = SharedSync(holder.answer)
    holder.answers.release()
    joins = [asyncio.create_task(sync.ask(b"\x00")) for _ in range(2)]
    for join in joins:
        with pytest.raises(NotFound):
            await join
    holder.error = None
    holder.answers.release()
    assert await updates(asyncio.create_task(sync.ask(b"\x00"))) == [b"2"]


async def test_client_that_leaves_does_not_end_the_request_of_the_others() -> None:
    """The first client, which started the request, leaves."""
    holder = Holder()
    sync = SharedSync(holder.answer)
    first, second = (asyncio.create_task(sync.ask(b"\x00")) for _ in range(2))
    await holder.asked.acquire()
    first.cancel()
    holder.answers.release()
    assert await updates(second) == [b"1"]
    assert first.cancelled()
