"""The checks of the event loop's lag."""

import asyncio
import time

from svgx_common.observability.loop_lag import CHECK_INTERVAL_SECONDS, LagChecks


async def test_lag_of_a_blocked_loop_is_measured() -> None:
    """The lag is the time by which a check is late. It does not include the interval. Proves R-RESIL-3."""
    lags: list[float] = []
    checked = asyncio.Event()

    def record(lag: float) -> None:
        lags.append(lag)
        checked.set()

    checks = LagChecks()
    checks.on_check(record)
    checks.start()
    try:
        until = time.perf_counter() + 3 * CHECK_INTERVAL_SECONDS
        while time.perf_counter() < until:
            pass
        async with asyncio.timeout(20):
            await checked.wait()
    finally:
        checks.stop()
    assert lags[0] >= 1.9 * CHECK_INTERVAL_SECONDS
