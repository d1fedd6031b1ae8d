"""Updates that wait for others are joined struct by struct."""

import pytest

from svgx_yjs.joining import join_waiting, structs_from, with_waiting
from svgx_yjs.lib0 import Malformed
from svgx_yjs.structure import EMPTY_UPDATE
from tests.unit.yjs.updates import (
    ANY,
    NULL,
    SKIP,
    STRING,
    after,
    deletions,
    gap,
    in_root,
    text,
    update,
)


def waits(clock: int, size: int = 1, letter: str = "x") -> bytes:
    """Return an update with an item of client 5 that waits for client 6. The length of the item is `size`."""
    return update((5, clock, [after(STRING, text(letter * size), (6, clock))]))


def struct(clock: int, size: int = 1, letter: str = "x") -> bytes:
    """Return the item in the update that `waits` returns."""
    return after(STRING, text(letter * size), (6, clock))


def test_joined_updates_have_all_structs_with_skips_between() -> None:
    """Proves R-SAVE-9: the structs of each client are in order, and a skip stands for missing clocks."""
    other = update((7, 1, [in_root(ANY, NULL)]), deleted=deletions((5, [(9, 2)])))
    deleting = update(deleted=deletions((5, [(4, 1), (9, 2)]), (8, [(0, 1)])))
    joined, count = join_waiting([waits(6), waits(1, 2), other, waits(3), deleting], 1000)
    assert count == 5
    assert joined == update(
        (7, 1, [in_root(ANY, NULL)]),
        (5, 1, [struct(1, 2), struct(3), gap(SKIP, 2), struct(6)]),
        deleted=deletions((5, [(4, 1), (9, 2)]), (8, [(0, 1)])),
    )


def test_joined_updates_end_before_a_repeated_clock_and_at_the_limit() -> None:
    """Proves R-SAVE-9: no struct is lost, because updates with the same clocks are not joined."""
    assert join_waiting([waits(6, 2), waits(1), waits(5, 2), waits(9)], 1000)[1] == 2
    assert join_waiting([waits(6), waits(6, letter="y")], 1000) == (waits(6), 1)
    size = len(waits(0))
    assert join_waiting([waits(0), waits(2), waits(4)], 2 * size)[1] == 2
    assert join_waiting([waits(0), waits(2)], size - 1) == (waits(0), 1)


def test_waiting_structs_are_added_after_those_of_the_content() -> None:
    """Proves R-STATE-6: a struct of the content stays, and no waiting struct takes its place."""
    content = update(
        (5, 0, [in_root(STRING, text("abc"))]),
        (4, 0, [in_root(ANY, NULL)]),
        deleted=deletions((5, [(1, 1)])),
    )
    two = update((5, 2, [struct(2, 1, "y"), struct(3)]), deleted=deletions((5, [(0, 1), (7, 1)])))
    joined = with_waiting(content, [waits(9), two, waits(8, 4), waits(2, 2, "z"), waits(6, 3)])
    assert joined == update(
        (5, 0, [in_root(STRING, text("abc")), struct(3), gap(SKIP, 2), struct(6, 3), struct(9)]),
        (4, 0, [in_root(ANY, NULL)]),
        deleted=deletions((5, [(0, 1), (1, 1), (7, 1)])),
    )
    assert with_waiting(content, []) == content
    assert with_waiting(EMPTY_UPDATE, [waits(3)]) == waits(3)
    with pytest.raises(Malformed):
        with_waiting(content + b"\0", [])


def test_structs_from_a_clock_begin_at_or_after_the_clock() -> None:
    """Proves R-BOUND-11: a struct that begins below the clock is left out."""
    whole = update((5, 2, [struct(2, 2), struct(4), struct(5, 3)]))
    assert structs_from(whole, 2) == whole
    assert structs_from(whole, 3) == update((5, 4, [struct(4), struct(5, 3)]))
    assert structs_from(whole, 5) == waits(5, 3)
    assert structs_from(whole, 6) is None
