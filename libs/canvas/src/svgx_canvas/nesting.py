"""How deep the structs of a document lie in one another, and which may have others inside."""

from array import array
from bisect import bisect_right

DELETED = 1
"""The place of what is deleted, so that its depth is not known: anything may lie in it."""


def place(depth: int, *, parent: bool) -> int:
    """A struct's place as a number: `depth` types around it, the root included; a `parent` may have others inside."""
    return depth * 2 + parent


def depth_of(number: int) -> int:
    """How many types are around a struct with this place; 0 when that is not known."""
    return number >> 1


def is_parent(number: int) -> bool:
    """Whether a struct with this place may have others inside."""
    return number & 1 == 1


class Nesting:
    """The place of every clock, as ranges by client. Ranges of a client are added in their order."""

    __slots__ = ("_ranges",)

    def __init__(self) -> None:
        # Starts, ends and places.
        self._ranges: dict[int, tuple[array[int], array[int], array[int]]] = {}

    def add(self, client: int, start: int, end: int, number: int) -> None:
        """Give clocks from `start` to before `end` their place."""
        ranges = self._ranges.get(client)
        if ranges is None:
            ranges = self._ranges[client] = (array("L"), array("L"), array("L"))
        starts, ends, places = ranges
        if ends and ends[-1] == start and places[-1] == number:
            ends[-1] = end
        else:
            starts.append(start)
            ends.append(end)
            places.append(number)

    def get(self, client: int, clock: int) -> int | None:
        """The place of this clock, where it is known."""
        ranges = self._ranges.get(client)
        if ranges is None:
            return None
        starts, ends, places = ranges
        # As a rule it is near the end: what is drawn next lies in what was drawn last.
        index = len(starts) - 1 if clock >= starts[-1] else bisect_right(starts, clock) - 1
        return places[index] if index >= 0 and clock < ends[index] else None

    def update(self, other: "Nesting") -> None:
        """Add all ranges of another."""
        for client, ranges in other._ranges.items():  # noqa: SLF001  # of its own kind
            for start, end, number in zip(*ranges, strict=True):
                self.add(client, start, end, number)
