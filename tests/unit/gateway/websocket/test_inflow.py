"""The inflow of one connection: rates, floods, and the memory for large messages."""

import pytest

from svgx_gateway.websocket.transport import inflow as module
from svgx_gateway.websocket.transport.inflow import Inflow, InflowLimits, LargeMessages
from tests.clock import Clock

MIB = 1024 * 1024


def send_frames(
    limits: InflowLimits, frames: list[tuple[float, int]], clock: Clock
) -> tuple[float, float, bool]:
    """Send frames, given as (second, size). Return the longest and the last delay, and whether the client floods."""
    inflow = Inflow(limits, LargeMessages(MIB), clock)
    start, longest, delay = clock.now, 0.0, 0.0
    for at, size in frames:
        clock.now = max(clock.now, start + at)
        clock.now += inflow.seconds_to_wait()
        inflow.count(size)
        delay = clock.now - start - at
        longest = max(longest, delay)
        if inflow.is_flooding:
            return longest, delay, True
    return longest, delay, False


def steady(rate: float, seconds: float, size: int = 60) -> list[tuple[float, int]]:
    """Return frames at a rate."""
    return [(number / rate, size) for number in range(int(rate * seconds))]


ORDINARY_CLIENTS = {
    "450 map.set calls in one turn": ([(0.0, 60)] * 450, 0.0),
    "5,000 map.set calls in one turn": ([(0.0, 60)] * 5_000, 8.1),
    "two elements dragged at 60 Hz, x and y set separately": (steady(240, 15), 0.0),
    "four elements dragged at 60 Hz, x and y set separately": (steady(480, 15), 0.0),
    "a cursor at 240 Hz and a drag at 240 Hz": (steady(480, 15), 0.0),
    "120 frames a second over a network that stalls for 4 s": (
        steady(120, 10) + [(14.0, 60)] * 480 + [(14 + at, size) for at, size in steady(120, 10)],
        0.0,
    ),
    "120 frames a second over a network that stalls for 20 s": (
        steady(120, 10) + [(30.0, 60)] * 2400 + [(30 + at, size) for at, size in steady(120, 10)],
        3.0,
    ),
    "three photos of 5 MB": ([(0.0, 5_000_000)] * 3, 0.0),
    "three photos of 5 MB in base64, then a cursor": (
        [(0.0, 6_700_000)] * 3 + steady(60, 10),
        2.0,
    ),
    "ten photos of 5 MB in base64": ([(0.0, 6_700_000)] * 10, 30.0),
    "a first sync of 18.9 MB, then a cursor": ([(0.0, 18_900_000), *steady(60, 10)], 1.1),
}
"""The frames of ordinary clients, and the longest permitted delay of a frame in seconds."""


@pytest.mark.parametrize(("frames", "delay"), ORDINARY_CLIENTS.values(), ids=ORDINARY_CLIENTS)
def test_ordinary_client_is_delayed_briefly_and_never_closed(
    frames: list[tuple[float, int]], delay: float
) -> None:
    """With the default limits each frame is read within `delay` seconds. Proves R-LIMIT-10."""
    longest, last, flooding = send_frames(InflowLimits(), frames, Clock())
    assert not flooding
    assert longest <= delay + 0.001
    assert last <= delay + 0.001


FAST_CLIENTS = {
    "twice the limit": (steady(1000, 130), True),
    "ten times the limit": (steady(5000, 20), True),
    "the limit": (steady(500, 70), False),
    "floods of half a minute with pauses": (
        [(burst * 60 + at, size) for burst in range(4) for at, size in steady(800, 30)],
        False,
    ),
    "ten minutes of large frames": ([(0.0, MIB)] * 1200, False),
}
"""The frames of fast clients, and whether they count as a flood."""


@pytest.mark.parametrize(("frames", "flooding"), FAST_CLIENTS.values(), ids=FAST_CLIENTS)
def test_only_a_client_that_does_not_slow_down_floods(
    frames: list[tuple[float, int]], flooding: bool
) -> None:
    """A flood exceeds the rate of frames for a minute. Large frames are no flood, because TCP slows their sender.

    Proves R-LIMIT-10.
    """
    assert send_frames(InflowLimits(), frames, Clock())[2] is flooding


def inflow_of(account: str, memory: LargeMessages, clock: Clock) -> Inflow:
    """Return the inflow of a connection of an account."""
    inflow = Inflow(InflowLimits(), memory, clock)
    inflow.account = account
    return inflow


def test_large_messages_share_bounded_memory() -> None:
    """A large message waits until the messages of others leave room for it. Small messages never wait.

    Proves R-SOCKET-3.
    """
    clock, memory = Clock(), LargeMessages(10 * MIB)
    first, second, third = (inflow_of(name, memory, clock) for name in "abc")
    assert first.reserve(6 * MIB)
    assert first.reserve(5 * MIB), "a reserved message needs no more"
    assert not second.reserve(6 * MIB)
    assert second.reserve(memory.threshold)
    assert third.reserve(2 * MIB)
    assert memory.used == 8 * MIB
    first.complete(10)
    assert not first.is_complete
    first.complete(6 * MIB)
    assert not first.reserve(MIB), "the next message waits until this one is handled"
    assert first.release_handled()
    assert not first.release_handled()
    assert second.reserve(5 * MIB)
    for each in (second, third):
        each.release()
    assert memory.used == 0
    assert first.reserve(20 * MIB), "a single message may be larger than the memory"


