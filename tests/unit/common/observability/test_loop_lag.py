"""The checks of the event loop's lag."""

import asyncio
import time

from svgx_common.observability.loop_lag import CHECK_INTERVAL, LagChecks


async def test_blocked_loop_is_late_by_the_time_of_the_work() -> None:
    """The lag is the time by which a check is late, without the interval. Proves R-RESIL-3."""
    found: list[float] = []
    checked = asyncio.Event()

    def record(lag: float) -> None:
        found.append(lag)
        checked.set()

    checks = LagChecks(record)
    checks.start()
    try:
        until = time.perf_counter() + 3 * CHECK_INTERVAL
        while time.perf_counter() < until:
            pass
        async with asyncio.timeout(20):
            await checked.wait()
    finally:
        checks.stop()
    assert found[0] >= 1.9 * CHECK_INTERVAL
