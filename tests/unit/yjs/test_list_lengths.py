"""The upper bound of the longest list of a document. Proves R-BOUND-1."""

from collections import Counter

import pytest

from svgx_yjs import nesting as nesting_module
from svgx_yjs.nesting import GC_PLACE, ListLengths, Nesting, Place, PlacedRange
from svgx_yjs.splitting import split
from tests.unit.canvas.histories import history


@pytest.mark.parametrize("seed", range(20))
def test_longest_list_is_never_shorter_than_in_the_document(
    monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """The bound counts each clock of each list. With as many lengths as lists, it is the exact number."""
    monkeypatch.setattr(nesting_module, "_LENGTHS", 1 << 20)
    exact: Counter[int] = Counter()
    lists = ListLengths()
    known, nesting = dict[int, int](), Nesting()
    for update in history(seed):
        parts = split(update, known, nesting)
        for client, end in parts.clocks.items():
            for clock in range(known.get(client, 0), end):
                place = parts.nesting.get(client, clock)
                assert place is not None
                exact[place.list_id] += place.list_id != 0
        lists.add(parts.nesting)
        known.update(parts.clocks)
        nesting.update(parts.nesting)
        assert lists.longest == max(exact.values(), default=0)


def test_lists_that_share_a_length_count_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bound is then too large, and never too small."""
    monkeypatch.setattr(nesting_module, "_LENGTHS", 1)
    lists = ListLengths()
    lists.add(PlacedRange(1, 0, 3, Place(5, 1, can_contain=False)))
    lists.add(PlacedRange(1, 3, 5, Place(7, 1, can_contain=False)))
    assert lists.longest == 5


def test_clocks_in_unknown_lists_count_for_the_longest_list() -> None:
    """pycrdt places a struct between a GC and an item in the item's list. It drops a struct with only GCs beside it."""
    lists = ListLengths(longest_before=10)
    for start, place in enumerate(
        [GC_PLACE, Place(0, 0, can_contain=False), Place(0, 2, can_contain=False)]
    ):
        lists.add(PlacedRange(1, start * 4, start * 4 + 4, place))
    assert lists.longest == 14
    nesting = Nesting()
    nesting.add(2, 0, 2, GC_PLACE)
    nesting.add(2, 2, 5, Place(0, 1, can_contain=True))
    nesting.add(2, 5, 6, Place(9, 1, can_contain=False))
    lists.add(nesting)
    assert lists.longest == 18
