"""The structure of a Yjs update: checked before anything interprets it, and split by what a document has.

The Yjs v1 encoding (github.com/yjs/yjs, src/utils/encoding.js and src/structs; lib0's encoding below it): a count of
clients, and for each a count of structs, the client and the first clock, then the structs; after them the deletions: a
count of clients, and for each the client, a count of ranges, and for each range its clock and length. A struct starts
with a byte of flags and kind; an item names those it depends on by client and clock, then comes its content.
"""

import heapq
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from svgx_yjs.contents import skip_content
from svgx_yjs.lib0 import Decoder, Encoder, Malformed
from svgx_yjs.nesting import DELETED, Nesting, Place, siblings

EMPTY_UPDATE = b"\x00\x00"
"""A Yjs v1 update with no structs and no deletions."""

EMPTY_STATE_VECTOR = b"\x00"
"""The state vector of an empty document."""

MAX_CLOCK = 2**31
"""Every clock and length lies below it: pycrdt counts in 32 bits."""

MAX_DEPTH = 500
"""Types inside one another. Deleting the outermost recurses, in pycrdt and in browsers."""

PIECE_BYTES = 16 * 1024
"""What waits is cut into pieces not much larger."""

PIECE_DELETIONS = 1000
"""Ranges in such a piece."""

Id = tuple[int, int]
"""A client and a clock: names one struct, or a part of a longer one."""

_ORIGIN, _RIGHT_ORIGIN, _KEY, _KIND = 0x80, 0x40, 0x20, 0x1F
_GC, _SKIP = 0, 10
_MAY_BE_PARENT = (_GC, 1, 7)  # what is deleted, and types

_Ranges = dict[int, list[tuple[int, int]]]


@dataclass(frozen=True, slots=True)
class Split:
    """An update in two: what a document can integrate, and what waits for something that the document does not have.

    Either is None when there is nothing of it. `clocks` and `nesting` are those that the document has in addition once
    `ready` is integrated. `pieces` are `waiting` in small updates, each with what it waits for first: so what comes
    costs the reading of what it makes possible, and not of all that waits. `hopeless` says that some of it can never be
    integrated.
    """

    ready: bytes | None
    waiting: bytes | None
    clocks: dict[int, int]
    nesting: Nesting
    pieces: tuple[tuple[bytes, Id], ...] = ()
    hopeless: bool = False


@dataclass(frozen=True, slots=True)
class _Run:
    """Structs of one client that follow one another, and where their bytes are."""

    count: int
    client: int
    clock: int
    start: int
    end: int


@dataclass(slots=True)
class _Section:
    """The structs of one client. Those from `start` to `at` can be integrated; those from there to `end` not yet, and
    `lacking` is why. `cuts` are where the latter may be cut in pieces: structs left, clock and position."""

    client: int
    first_clock: int
    start: int
    count: int
    done: int = 0
    clock: int = 0
    at: int = 0
    end: int = 0
    lacking: Id = (0, 0)
    cuts: list[tuple[int, int, int]] = field(default_factory=list)

    def ready(self) -> _Run:
        """What can be integrated."""
        return _Run(self.done, self.client, self.first_clock, self.start, self.at)

    def waiting(self) -> _Run:
        """What cannot be integrated yet."""
        return _Run(self.count - self.done, self.client, self.clock, self.at, self.end)

    def pieces(self) -> Iterator[tuple[_Run, Id]]:
        """The same in pieces, and what each waits for: all but the first for the one before it."""
        left, clock, start = self.count - self.done, self.clock, self.at
        lacking = self.lacking
        for after, cut, end in (*self.cuts, (0, 0, self.end)):
            if start < end:
                yield _Run(left - after, self.client, clock, start, end), lacking
                left, clock, start = after, cut, end
                lacking = self.client, cut - 1


def split(update: bytes, known: Mapping[int, int], nesting: Nesting) -> Split:
    """Check `update`, and split it by the clocks that a document has, and how it is nested.

    What passes is safe to read for pycrdt and for JavaScript peers: counts are true, numbers in range, kinds are those
    of Yjs, JSON is JSON. Raises `Malformed`.
    """
    decoder = Decoder(update)
    reading = _Reading(decoder, known, nesting)
    reading.read()
    ready, waiting = _read_deletions(decoder, reading)
    if not decoder.done:
        raise Malformed("there is more after the deletions")
    sections = reading.sections
    blocked = [section for section in sections if section.at < section.end]
    if not blocked and not waiting and not reading.altered:
        return Split(update, None, reading.clocks, reading.nesting)
    pieces = [
        (_encode(update, [run], {}), lacking)
        for section in blocked
        for run, lacking in section.pieces()
    ]
    for client, ranges in waiting.items():
        pieces += _deletion_pieces(client, ranges, reading.has(client))
    integrable = [section.ready() for section in sections if section.done]
    return Split(
        _encode(update, integrable, ready) if integrable or ready else None,
        _encode(update, [section.waiting() for section in blocked], waiting) if pieces else None,
        reading.clocks,
        reading.nesting,
        tuple(pieces),
        reading.hopeless,
    )


