"""The places of a document's structs: their list, their depth, and whether other structs can lie inside them.

Also the lengths of the lists, which bound the time in which a struct is placed.
"""

import zlib
from array import array
from bisect import bisect_right
from functools import lru_cache
from hashlib import blake2b
from itertools import accumulate, repeat
from operator import add, sub
from typing import NamedTuple, Self

from svgx_yjs.lib0 import Decoder, Encoder

_ENDS_PER_CALL = 65536
"""Maximum number of range ends that `Nesting.decode` computes in one call. A longer call would block other threads."""

_RUNS_PER_CALL = 65536
"""Maximum number of runs that `Uncuttable.extend` copies in one call. A longer call would block other threads."""

_LENGTHS = 8192
"""The number of lengths that `ListLengths` keeps, a power of two."""


class Place(NamedTuple):
    """The place of a struct."""

    list_id: int
    """The list that has the struct: the items of a sequence, or the values of one key of a map. 0 if unknown."""
    depth: int
    """The number of types around the struct, including the root type."""
    can_contain: bool
    """True if other structs can lie inside: the struct is a type or deleted content."""


class PlacedRange(NamedTuple):
    """The place of the clocks of one struct, from `start` to before `end`."""

    client: int
    start: int
    end: int
    place: Place

    def get(self, client: int, clock: int) -> Place | None:
        """Return the place of a clock, or None if the clock is not in the range."""
        return self.place if client == self.client and self.start <= clock < self.end else None


GC_PLACE = Place(0, 0, can_contain=True)
"""The place of a GC struct. Garbage collection removed its parent and neighbours, so its list is unknown."""


def list_id(parent: str | tuple[int, int], key: str | None) -> int:
    """Return a number for the list with this parent and, in a map, this key. The number is never 0.

    `parent` is the name of a root type, or the client and clock of a type. The number is stored in outlines, so it must
    be the same in each process. Python hashes strings with a random key, so `hash` gets only integers here.
    """
    if isinstance(parent, str):
        parent = _text_id(parent), -1
    return hash((parent, 0 if key is None else _text_id(key))) >> 1 | 1


@lru_cache(maxsize=4096)
def _text_id(text: str) -> int:
    """Return a number for a name or a key. The number is a hash, and never 0."""
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little") | 1


