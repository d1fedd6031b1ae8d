"""The turns of syncs and the memory of outgoing bytes, with a clock that the test moves."""

import asyncio
from dataclasses import dataclass, field

import pytest

from svgx_common.contract.close_codes import Close
from svgx_common.contract.errors import Overloaded
from svgx_gateway.memory import outgoing as module
from svgx_gateway.memory.outgoing import (
    LARGE_BYTES,
    MAX_WAIT_SECONDS,
    POLL_SECONDS,
    Outgoing,
    OutgoingConnection,
    OutgoingLimits,
)
from tests.clock import Clock

MB = 1024 * 1024


@dataclass(eq=False)
class Client:
    account: str = "user:ann"
    unsent_bytes: int = 0
    sent_bytes: int = 0
    closed: list[Close] = field(default_factory=list)

    def close(self, code: Close, reason: str) -> None:
        self.closed.append(code)


class WaitingClock(Clock):
    """A clock that the waits of `Outgoing` move forward."""

    def __init__(self) -> None:
        super().__init__()
        self.waited: list[float] = []

    async def sleep(self, seconds: float) -> None:
        """Move the time forward, and return at once."""
        self.waited.append(seconds)
        self.now += seconds


async def sync(
    outgoing: Outgoing, client: Client, size: int, canvas: str = "c", *, is_full: bool = True
) -> None:
    async with outgoing.turn(client, canvas) as turn:
        turn.size, turn.is_full = size, is_full


def with_clients(outgoing: Outgoing, *clients: Client) -> Outgoing:
    for client in clients:
        outgoing.add(client)
    return outgoing


async def test_second_full_sync_of_a_connection_waits() -> None:
    """After a large reply, the connection's next sync waits for three seconds. Other connections do not wait.

    A small reply delays no sync. Proves R-BOUND-6.
    """
    clock, one, other = WaitingClock(), Client(), Client("user:bob")
    outgoing = with_clients(
        Outgoing(OutgoingLimits(sync_seconds=3.0), clock, clock.sleep), one, other
    )
    await sync(outgoing, one, LARGE_BYTES - 1)
    await sync(outgoing, one, MB)
    assert clock.waited == []
    await sync(outgoing, other, MB)
    assert clock.waited == []
    await sync(outgoing, one, MB)
    assert clock.waited == [pytest.approx(3.0)]


async def test_syncs_of_an_account_wait_once_its_bytes_are_used_up() -> None:
    """Once an account has used up its bytes, the syncs of all its connections wait. Proves R-BOUND-6."""
    clock = WaitingClock()
    limits = OutgoingLimits(sync_seconds=0, account_rate=MB, account_burst=4 * MB)
    clients, other = [Client() for _ in range(6)], Client("user:bob")
    outgoing = with_clients(Outgoing(limits, clock, clock.sleep), *clients, other)
    for client in clients[:5]:
        await sync(outgoing, client, MB)
    assert clock.waited == []
    await sync(outgoing, clients[5], MB)
    assert sum(clock.waited) == pytest.approx(1.0)
    await sync(outgoing, other, MB)
    assert sum(clock.waited) == pytest.approx(1.0)


async def test_sync_waits_while_clients_of_its_account_do_not_read() -> None:
    """A sync without memory for its reply waits, and is refused after a minute. Other accounts do not wait.

    Proves R-BOUND-7.
    """
    clock = WaitingClock()
    slow, second, other = Client(), Client(), Client("user:bob")
    limits = OutgoingLimits(account_memory=4 * MB, memory=100 * MB)
    outgoing = with_clients(Outgoing(limits, clock, clock.sleep), slow, second, other)
    await sync(outgoing, slow, 3 * MB)
    slow.unsent_bytes = 3 * MB
    with pytest.raises(Overloaded) as refused:
        await sync(outgoing, second, 3 * MB)
    assert refused.value.limit == 4 * MB
    assert sum(clock.waited) == pytest.approx(MAX_WAIT_SECONDS, abs=1)
    clock.waited.clear()
    await sync(outgoing, other, 3 * MB)
    assert clock.waited == []
    slow.unsent_bytes = 0
    await sync(outgoing, second, 3 * MB)
    assert clock.waited == []