def check(update: bytes) -> None:
    """Raises `Malformed` for what `split` would."""
    split(update, {}, Nesting())


def read_state_vector(state_vector: bytes) -> dict[int, int]:
    """The clocks of a state vector: a count, then client and clock for each. Raises `Malformed`."""
    decoder = Decoder(state_vector)
    clocks: dict[int, int] = {}
    for _ in range(decoder.uint()):
        client = decoder.uint()
        clocks[client] = decoder.uint()
        if clocks[client] >= MAX_CLOCK:
            raise Malformed("a clock is out of range")
    if not decoder.done:
        raise Malformed("there is more after the clocks")
    return clocks


class _Reading:
    """Reads the structs, and goes as far in each client's as everything they depend on is there."""

    def __init__(self, decoder: Decoder, known: Mapping[int, int], nesting: Nesting) -> None:
        self.sections: list[_Section] = []
        self.clocks: dict[int, int] = {}
        self.nesting = Nesting()
        self.hopeless = False
        self.altered = False
        self._decoder = decoder
        self._known = known
        self._known_nesting = nesting
        # Sections by the client they wait for, nearest clock first; the middle number keeps the order total.
        self._blocked: dict[int, list[tuple[int, int, _Section]]] = {}

    def has(self, client: int) -> int:
        """Clocks of this client below this one are in the document, or ready."""
        clock = self.clocks.get(client)
        return self._known.get(client, 0) if clock is None else clock

    def read(self) -> None:
        """Read all sections, then again what was blocked by something that came after it."""
        decoder = self._decoder
        seen: set[int] = set()
        for _ in range(decoder.uint()):
            count, client, clock = decoder.uint(), decoder.uint(), decoder.uint()
            if client in seen or not count:
                raise Malformed("a client appears twice, or for nothing")
            seen.add(client)
            section = _Section(client, clock, decoder.position, count)
            self.sections.append(section)
            self._read_section(section)
        end = decoder.position
        advanced = [section.client for section in self.sections] if self._blocked else []
        while advanced:
            client = advanced.pop()
            heap = self._blocked.get(client)
            while heap and heap[0][0] < self.has(client):
                section = heapq.heappop(heap)[2]
                decoder.position = section.at
                self._advance(section)
                advanced.append(section.client)
        decoder.position = end

    def _read_section(self, section: _Section) -> None:
        """Read all of it, once."""
        decoder = self._decoder
        section.at, section.clock = decoder.position, section.first_clock
        self._advance(section)
        clock = section.clock
        if section.done < section.count:
            decoder.position = section.at
        cut = section.at
        for left in range(section.count - section.done, 0, -1):
            if decoder.position - cut > PIECE_BYTES:
                cut = decoder.position
                section.cuts.append((left, clock, cut))
            clock += _read_struct(decoder, section.client, clock)[0]
        section.end = decoder.position

    def _advance(self, section: _Section) -> None:
        """Go on from where it stands, until a struct has to wait."""
        decoder, client = self._decoder, section.client
        while section.done < section.count:
            clock = section.clock
            length, info, needs, names, wholes = _read_struct(decoder, client, clock)
            end, there = clock + length, self.has(client)
            if end > there and info != _SKIP:
                missing = self._missing(client, clock, there, needs)
                place = self._place(info, needs, names) if missing is None else None
                if place is not None and clock < there:
                    place = self._continued(client, there, place)
                    if there - clock in wholes:
                        place = None
                if place is None:
                    self._block(section, missing or (client, MAX_CLOCK))
                    self.hopeless = self.hopeless or missing is None
                    return
                self.clocks[client] = end
                self.nesting.add(client, there, end, place)
                for offset in wholes:
                    self.nesting.keep_whole(client, clock + offset)
            section.clock = end
            section.done += 1
            section.at = decoder.position
            if end <= there:
                # Known already: whatever it says, it is not said again.
                self.altered = True
                section.first_clock, section.start = end, section.at
                section.count -= section.done
                section.done = 0

    def _block(self, section: _Section, missing: Id) -> None:
        section.lacking = missing
        heap = self._blocked.setdefault(missing[0], [])
        heapq.heappush(heap, (missing[1], section.client, section))

    def _missing(self, client: int, clock: int, there: int, needs: tuple[Id, ...]) -> Id | None:
        """The first thing that a struct depends on and that is not there."""
        if clock > there:
            return client, clock - 1
        for need in needs:
            if need[1] >= self.has(need[0]):
                return need
        return None

    def may_cut(self, client: int, clock: int) -> bool:
        """Whether a struct may be cut before this clock."""
        return self.nesting.may_cut(client, clock) and self._known_nesting.may_cut(client, clock)

    def _place(self, info: int, needs: tuple[Id, ...], names: int) -> Place | None:
        """Where a struct goes whose needs are there; None when it can go nowhere."""
        if info == _GC:
            return DELETED
        depth = 1
        if needs:
            others = [self._nesting_of(need) for need in needs]
            depth = max(other.depth for other in others)
            if names:
                depth += 1
                if not others[0].parent:
                    return None
            else:
                lists = {other.siblings for other in others}
                # Beside what is deleted so thoroughly that its list is forgotten: that may be anywhere.
                names = 0 if 0 in lists else lists.pop()
                if (names and lists) or not self._may_stand(info, needs):
                    return None
        parent = info & _KIND in _MAY_BE_PARENT
        return Place(names, depth, parent) if depth <= MAX_DEPTH else None

    def _may_stand(self, info: int, neighbours: tuple[Id, ...]) -> bool:
        """Whether an item may be put between these."""
        if info & _ORIGIN and not self.may_cut(neighbours[0][0], neighbours[0][1] + 1):
            return False
        return not info & _RIGHT_ORIGIN or self.may_cut(*neighbours[-1])

    def _continued(self, client: int, there: int, place: Place) -> Place | None:
        """The place of the rest of a struct whose first part is known up to `there`; None where they differ."""
        before = self._nesting_of((client, there - 1))
        if not self.may_cut(client, there):
            return None
        # What was deleted so thoroughly that its list is forgotten may have been anywhere.
        lists = {before.siblings, place.siblings}
        return place if len(lists) == 1 or 0 in lists else None

    def _nesting_of(self, struct: Id) -> Place:
        place = self.nesting.get(*struct) or self._known_nesting.get(*struct)
        assert place is not None, "its clock is there"
        return place