class Uncuttable:
    """Clocks before which a string must not be cut, in ascending order.

    A character outside of the Basic Multilingual Plane, such as an emoji, takes two clocks. A cut between them is
    forbidden: pycrdt would give the whole character to one side, and the clocks in its document would be wrong from
    then on. Runs of every second clock are kept, because a row of such characters has such clocks.
    """

    __slots__ = ("firsts", "lasts")

    def __init__(self) -> None:
        self.firsts = array("I")
        self.lasts = array("I")

    def __bool__(self) -> bool:
        """Return whether a cut is forbidden anywhere."""
        return bool(self.firsts)

    def __contains__(self, clock: int) -> bool:
        """Return whether a cut before this clock is forbidden."""
        index = bisect_right(self.firsts, clock) - 1
        return index >= 0 and clock <= self.lasts[index] and (clock - self.firsts[index]) % 2 == 0

    def add(self, first: int, last: int) -> None:
        """Add every second clock from `first` to `last`. All of them must be greater than the present clocks."""
        if self.lasts and self.lasts[-1] + 2 == first:
            self.lasts[-1] = last
        else:
            self.firsts.append(first)
            self.lasts.append(last)

    def extend(self, other: "Uncuttable", offset: int = 0, *, start: int = 0) -> None:
        """Add the clocks of `other`, increased by `offset`, that are greater than `start`."""
        index = bisect_right(other.lasts, start - offset)
        if index == len(other.lasts):
            return
        first, last = other.firsts[index] + offset, other.lasts[index] + offset
        self.add(first + max(0, (start - first) // 2 + 1) * 2, last)
        for begin in range(index + 1, len(other.firsts), _RUNS_PER_CALL):
            for own, added in ((self.firsts, other.firsts), (self.lasts, other.lasts)):
                own.extend(map(add, added[begin : begin + _RUNS_PER_CALL], repeat(offset)))


class Nesting:
    """The places of a document's clocks, as ranges by client. Ranges are added in ascending order."""

    __slots__ = ("_ranges", "_uncuttable")

    def __init__(self) -> None:
        self._uncuttable: dict[int, Uncuttable] = {}
        # For each client: starts, ends, list ids, and packed depths. A packed depth is twice the depth, plus one if
        # structs can lie inside.
        self._ranges: dict[int, tuple[array[int], array[int], array[int], array[int]]] = {}

    def add(self, client: int, start: int, end: int, place: Place) -> None:
        """Set the place of the clocks from `start` to before `end`."""
        self._add(client, start, end, place.list_id, place.depth * 2 + place.can_contain)

    def get(self, client: int, clock: int) -> Place | None:
        """Return the place of a clock, or None if the document does not have it."""
        ranges = self._ranges.get(client)
        if ranges is None:
            return None
        starts, ends, list_ids, packed_depths = ranges
        # The last range is the usual one, because an edit mostly refers to the edit before it.
        index = len(starts) - 1 if clock >= starts[-1] else bisect_right(starts, clock) - 1
        if index < 0 or clock >= ends[index]:
            return None
        packed_depth = packed_depths[index]
        return Place(list_ids[index], packed_depth >> 1, packed_depth & 1 == 1)

    def forbid_cuts(
        self, client: int, uncuttable: Uncuttable, offset: int = 0, *, start: int = 0
    ) -> None:
        """Forbid cutting structs before these clocks, increased by `offset`, that are greater than `start`."""
        own = self._uncuttable.get(client)
        if own is None:
            own = self._uncuttable[client] = Uncuttable()
        own.extend(uncuttable, offset, start=start)

    def may_cut(self, client: int, clock: int) -> bool:
        """Return whether a struct may be cut before this clock (see `Uncuttable`)."""
        uncuttable = self._uncuttable.get(client)
        return uncuttable is None or clock not in uncuttable

    def update(self, other: "Nesting | PlacedRange") -> None:
        """Add all places of `other`."""
        if isinstance(other, PlacedRange):
            self.add(*other)
            return
        for client, uncuttable in other._uncuttable.items():  # noqa: SLF001  # the same class
            self.forbid_cuts(client, uncuttable)
        for client, ranges in other._ranges.items():  # noqa: SLF001  # the same class
            starts, ends, list_ids, packed_depths = ranges
            # Only the first range of `other` may continue a range of this object.
            self._add(client, starts[0], ends[0], list_ids[0], packed_depths[0])
            for own, added in zip(self._ranges[client], ranges, strict=True):
                own.extend(added[1:])

    @property
    def clocks(self) -> dict[int, int]:
        """Return the next clock of each client."""
        return {client: ends[-1] for client, (_, ends, _, _) in self._ranges.items()}

    def encode(self, encoder: Encoder) -> None:
        """Append the places of a whole document, which has all clocks from 0 on.

        The numbers have this machine's byte order.
        """
        encoder.uint(len(self._ranges))
        for client, (starts, ends, list_ids, packed_depths) in self._ranges.items():
            lengths = array("I", map(sub, ends, starts))
            encoder.uint(client)
            for numbers in (lengths, list_ids, packed_depths):
                encoder.buffer(zlib.compress(numbers.tobytes(), level=1))
        encoder.uint(len(self._uncuttable))
        for client, uncuttable in self._uncuttable.items():
            encoder.uint(client)
            for numbers in (uncuttable.firsts, uncuttable.lasts):
                encoder.buffer(zlib.compress(numbers.tobytes(), level=1))

    @classmethod
    def decode(cls, decoder: Decoder) -> Self:
        """Read the places that `encode` wrote."""
        nesting = cls()
        for _ in range(decoder.uint()):
            client = decoder.uint()
            lengths = _read_numbers(decoder, array("I"))
            starts, ends = array("L", [0]), array("L")
            for first in range(0, len(lengths), _ENDS_PER_CALL):
                ends.extend(
                    accumulate(
                        lengths[first + 1 : first + _ENDS_PER_CALL],
                        initial=lengths[first] + (ends[-1] if ends else 0),
                    )
                )
            starts.extend(ends)
            starts.pop()
            list_ids = _read_numbers(decoder, array("q"))
            nesting._ranges[client] = (
                starts,
                ends,
                list_ids,
                _read_numbers(decoder, array("H")),
            )
        for _ in range(decoder.uint()):
            uncuttable = nesting._uncuttable[decoder.uint()] = Uncuttable()
            _read_numbers(decoder, uncuttable.firsts)
            _read_numbers(decoder, uncuttable.lasts)
        return nesting

    def _add(self, client: int, start: int, end: int, identifier: int, packed_depth: int) -> None:
        ranges = self._ranges.get(client)
        if ranges is None:
            ranges = array("L"), array("L"), array("q"), array("H")
            self._ranges[client] = ranges
        starts, ends, list_ids, packed_depths = ranges
        if (
            ends
            and ends[-1] == start
            and list_ids[-1] == identifier
            and packed_depths[-1] == packed_depth
        ):
            ends[-1] = end
        else:
            starts.append(start)
            ends.append(end)
            list_ids.append(identifier)
            packed_depths.append(packed_depth)


class ListLengths:
    """An upper bound of the clocks in the longest list of a document.

    Lists with the same last bits of their numbers share one length, so the memory does not depend on the document. With
    a million lists of one clock each, the bound is too large by less than 200.
    """

    __slots__ = ("_lengths", "_longest", "_longest_before", "_unknown")

    def __init__(self, longest_before: int = 0) -> None:
        self._longest_before = longest_before
        """The upper bound before the first call of `add`."""
        self._longest = 0
        """The largest length, which has only clocks that `add` has counted."""
        self._unknown = 0
        """The clocks in unknown lists. All of them may be in the longest list."""
        self._lengths = array("Q", bytes(8 * _LENGTHS))

    @property
    def longest(self) -> int:
        """Return the upper bound."""
        return self._longest_before + self._longest + self._unknown

    def add(self, nesting: Nesting | PlacedRange) -> None:
        """Count the clocks of new structs.

        GC structs, and structs with only GC neighbours, are in no list and do not count.
        """
        if isinstance(nesting, PlacedRange):
            _, start, end, (list_id, depth, _) = nesting
            self._add(end - start, list_id, depth * 2)
            return
        for starts, ends, list_ids, packed_depths in nesting._ranges.values():  # noqa: SLF001  # the same module
            for each in zip(map(sub, ends, starts), list_ids, packed_depths, strict=True):
                self._add(*each)

    def _add(self, clocks: int, list_id: int, packed_depth: int) -> None:
        if list_id:
            # The lowest bit of each number of a list is 1.
            index = list_id >> 1 & _LENGTHS - 1
            self._lengths[index] = length = self._lengths[index] + clocks
            self._longest = max(self._longest, length)
        elif packed_depth > 1:
            self._unknown += clocks


def _read_numbers(decoder: Decoder, numbers: "array[int]") -> "array[int]":
    """Read the numbers that `Nesting.encode` wrote, append them to `numbers`, and return `numbers`."""
    numbers.frombytes(zlib.decompress(decoder.buffer()))
    return numbers
