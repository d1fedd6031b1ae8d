"""Each author's share of the bytes of a journal entry with several authors."""

import pytest

from svgx_common.contract.state import Entry
from svgx_state.quotas.counter import shares


@pytest.mark.parametrize(
    ("size", "sent", "expected"),
    [
        (900, (100, 200, 600), [100, 200, 600]),
        (900, (), [300, 300, 300]),
        (900, (1, 2), [300, 300, 300]),
        (100, (0, 0, 7), [0, 0, 100]),
        (100, (0, 0, 0), [33, 33, 34]),
        (10, (1, 1, 1), [3, 3, 4]),
        (3, (2**50, 1, 1), [2, 0, 1]),
        (0, (1, 1, 1), [0, 0, 0]),
    ],
    ids=["by bytes", "unknown", "incomplete", "one", "nothing sent", "rounded", "huge", "empty"],
)
def test_shares_of_an_entry_follow_the_bytes_that_its_authors_sent(
    size: int, sent: tuple[int, ...], expected: list[int]
) -> None:
    """The shares add up to the size of the entry. Proves R-QUOTA-1."""
    entry = Entry("canvas", "writer", 1, ("ann", "bob", "cem"), bytes(size), sent)
    assert list(shares(entry).values()) == expected
    assert sum(expected) == size


def test_entry_without_authors_has_no_shares() -> None:
    """An entry without authors counts towards its canvas only. Proves R-QUOTA-1."""
    assert shares(Entry("canvas", "writer", 1, (), b"update")) == {}