def _read_struct(
    decoder: Decoder, client: int, clock: int
) -> tuple[int, int, tuple[Id, ...], int, tuple[int, ...]]:
    """Read one struct: how many clocks it takes, its flags and kind, what it depends on, the list it is in, where that
    is told by the parent and not by the neighbours it was put between, and where it must not be cut."""
    info = decoder.byte()
    needs: tuple[Id, ...] = ()
    names = 0
    wholes: tuple[int, ...] = ()
    if info in (_GC, _SKIP):
        length = decoder.uint()
    else:
        if info & _ORIGIN:
            needs = ((decoder.uint(), decoder.uint()),)
        if info & _RIGHT_ORIGIN:
            needs += ((decoder.uint(), decoder.uint()),)
        if not needs:
            parent: object
            if decoder.flag():
                parent = decoder.text()
            else:
                parent = decoder.uint(), decoder.uint()
                needs = (parent,)
            names = siblings(parent, decoder.text() if info & _KEY else None)
        for need in needs:
            if need[0] == client and need[1] >= clock:
                raise Malformed("a struct depends on a later one of its own client")
        length, wholes = skip_content(decoder, info & _KIND)
    if not 0 < length < MAX_CLOCK - clock:
        raise Malformed("a clock or length is out of range")
    return length, info, needs, names, wholes


def _read_deletions(decoder: Decoder, reading: _Reading) -> tuple[_Ranges, _Ranges]:
    """The deleted ranges of what is there, and those of what is not or must not be cut so."""
    ready: _Ranges = {}
    waiting: _Ranges = {}
    seen: set[int] = set()
    for _ in range(decoder.uint()):
        client = decoder.uint()
        if client in seen:
            raise Malformed("a client's deletions appear twice")
        seen.add(client)
        there = reading.has(client)
        last = 0
        for _ in range(decoder.uint()):
            clock, length = decoder.uint(), decoder.uint()
            if not 0 < length < MAX_CLOCK - clock:
                raise Malformed("a clock or length is out of range")
            end = clock + length
            if clock < last:
                # Out of order each costs pycrdt the moving of all that was cut before.
                reading.altered = True
            last = clock
            if not reading.may_cut(client, clock) or not reading.may_cut(client, end):
                reading.hopeless = True
                waiting.setdefault(client, []).append((clock, length))
                continue
            if clock < there:
                ready.setdefault(client, []).append((clock, min(end, there) - clock))
            if end > there:
                clock = max(clock, there)
                waiting.setdefault(client, []).append((clock, end - clock))
    for ranges in ready.values():
        ranges.sort()
    return ready, waiting


def _deletion_pieces(
    client: int, ranges: list[tuple[int, int]], there: int
) -> Iterator[tuple[bytes, Id]]:
    """Deletions that wait, in pieces, and what each waits for; those with no hope wait beyond all clocks."""
    ranges = sorted(ranges)
    hopeless = bisect_left(ranges, (there, 0))
    starts = [*range(0, hopeless, PIECE_DELETIONS), *range(hopeless, len(ranges), PIECE_DELETIONS)]
    for start, end in zip(starts, [*starts[1:], len(ranges)], strict=True):
        clock = ranges[start][0] if start >= hopeless else MAX_CLOCK
        yield _encode(b"", [], {client: ranges[start:end]}), (client, clock)


def _encode(update: bytes, runs: list[_Run], deletions: _Ranges) -> bytes:
    encoder = Encoder().uint(len(runs))
    for run in runs:
        encoder.uint(run.count).uint(run.client).uint(run.clock).raw(update[run.start : run.end])
    encoder.uint(len(deletions))
    for client, ranges in deletions.items():
        encoder.uint(client).uint(len(ranges))
        for clock, length in ranges:
            encoder.uint(clock).uint(length)
    return encoder.finish()