def test_account_has_one_large_message_at_a_time() -> None:
    """A second large message of an account waits, and another account's does not. Proves R-SOCKET-3."""
    clock, memory = Clock(), LargeMessages(100 * MIB)
    first, second, other = (inflow_of(name, memory, clock) for name in ("a", "a", "b"))
    assert first.reserve(MIB)
    assert not second.reserve(MIB)
    assert other.reserve(MIB)
    first.release()
    assert second.reserve(MIB)


def test_memory_is_released_after_the_account_has_changed() -> None:
    """A Hocuspocus client counts by its address until its account is known, also during a large message.

    Proves R-SOCKET-3.
    """
    clock, memory = Clock(), LargeMessages(100 * MIB)
    client = inflow_of("address", memory, clock)
    assert client.reserve(MIB)
    client.account = "account"
    assert client.reserve(2 * MIB)
    client.release()
    assert memory.used == 0
    for account in ("address", "account"):
        assert inflow_of(account, memory, clock).reserve(MIB)


def test_memory_is_reserved_for_arrived_bytes_and_the_next_step() -> None:
    """A declared length reserves nothing, so accounts cannot block others by declaring lengths. Proves R-SOCKET-3."""
    clock, memory = Clock(), LargeMessages(64 * MIB)
    hostile = [inflow_of(name, memory, clock) for name in "ab"]
    for inflow in hostile:
        assert inflow.reserve_ahead(10, 32 * MIB)
        assert not inflow.is_arriving
    assert memory.used == 0
    assert hostile[0].reserve_ahead(memory.threshold, 32 * MIB)
    assert hostile[0].is_arriving
    assert memory.used == 2 * memory.threshold
    assert inflow_of("c", memory, clock).reserve_ahead(20 * MIB, 20 * MIB)


def test_message_beyond_its_share_leaves_a_share_to_others() -> None:
    """A message larger than a quarter of the memory leaves a quarter for smaller messages.

    The oldest message always gets memory. Proves R-SOCKET-3.
    """
    clock, memory = Clock(), LargeMessages(64 * MIB)
    first, second, third, fourth = (inflow_of(name, memory, clock) for name in "abcd")
    assert first.reserve(10 * MIB)
    assert second.reserve(32 * MIB)
    assert not third.reserve(17 * MIB)
    assert third.reserve(16 * MIB)
    assert not fourth.reserve(7 * MIB)
    assert first.reserve(32 * MIB), "the oldest message never waits for the others"
    first.release()
    assert not third.reserve(17 * MIB)
    second.release()
    assert third.reserve(32 * MIB)


def test_viewers_share_a_quarter_of_the_memory() -> None:
    """Editors' large messages do not wait for the large messages of viewers. Proves R-SOCKET-3."""
    clock, memory = Clock(), LargeMessages(64 * MIB)
    viewers = [inflow_of(name, memory, clock) for name in "abc"]
    for viewer in viewers:
        viewer.is_viewer = True
    assert viewers[0].reserve(8 * MIB)
    assert viewers[1].reserve(8 * MIB)
    assert not viewers[2].reserve(MIB)
    assert inflow_of("d", memory, clock).reserve(32 * MIB)
    viewers[0].release()
    assert viewers[1].reserve(9 * MIB), "the oldest message of the viewers continues"
    assert viewers[2].reserve(MIB)


SLOW_MESSAGES = {
    "trickled": (1, True, True, True),
    "at the minimum": (module.SLOW_BYTES_PER_SECOND, True, True, False),
    "trickled while memory is free": (1, False, True, False),
    "not read by the gateway": (0, True, False, False),
}
"""Bytes a second, whether memory is scarce, whether the gateway reads, and whether the message is given up.

The gateway closes the connection of a message that is given up.
"""


@pytest.mark.parametrize(
    ("rate", "scarce", "is_read", "given_up"), SLOW_MESSAGES.values(), ids=SLOW_MESSAGES
)
def test_large_message_that_trickles_is_given_up_while_memory_is_scarce(
    rate: int, scarce: bool, is_read: bool, given_up: bool
) -> None:
    """A client that sends fast at first, and then slowly, does not keep its memory. Proves R-SOCKET-3."""
    clock, memory = Clock(), LargeMessages(64 * MIB)
    inflow = inflow_of("a", memory, clock)
    arrived = 20 * MIB
    assert inflow.reserve_ahead(arrived, 32 * MIB)
    if scarce:
        assert inflow_of("b", memory, clock).reserve(16 * MIB)
    for _ in range(12):
        inflow.measure(arrived, is_read=is_read)
        assert not inflow.is_starved or given_up
        clock.now += 1
        arrived += rate
    assert inflow.is_starved is given_up
    inflow.release()
    assert not inflow.is_starved


@pytest.mark.parametrize("waits", [True, False])
def test_large_message_that_waits_or_takes_too_long_is_given_up(waits: bool) -> None:
    """A message that never ends does not keep its memory from others for ever. Proves R-SOCKET-3."""
    clock, memory = Clock(), LargeMessages(MIB)
    first, second = inflow_of("a", memory, clock), inflow_of("b", memory, clock)
    limit = module.MEMORY_SECONDS if waits else module.MESSAGE_SECONDS
    first.reserve(MIB)
    assert second.reserve(MIB) is False
    tested = second if waits else first
    starved = []
    for seconds in (limit, 1):
        clock.now += seconds
        starved.append(tested.is_starved)
    assert starved == [False, True]
