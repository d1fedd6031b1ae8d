"""The forecast of the time until the disk is full."""

from datetime import date, timedelta

import pytest

from svgx_state.journal.disk import MAX_FORECAST_DAYS, days_until_full, growth

TODAY = date(2026, 5, 10)


def days(*sizes: int, last: date = TODAY) -> dict[date, int]:
    """Return the sizes of consecutive days, the last of which is `last`."""
    return {last - timedelta(days=back): size for back, size in enumerate(reversed(sizes))}


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ({}, 0),
        (days(7), 7),  # no full day yet
        (days(10, 20, 5), 15),
        (days(*[1] * 20, *[8] * 7, 5), 8),  # the last seven full days
        (days(10, 0, 0, 5), 10 / 3),  # idle days count
        (days(6, last=TODAY - timedelta(days=2)), 3),  # a day without a partition has no bytes
    ],
)
def test_growth_is_the_mean_of_the_last_full_days(sizes: dict[date, int], expected: float) -> None:
    """The daily growth is the mean size of the last complete days. Without one, it is the size of today so far.

    Proves R-STATE-26.
    """
    assert growth(sizes, TODAY) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("free", "sizes", "daily_growth", "retention", "expected"),
    [
        (0, {}, 10, 0, 0),
        (-5, {}, 10, 30, 0),
        (100, {}, 0, 0, MAX_FORECAST_DAYS),
        (100, {}, 10, 0, 10),
        (105, {}, 10, 0, 10.5),
        (100, {}, 10, 20, 10),  # full before the retention frees the first day
        (100, {}, 10, 5, MAX_FORECAST_DAYS),  # the retention frees as much as is added
        (25, days(10, 10, 10, 10), 10, 3, MAX_FORECAST_DAYS),
        (5, days(10, 10, 10, 10), 10, 3, 0.5),
        # Small old days are freed, while each new one takes more.
        (35, days(1, 1, 1, 1), 10, 3, 3.8),
    ],
)
def test_forecast_takes_freed_days_into_account(
    free: float, sizes: dict[date, int], daily_growth: float, retention: int, expected: float
) -> None:
    """Each day adds bytes, and frees the bytes of a day that is now older than the retention. Proves R-STATE-26."""
    sizes_of = {day: float(size) for day, size in sizes.items()}
    assert days_until_full(free, sizes_of, daily_growth, TODAY, retention) == pytest.approx(
        expected
    )