async def test_syncs_in_flight_reserve_their_memory() -> None:
    """The account's memory divided by the canvas's known size gives the number of syncs that run at the same time.

    Without a known size, eight syncs run. Proves R-BOUND-7.
    """
    clock, clients = WaitingClock(), [Client() for _ in range(9)]
    limits = OutgoingLimits(sync_seconds=0, account_memory=4 * MB)
    outgoing = with_clients(Outgoing(limits, clock, clock.sleep), *clients)
    for size, count in ((0, 8), (MB, 4)):
        if size:
            await sync(outgoing, clients[0], size)
        turns = [outgoing.turn(client, "c") for client in clients[:count]]
        for turn in turns:
            await turn.__aenter__()
        assert clock.waited == []
        assert outgoing._seconds_to_wait(clients[count], MB)[0] == "memory"
        for turn in turns:
            await turn.__aexit__(None, None, None)
        assert outgoing._seconds_to_wait(clients[count], MB)[0] == ""


async def test_size_of_a_canvas_is_that_of_its_last_full_sync_or_a_larger_reply(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A larger reply raises the known size. Smaller catch-ups and failed syncs change nothing. Proves R-BOUND-7.

    The number of known sizes is bounded.
    """
    monkeypatch.setattr(module, "MAX_REMEMBERED", 3)
    client = Client()
    outgoing = with_clients(Outgoing(OutgoingLimits(sync_seconds=0, account_memory=8 * MB)), client)
    await sync(outgoing, client, 10, is_full=False)
    assert outgoing._sizes == {}
    await sync(outgoing, client, 3 * MB)
    for size in (0, 10, MB):
        await sync(outgoing, client, size, is_full=False)
    assert outgoing._sizes == {"c": 3 * MB}
    await sync(outgoing, client, 4 * MB, is_full=False)
    assert outgoing._sizes == {"c": 4 * MB}
    for number in range(5):
        await sync(outgoing, client, number, f"small-{number}")
    assert outgoing._sizes == {f"small-{number}": LARGE_BYTES for number in (2, 3, 4)}


async def test_sum_of_the_unsent_bytes_is_reused_for_a_tenth_of_a_second() -> None:
    """A reply counts at once. Other changes count when the sum is computed again. Proves R-BOUND-7."""
    clock, client, other = WaitingClock(), Client(), Client("user:bob")
    limits = OutgoingLimits(sync_seconds=0, memory=8 * MB)
    outgoing = with_clients(Outgoing(limits, clock, clock.sleep), client, other)
    await sync(outgoing, client, 6 * MB)
    client.unsent_bytes = 6 * MB
    assert outgoing._seconds_to_wait(other, 4 * MB) == ("memory", POLL_SECONDS)
    client.unsent_bytes = 0
    assert outgoing._seconds_to_wait(other, 4 * MB) == ("memory", POLL_SECONDS)
    clock.now += POLL_SECONDS
    assert outgoing._seconds_to_wait(other, 4 * MB) == ("", 0.0)


async def test_slow_clients_are_closed_while_memory_is_scarce() -> None:
    """While more than half of the memory is in use, a client with many unsent bytes is closed if it reads too slowly.

    A client that reads fast stays connected, even if new broadcasts wait for it. Proves R-BOUND-7.
    """
    slow, quick, small = (
        Client(unsent_bytes=6 * MB),
        Client("user:bob", 6 * MB),
        Client("user:cy", 1),
    )
    outgoing = with_clients(Outgoing(OutgoingLimits(memory=10 * MB)), slow, quick, small)
    before: dict[OutgoingConnection, int] = {each: each.sent_bytes for each in (slow, quick, small)}
    quick.sent_bytes = 5 * MB
    outgoing.close_slow(before, 5.0)
    assert (slow.closed, quick.closed, small.closed) == ([Close.OVERLOADED], [], [])
    slow.closed.clear()
    slow.unsent_bytes = quick.unsent_bytes = 2 * MB
    outgoing.close_slow({slow: 0, quick: 5 * MB}, 5.0)
    assert not slow.closed


async def test_removed_connection_takes_no_memory() -> None:
    """The unsent bytes of a removed connection do not count. Proves R-BOUND-7."""
    outgoing, client = Outgoing(), Client(unsent_bytes=5 * MB)
    outgoing.add(client)
    outgoing.remove(client)
    outgoing.remove(client)
    assert outgoing._unsent() == 0
    async with asyncio.timeout(10):
        await sync(outgoing, client, MB)
