"""The time between two batches of a canvas."""

import pytest

from svgx_gateway.websocket.links.canvas_interval import interval_after


@pytest.mark.parametrize(
    ("edits", "size", "seconds", "interval"),
    [
        (1, 30, 0.0, 0.012),
        (2, 60, 0.012, 0.020),
        (3, 90, 0.012, 0.028),
        (9, 270, 0.046, 0.05),
        (40, 1200, 0.032, 0.032),
        (80, 2400, 0.032, 0.016),
        (400, 12_000, 0.032, 0.012),
        (2, 0, 0.012, 0.020),
        (3, 64 * 1024, 0.05, 0.025),
        (2, 1_000_000, 0.012, 0.012),
        (9, 270, 0.0, 0.012),
    ],
    ids=[
        "one edit",
        "two edits",
        "three edits",
        "longest",
        "forty edits",
        "many edits",
        "very many edits",
        "no bytes",
        "large edits",
        "very large edits",
        "burst",
    ],
)
def test_interval_grows_with_the_edits_of_a_batch_until_the_next_one_would_be_large(
    edits: int, size: int, seconds: float, interval: float
) -> None:
    """A burst of edits after a pause adds no time, because it does not show a busy canvas. Proves R-SYNC-7."""
    assert interval_after(edits, size, seconds) == pytest.approx(interval)
