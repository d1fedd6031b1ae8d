"""Alarms wake a task at the earliest requested time, with one timer."""

import asyncio
import time

import pytest

from svgx_common.timing.alarm import Alarm


async def rings_within(alarm: Alarm, seconds: float) -> bool:
    """Return whether the alarm rings within this time."""
    try:
        async with asyncio.timeout(seconds):
            await alarm.wait()
    except TimeoutError:
        return False
    return True


async def test_alarm_for_a_past_time_rings_at_once() -> None:
    """A request for a time that has passed needs no timer."""
    alarm = Alarm()
    alarm.ring_at(time.monotonic() - 1)
    await alarm.wait()
    assert not await rings_within(alarm, 0.01)


@pytest.mark.parametrize(
    "requests", [(0.02, 3600.0), (3600.0, 0.02)], ids=["earlier first", "later first"]
)
async def test_alarm_with_two_requests_rings_once_at_the_earlier_time(
    requests: tuple[float, float],
) -> None:
    """The alarm then forgets the later request, because the woken task does the work of both requests."""
    alarm = Alarm()
    started = time.monotonic()
    for seconds in requests:
        alarm.ring_at(started + seconds)
    assert await rings_within(alarm, 10.0)
    assert time.monotonic() - started >= 0.018
    assert not await rings_within(alarm, 0.01)
    alarm.ring_at(time.monotonic() + 7200.0)
    alarm.ring()
    assert await rings_within(alarm, 10.0)


async def test_alarm_rings_at_once_within_its_slack() -> None:
    """A request within its slack rings at once, even while a timer runs for a request with less slack."""
    alarm = Alarm()
    at = time.monotonic() + 3600.0
    alarm.ring_at(at)
    alarm.ring_at(at, slack=1800.0)
    assert not await rings_within(alarm, 0.01)
    alarm.ring_at(at, slack=7200.0)
    assert await rings_within(alarm, 10.0)
    assert not await rings_within(alarm, 0.01)


async def test_cleared_alarm_does_not_ring() -> None:
    """Clearing an alarm stops its timer, and forgets a ring that no task has waited for."""
    alarm = Alarm()
    alarm.ring_at(time.monotonic() + 0.02)
    alarm.clear()
    assert not await rings_within(alarm, 0.1)
    alarm.ring()
    alarm.clear()
    assert not await rings_within(alarm, 0.01)
