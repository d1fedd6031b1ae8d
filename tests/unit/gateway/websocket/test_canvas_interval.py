"""The interval between two batches of a canvas."""

import pytest

from svgx_gateway.websocket.links.canvas_interval import (
    LONGEST_OVERLOAD_SECONDS,
    LONGEST_SECONDS,
    SHORTEST_SECONDS,
    WINDOW_SECONDS,
    CanvasInterval,
)

STEADY_SECONDS = 3.0
"""Seconds of edits after which the interval no longer changes."""


def steady_interval(rate: float, size: int, unsaved_for: float = 0.0) -> float:
    """Return the interval, in seconds, after `STEADY_SECONDS` with `rate` edits a second of `size` bytes each."""
    interval = CanvasInterval()
    now, sent, seconds = 0.0, 0, SHORTEST_SECONDS
    while now < STEADY_SECONDS:
        now = max(now + seconds, (sent + 1) / rate)
        edits = max(1, int(now * rate) - sent)
        sent += edits
        seconds = interval.after(edits, edits * size, now, unsaved_for)
    return seconds


@pytest.mark.parametrize(
    ("rate", "size", "expected"),
    [
        (25, 30, SHORTEST_SECONDS),
        (55, 30, SHORTEST_SECONDS),
        (75, 30, (SHORTEST_SECONDS + LONGEST_SECONDS) / 2),
        (100, 30, LONGEST_SECONDS),
        (250, 30, LONGEST_SECONDS),
        (1000, 30, 0.040),
        (2500, 30, 0.016),
        (5000, 30, SHORTEST_SECONDS),
        (100, 20_000, LONGEST_SECONDS),
        (200, 20_000, 0.028),
        (500, 60_000, SHORTEST_SECONDS),
        (10, 60_000, SHORTEST_SECONDS),
    ],
    ids=[
        "room of 5",
        "one drag",
        "between the rates",
        "room of 20",
        "room of 50",
        "forty edits",
        "many edits",
        "very many edits",
        "large edits",
        "many large edits",
        "very large edits",
        "few large edits",
    ],
)
def test_interval_grows_with_the_rate_of_edits_until_a_batch_would_be_large(
    rate: float, size: int, expected: float
) -> None:
    """A busy canvas has fewer and larger batches. Proves R-SYNC-7."""
    assert steady_interval(rate, size) == pytest.approx(expected, rel=0.12)


@pytest.mark.parametrize(
    ("rate", "unsaved_for", "expected"),
    [
        (25, 0.04, SHORTEST_SECONDS),
        (25, 0.2, 0.05),
        (25, 10.0, LONGEST_OVERLOAD_SECONDS),
        (250, 0.04, LONGEST_SECONDS),
        (250, 10.0, LONGEST_OVERLOAD_SECONDS),
        (1000, 10.0, 0.040),
        (5000, 10.0, SHORTEST_SECONDS),
    ],
    ids=[
        "usual wait",
        "longer wait",
        "very long wait",
        "room of 50, usual wait",
        "room of 50, very long wait",
        "forty edits",
        "very many edits",
    ],
)
def test_interval_grows_with_the_wait_for_receipts_until_a_batch_would_be_large(
    rate: float, unsaved_for: float, expected: float
) -> None:
    """In an overload, each canvas has fewer and larger batches. Proves R-SYNC-7."""
    assert steady_interval(rate, 30, unsaved_for) == pytest.approx(expected, rel=0.12)


def test_burst_after_a_pause_adds_no_time() -> None:
    """Edits that arrive together after a pause do not make a canvas busy. Proves R-SYNC-7."""
    interval = CanvasInterval()
    assert interval.after(30, 900, 100.0) == SHORTEST_SECONDS
    assert interval.after(1, 30, 100.0 + SHORTEST_SECONDS) == SHORTEST_SECONDS


def test_busy_canvas_is_quiet_again_after_a_pause() -> None:
    """After a pause, the interval of a busy canvas is as short as that of a quiet canvas. Proves R-SYNC-7."""
    interval = CanvasInterval()
    intervals = [interval.after(5, 150, 100.0 + number * LONGEST_SECONDS) for number in range(100)]
    assert intervals[-1] == LONGEST_SECONDS
    assert interval.after(1, 30, 105.0 + WINDOW_SECONDS) == SHORTEST_SECONDS
    assert interval.after(1, 30, 105.1 + WINDOW_SECONDS) == SHORTEST_SECONDS
