"""Where the structs of a document lie: in which list, how deep, and which may have others inside."""

from array import array
from bisect import bisect_right
from typing import NamedTuple


class Place(NamedTuple):
    """Where a struct is.

    `siblings` names its list: the entries of one key of a map, or the items of a sequence. `depth` is how many types
    are around it, the root included. A `parent` may have others inside: a type, or something deleted.
    """

    siblings: int
    depth: int
    parent: bool


DELETED = Place(0, 0, parent=True)
"""The place of what is deleted so thoroughly that nobody knows where it was."""


def siblings(*parent: object) -> int:
    """A name for the list of what has this parent and key."""
    return hash(parent) >> 1 | 1


class Nesting:
    """The place of every clock, as ranges by client. Ranges of a client are added in their order."""

    __slots__ = ("_ranges", "_whole")

    def __init__(self) -> None:
        self._whole: set[tuple[int, int]] = set()
        # Starts, ends, siblings, and twice the depth, plus one for parents.
        self._ranges: dict[int, tuple[array[int], array[int], array[int], array[int]]] = {}

    def add(self, client: int, start: int, end: int, place: Place) -> None:
        """Give clocks from `start` to before `end` their place."""
        self._add(client, start, end, place.siblings, place.depth * 2 + place.parent)

    def get(self, client: int, clock: int) -> Place | None:
        """The place of this clock, where it is known."""
        ranges = self._ranges.get(client)
        if ranges is None:
            return None
        starts, ends, lists, depths = ranges
        # As a rule it is near the end: what is drawn next lies in what was drawn last.
        index = len(starts) - 1 if clock >= starts[-1] else bisect_right(starts, clock) - 1
        if index < 0 or clock >= ends[index]:
            return None
        return Place(lists[index], depths[index] >> 1, depths[index] & 1 == 1)

    def keep_whole(self, client: int, clock: int) -> None:
        """There must be no cut before this clock."""
        self._whole.add((client, clock))

    def may_cut(self, client: int, clock: int) -> bool:
        """Whether a struct may be cut before this clock.

        Not between the two code units of one character: pycrdt gives all of it to one side, and its counts are wrong
        from then on.
        """
        return (client, clock) not in self._whole

    def update(self, other: "Nesting") -> None:
        """Add all of another."""
        self._whole |= other._whole  # noqa: SLF001  # of its own kind
        for client, ranges in other._ranges.items():  # noqa: SLF001  # of its own kind
            for start, end, names, depths in zip(*ranges, strict=True):
                self._add(client, start, end, names, depths)

    def _add(self, client: int, start: int, end: int, names: int, depth: int) -> None:
        ranges = self._ranges.get(client)
        if ranges is None:
            ranges = array("L"), array("L"), array("q"), array("H")
            self._ranges[client] = ranges
        starts, ends, lists, depths = ranges
        if ends and ends[-1] == start and lists[-1] == names and depths[-1] == depth:
            ends[-1] = end
        else:
            starts.append(start)
            ends.append(end)
            lists.append(names)
            depths.append(depth)
