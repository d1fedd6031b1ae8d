"""The deletions of one edit, in groups that are integrated one after the other."""

from collections.abc import Callable

from svgx_yjs.delete_set import Range, Ranges, merge_ranges

CLOCKS_PER_RANGE = 16
"""Approximate maximum of a group's clocks, for each range that the group may have."""


class DeletionGroups:
    """Deletions that are taken in groups. For each client, the groups go from its last clock to its first one.

    pycrdt unites deleted structs after each transaction, and moves all later structs of the client for each of them. In
    this order, there are fewer later structs, because most are united already. Deleting 140,000 structs in 100 groups
    takes 0.3 s in this order, and 1.4 s in the opposite order.

    `may_cut` returns whether a range may be cut before a clock of a client.
    """

    def __init__(self, deletions: Ranges, may_cut: Callable[[int, int], bool]) -> None:
        self._may_cut = may_cut
        self._left = {
            client: [*merge_ranges(ranges)] for client, ranges in deletions.items() if ranges
        }

    def __bool__(self) -> bool:
        """Return whether there is another group."""
        return bool(self._left)

    def take(self, count: int) -> Ranges:
        """Remove and return a group of at most `count` ranges with about `CLOCKS_PER_RANGE * count` clocks at most."""
        group: Ranges = {}
        clocks_left = count * CLOCKS_PER_RANGE
        while self._left and count > 0 and clocks_left > 0:
            client, ranges = next(reversed(self._left.items()))
            taken: list[Range] = []
            while ranges and count > 0 and clocks_left > 0:
                clock, length = ranges.pop()
                at = self._cut_between(client, clock, clock + length, clocks_left)
                if at > clock:
                    ranges.append((clock, at - clock))
                taken.append((at, clock + length - at))
                count -= 1
                clocks_left -= clock + length - at
            if not ranges:
                del self._left[client]
            taken.reverse()
            group[client] = taken
        return group

    def _cut_between(self, client: int, start: int, end: int, length: int) -> int:
        """Return the clock at which to cut a range, so that the second part has about `length` clocks."""
        at = max(start, end - length)
        while at > start and not self._may_cut(client, at):
            at -= 1
        return at
