"""Parts of updates are joined without being read again."""

import pytest

from svgx_yjs.joining import join_first
from svgx_yjs.nesting import Nesting
from svgx_yjs.parts import Part
from svgx_yjs.splitting import split
from tests.unit.yjs.updates import ANY, NULL, deletions, in_root, update

A0, A1, A2 = (update((5, clock, [in_root(ANY, NULL)])) for clock in range(3))
B0 = update((9, 0, [in_root(ANY, NULL)]), deleted=deletions((5, [(1, 1)])))
D0 = update(deleted=deletions((5, [(0, 1)])))
"""`A0` to `A2` are updates of client 5, `B0` is one of client 9, and `D0` only deletes."""


def parts_of(*updates: bytes) -> list[Part]:
    """Return the parts that a document gets from these updates."""
    known: dict[int, int] = {}
    nesting = Nesting()
    parts = []
    for each in updates:
        found = split(each, known, nesting)
        assert found.ready is not None
        parts.append(Part(found.ready, found.runs, found.deletions))
        known |= found.clocks
        nesting.update(found.nesting)
    return parts


@pytest.mark.parametrize(
    ("updates", "joined"),
    [
        ([A0], A0),
        ([A0, A1], update((5, 0, [in_root(ANY, NULL)] * 2))),
        (
            [A0, A1, B0, D0, A2],
            update(
                (9, 0, [in_root(ANY, NULL)]),
                (5, 0, [in_root(ANY, NULL)] * 3),
                deleted=deletions((5, [(0, 2)])),
            ),
        ),
        ([A0, D0], update((5, 0, [in_root(ANY, NULL)]), deleted=deletions((5, [(0, 1)])))),
    ],
    ids=["one", "same client", "several clients and deletions", "deletion alone"],
)
def test_joined_parts_are_one_update(updates: list[bytes], joined: bytes) -> None:
    """The client with the highest id comes first, as in the updates of Yjs. Deleted ranges are sorted and united."""
    assert join_first(parts_of(*updates), 1000) == (joined, len(updates))


@pytest.mark.parametrize(
    ("limit", "count"), [(1, 1), (len(A0) * 2, 2), (len(A0) * 2 + 1, 2), (len(A0) * 3, 3)]
)
def test_joined_update_has_at_most_the_limit_or_one_part(limit: int, count: int) -> None:
    """A part above the limit stays alone."""
    assert join_first(parts_of(A0, A1, A2), limit)[1] == count


def test_part_that_waits_for_others_is_not_joined() -> None:
    """The content of a waiting part is not known, and may contradict the other parts."""
    one, two = parts_of(A0, A1)
    waiting = Part(A2)
    assert join_first([one, two, waiting], 1000)[1] == 2
    assert join_first([waiting, one], 1000) == (A2, 1)


def test_part_that_repeats_structs_is_not_joined() -> None:
    """An update must not have the structs of a client twice."""
    both = update((5, 0, [in_root(ANY, NULL)] * 2))
    assert join_first([*parts_of(A0), *parts_of(both)], 1000) == (A0, 1)


@pytest.mark.parametrize(
    ("ranges", "united"),
    [
        ([(0, 1), (1, 1), (2, 3)], [(0, 5)]),
        ([(7, 2), (0, 1), (3, 1)], [(0, 1), (3, 1), (7, 2)]),
        ([(0, 5), (1, 2), (5, 1)], [(0, 6)]),
        ([(4, 1), (4, 1)], [(4, 1)]),
    ],
)
def test_deleted_ranges_without_a_gap_become_one(
    ranges: list[tuple[int, int]], united: list[tuple[int, int]]
) -> None:
    """Ranges without a gap are united, because a client that drags an element deletes one value after the other."""
    parts = [Part(b"", (), {5: [each]}) for each in ranges]
    assert join_first(parts, 1000) == (update(deleted=deletions((5, united))), len(ranges))
