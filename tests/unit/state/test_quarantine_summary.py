"""The sentence after the list of rows in the quarantine."""

import pytest

from svgx_state.journal.command import summary


@pytest.mark.parametrize(
    ("listed", "are_all", "sentence"),
    [
        (0, True, "0 rows in the quarantine"),
        (1, True, "1 row in the quarantine"),
        (100, True, "100 rows in the quarantine"),
        (100, False, "the newest 100 rows of the quarantine; there are more"),
        (1, False, "the newest 1 row of the quarantine; there are more"),
    ],
)
def test_summary_tells_whether_all_rows_are_listed(
    listed: int, are_all: bool, sentence: str
) -> None:
    """The command tells an operator whether the quarantine has more rows than the list. Proves R-STATE-24."""
    assert summary(listed, are_all=are_all) == sentence
