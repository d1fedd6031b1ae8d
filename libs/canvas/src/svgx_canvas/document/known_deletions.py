"""The deletions that a document is known to have, so that repeated deletions need no transaction."""

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable

from svgx_yjs.delete_set import Range, Ranges, merge_ranges

FEW_RANGES = 32
"""The most ranges that are added one by one. Each of them moves all later ranges in the lists."""


MAX_ADDED = 1000
"""The most calls of `add` before their ranges are sorted. Sorting the ranges of many calls at once is faster."""


class KnownDeletions:
    """Deleted ranges of clocks by client, in order. Ranges that overlap or touch are kept as one range."""

    def __init__(self) -> None:
        self._ranges: dict[int, tuple[list[int], list[int]]] = {}
        """For each client, the starts and the ends of its ranges."""
        self._added: list[Ranges] = []
        """Known ranges that are not in `_ranges` yet."""

    def replace(self, deletions: Iterable[tuple[int, list[Range]]]) -> None:
        """Replace all known ranges."""
        self._ranges, self._added = {}, []
        for client, ranges in deletions:
            self._add(client, sorted(ranges))

    def add(self, deletions: Ranges) -> None:
        """Add ranges to the known ones."""
        self._added.append(deletions)
        if len(self._added) > MAX_ADDED:
            self._sort_added()

    def unknown(self, deletions: Ranges) -> Ranges:
        """Return the ranges that are not known completely."""
        if self._added:
            self._sort_added()
        unknown = {}
        for client, ranges in deletions.items():
            if unknown_ranges := self._unknown(client, ranges):
                unknown[client] = unknown_ranges
        return unknown

    def _sort_added(self) -> None:
        added: defaultdict[int, list[Range]] = defaultdict(list)
        for deletions in self._added:
            for client, ranges in deletions.items():
                added[client] += ranges
        self._added = []
        for client, all_ranges in added.items():
            self._add(client, sorted(all_ranges))

    def _unknown(self, client: int, ranges: list[Range]) -> list[Range]:
        known = self._ranges.get(client)
        if known is None:
            return ranges
        starts, ends = known
        unknown = []
        for clock, length in ranges:
            index = bisect_right(starts, clock) - 1
            if index < 0 or ends[index] < clock + length:
                unknown.append((clock, length))
        return unknown

    def _add(self, client: int, ranges: list[Range]) -> None:
        """Add ranges of a client, which are in order."""
        starts, ends = self._ranges.setdefault(client, ([], []))
        if len(ranges) > FEW_RANGES:
            _add_many(starts, ends, ranges)
            return
        for clock, length in ranges:
            start, end = clock, clock + length
            # The known ranges `first` to `after` - 1 overlap or touch the new range, and become one range with it.
            first, after = bisect_left(ends, start), bisect_right(starts, end)
            if first < after:
                start, end = min(start, starts[first]), max(end, ends[after - 1])
            starts[first:after] = [start]
            ends[first:after] = [end]


def _add_many(starts: list[int], ends: list[int], ranges: list[Range]) -> None:
    """Add ranges in one pass over the known ranges from the first new range to the last."""
    last_end = max([clock + length for clock, length in ranges])
    first, after = bisect_left(ends, ranges[0][0]), bisect_right(starts, last_end)
    known = zip(starts[first:after], ends[first:after], strict=True)
    merged = merge_ranges([*[(start, end - start) for start, end in known], *ranges])
    starts[first:after] = [clock for clock, _ in merged]
    ends[first:after] = [clock + length for clock, length in merged]
