"""The deletions that a document is known to have, so that repeated deletions need no transaction."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable

from svgx_yjs.delete_set import Range, Ranges


class KnownDeletions:
    """Deleted ranges of clocks by client, in order. Ranges that overlap or touch are kept as one range."""

    def __init__(self) -> None:
        self._ranges: dict[int, tuple[list[int], list[int]]] = {}
        """For each client, the starts and the ends of its ranges."""

    def replace(self, deletions: Iterable[tuple[int, list[Range]]]) -> None:
        """Replace all known ranges."""
        self._ranges = {}
        for client, ranges in deletions:
            self._add(client, sorted(ranges))

    def add(self, deletions: Ranges) -> None:
        """Add ranges to the known ones."""
        for client, ranges in deletions.items():
            self._add(client, ranges)

    def covers(self, deletions: Ranges) -> bool:
        """Return whether all these ranges are known."""
        return all(self._covers(client, ranges) for client, ranges in deletions.items())

    def _covers(self, client: int, ranges: list[Range]) -> bool:
        known = self._ranges.get(client)
        if known is None:
            return not ranges
        starts, ends = known
        for clock, length in ranges:
            index = bisect_right(starts, clock) - 1
            if index < 0 or ends[index] < clock + length:
                return False
        return True

    def _add(self, client: int, ranges: list[Range]) -> None:
        starts, ends = self._ranges.setdefault(client, ([], []))
        for clock, length in ranges:
            start, end = clock, clock + length
            # The known ranges `first` to `after` - 1 overlap or touch the new range, and become one range with it.
            first, after = bisect_left(ends, start), bisect_right(starts, end)
            if first < after:
                start, end = min(start, starts[first]), max(end, ends[after - 1])
            starts[first:after] = [start]
            ends[first:after] = [end]
