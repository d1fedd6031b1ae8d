"""Check a Yjs update before a document interprets it, and split it by the structs that the document has."""

import heapq
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from svgx_yjs.delete_set import Ranges, delete_set_pieces, encode_delete_set, read_delete_set
from svgx_yjs.lib0 import Decoder, Encoder, Malformed
from svgx_yjs.nesting import GC_PLACE, Nesting, Place
from svgx_yjs.parts import Run, Span, Split, Step
from svgx_yjs.short_edits import CAN_CONTAIN, MAX_DEPTH, split_short
from svgx_yjs.structure import GC, KIND, MAX_CLOCK, ORIGIN, RIGHT_ORIGIN, SKIP, Id, read_struct

PIECE_BYTES = 16 * 1024
"""Size in bytes beyond which a piece of pending structs ends. A piece exceeds this size by one struct at most."""

STEP_STRUCTS = 16
"""Maximum number of structs in one step of an update."""


def split(update: bytes, known: Mapping[int, int], nesting: Nesting) -> Split:
    """Check `update` and split it.

    `known` has the next clock of each client in the document. `nesting` has the places of the document's structs.
    pycrdt and JavaScript peers can read an update that passes: its counts fit its content, its numbers are in range,
    its kinds of content exist in Yjs, and its JSON is valid. Raises `Malformed`.
    """
    short_split = split_short(update, known, nesting)
    if short_split is not None:
        return short_split
    decoder = Decoder(update)
    reader = _Reader(decoder, known, nesting)
    reader.read()
    ready, pending = _split_delete_set(decoder, reader)
    if not decoder.done:
        raise Malformed("the update has trailing bytes")
    sections = reader.sections
    blocked = [section for section in sections if section.at < section.end]
    integrable = [section for section in sections if section.done]
    runs = tuple([section.run(update) for section in integrable])
    if not blocked and not pending and not reader.must_rewrite:
        return Split(
            update,
            None,
            reader.clocks,
            reader.nesting,
            runs=runs,
            deletions=ready,
            steps=tuple(reader.steps),
        )
    pieces: list[tuple[bytes, Id]] = []
    spans = []
    for section in blocked:
        for step, end, missing in section.pieces():
            pieces.append((_encode(update, [step], {}), missing))
            spans.append(Span(step.client, step.clock, end))
    for client, ranges in pending.items():
        pieces += [
            (_encode(b"", [], {client: piece}), missing)
            for piece, missing in delete_set_pieces(client, ranges, reader.next_clock(client))
        ]
    return Split(
        _encode(update, [section.ready() for section in integrable], ready)
        if integrable or ready
        else None,
        _encode(update, [section.pending() for section in blocked], pending) if pieces else None,
        reader.clocks,
        reader.nesting,
        tuple(pieces),
        tuple(spans),
        reader.unplaceable,
        runs,
        ready,
        tuple(reader.steps),
        tuple([section.client for section in blocked]),
    )


def check(update: bytes) -> None:
    """Raise `Malformed` if the update fails the check of `split`."""
    split(update, {}, Nesting())


def leave_out(update: bytes, clients: Collection[int]) -> bytes:
    """Return `update`, which must be well-formed, without the structs of these clients. Its deletions stay."""
    decoder = Decoder(update)
    kept_steps = [step for step, _ in read_sections(decoder) if step.client not in clients]
    return _encode(update, kept_steps, dict(read_delete_set(decoder)))


def read_sections(decoder: Decoder) -> Iterator[tuple[Step, int]]:
    """Yield the structs of each client in an update, and the clock after them. Raises `Malformed`.

    Afterwards, the decoder is at the deletions.
    """
    for _ in range(decoder.uint()):
        count, client, first = decoder.uint(), decoder.uint(), decoder.uint()
        start, clock = decoder.position, first
        for _ in range(count):
            clock += read_struct(decoder, client, clock).length
        yield Step(count, client, first, start, decoder.position), clock


class _Cut(NamedTuple):
    """A cut between two pieces of pending structs. A skip between the pieces belongs to neither piece."""

    remaining: int
    """The number of structs after the first piece, up to the end of the section."""
    clock: int
    """The clock after the first piece."""
    end: int
    """The position after the first piece."""
    next_remaining: int
    """The number of structs from the second piece on."""
    next_clock: int
    next_start: int


@dataclass(slots=True)
class _Section:
    """The structs of one client in an update.

    The structs from `start` to `at` can be integrated; `done` counts them. The structs from `at` to `end` are pending,
    because `missing` is not integrated.
    """

    client: int
    first_clock: int
    start: int
    count: int
    done: int = 0
    clock: int = 0
    """The clock of the struct at `at`."""
    at: int = 0
    end: int = 0
    last_clock: int = 0
    """The clock at `end`."""
    missing: Id = (0, 0)
    cuts: list[_Cut] = field(default_factory=list)
    """The cuts between the pieces of the pending structs."""

    def ready(self) -> Step:
        """Return the structs that can be integrated."""
        return Step(self.done, self.client, self.first_clock, self.start, self.at)

    def run(self, update: bytes) -> Run:
        """Return the structs that can be integrated, with their bytes in the update."""
        content = update[self.start : self.at]
        return Run(self.client, self.first_clock, self.clock, self.done, content)

    def pending(self) -> Step:
        """Return the structs that cannot be integrated yet."""
        return Step(self.count - self.done, self.client, self.clock, self.at, self.end)

    def pieces(self) -> Iterator[tuple[Step, int, Id]]:
        """Yield the pending structs in pieces. Each comes with the clock after it and the struct that it waits for.

        The first piece waits for `missing`. Each other piece waits for the clock before its first clock.
        """
        remaining, clock, start = self.count - self.done, self.clock, self.at
        missing = self.missing
        last = _Cut(0, self.last_clock, self.end, 0, self.last_clock, self.end)
        for cut in (*self.cuts, last):
            if start < cut.end:
                yield (
                    Step(remaining - cut.remaining, self.client, clock, start, cut.end),
                    cut.clock,
                    missing,
                )
            if start < cut.next_start:
                remaining, clock, start = cut.next_remaining, cut.next_clock, cut.next_start
                missing = self.client, clock - 1


class _Reader:
    """The reader of an update's structs. It advances in each section until a struct depends on a missing struct."""

    def __init__(self, decoder: Decoder, known: Mapping[int, int], nesting: Nesting) -> None:
        self.sections: list[_Section] = []
        self.clocks: dict[int, int] = {}
        self.nesting = Nesting()
        self.steps: list[Step] = []
        self.unplaceable = False
        self.must_rewrite = False
        """True if the update must be encoded anew even if nothing is pending."""
        self._decoder = decoder
        self._known = known
        self._known_nesting = nesting
        # Heaps of blocked sections by the client they wait for, lowest clock first. The second number is the section's
        # own client, so that the heap never compares two sections.
        self._blocked: dict[int, list[tuple[int, int, _Section]]] = {}

    def next_clock(self, client: int) -> int:
        """Return the client's next clock. All lower clocks are in the document or can be integrated."""
        clock = self.clocks.get(client)
        return self._known.get(client, 0) if clock is None else clock

    def read(self) -> None:
        """Read all sections. Then resume each blocked section if another section had the struct that it lacks."""
        decoder = self._decoder
        seen: set[int] = set()
        for _ in range(decoder.uint()):
            count, client, clock = decoder.uint(), decoder.uint(), decoder.uint()
            if client in seen or not count:
                raise Malformed("a client appears twice or without structs")
            seen.add(client)
            section = _Section(client, clock, decoder.position, count)
            self.sections.append(section)
            self._read_section(section)
        end = decoder.position
        advanced = [section.client for section in self.sections] if self._blocked else []
        while advanced:
            client = advanced.pop()
            heap = self._blocked.get(client)
            while heap and heap[0][0] < self.next_clock(client):
                section = heapq.heappop(heap)[2]
                decoder.position = section.at
                self._advance(section)
                advanced.append(section.client)
        decoder.position = end

    def _read_section(self, section: _Section) -> None:
        """Read a section to its end: find the first structs that can be integrated, and cut the others into pieces."""
        decoder = self._decoder
        section.at, section.clock = decoder.position, section.first_clock
        self._advance(section)
        clock = section.clock
        if section.done < section.count:
            decoder.position = section.at
        start = section.at
        for remaining in range(section.count - section.done, 0, -1):
            at = decoder.position
            if at - start > PIECE_BYTES:
                start = at
                section.cuts.append(_Cut(remaining, clock, at, remaining, clock, at))
            length, info, *_ = read_struct(decoder, section.client, clock)
            if info == SKIP:
                start = decoder.position
                section.cuts.append(
                    _Cut(remaining, clock, at, remaining - 1, clock + length, start)
                )
            clock += length
        section.end, section.last_clock = decoder.position, clock

    def _advance(self, section: _Section) -> None:
        """Read structs of a section from `section.at` on, until one cannot be integrated."""
        decoder, client = self._decoder, section.client
        done, first, start = section.done, section.clock, section.at
        next_clock = self.next_clock(client)
        while section.done < section.count:
            clock = section.clock
            length, info, dependencies, list_id, uncuttable = read_struct(decoder, client, clock)
            end = clock + length
            is_known = end <= next_clock
            if not is_known and info != SKIP:
                missing = self._missing(client, clock, next_clock, dependencies)
                place = self._place(info, dependencies, list_id) if missing is None else None
                if place is not None and clock < next_clock:
                    place = self._place_of_rest(client, next_clock, place)
                    if next_clock - clock in uncuttable:
                        place = None
                if place is None:
                    self._add_step(section, done, first, start)
                    self._block(section, missing or (client, MAX_CLOCK))
                    self.unplaceable = self.unplaceable or missing is None
                    return
                self.nesting.add(client, next_clock, end, place)
                if uncuttable:
                    self.nesting.forbid_cuts(client, uncuttable, clock, start=next_clock)
                self.clocks[client] = next_clock = end
            section.clock = end
            section.done += 1
            section.at = decoder.position
            if is_known:
                # The document has the struct already. Leave it out of `ready`: its content in this update may differ.
                self.must_rewrite = True
                section.first_clock, section.start = end, section.at
                section.count -= section.done
                section.done = done = 0
                first, start = end, section.at
            elif section.done - done == STEP_STRUCTS:
                self._add_step(section, done, first, start)
                done, first, start = section.done, end, section.at
        self._add_step(section, done, first, start)

    def _add_step(self, section: _Section, done: int, first: int, start: int) -> None:
        """Add the step that begins with the struct at `start`, unless the step is empty.

        `done` counts the structs of the section before this step. `first` is the clock of the step's first struct.
        """
        if section.done > done:
            self.steps.append(Step(section.done - done, section.client, first, start, section.at))

    def _block(self, section: _Section, missing: Id) -> None:
        section.missing = missing
        heap = self._blocked.setdefault(missing[0], [])
        heapq.heappush(heap, (missing[1], section.client, section))

    def _missing(
        self, client: int, clock: int, next_clock: int, dependencies: tuple[Id, ...]
    ) -> Id | None:
        """Return the first struct that is not integrated and on which the struct at `clock` depends, or None."""
        if clock > next_clock:
            return client, clock - 1
        for dependency in dependencies:
            # Dependencies on the struct's own client are earlier structs, which are integrated.
            if dependency[0] != client and dependency[1] >= self.next_clock(dependency[0]):
                return dependency
        return None

    def may_cut(self, client: int, clock: int) -> bool:
        """Return whether a struct may be cut before this clock."""
        return self.nesting.may_cut(client, clock) and self._known_nesting.may_cut(client, clock)

    def _place(self, info: int, dependencies: tuple[Id, ...], list_id: int) -> Place | None:
        """Return the place of a struct, or None if no place is possible. Its dependencies must be integrated."""
        if info == GC:
            return GC_PLACE
        depth = 1
        if not list_id:
            places = [self._place_of(dependency) for dependency in dependencies]
            depth = max([place.depth for place in places])
            list_ids = {place.list_id for place in places}
            # A neighbour may be a GC. Its list is unknown, so the struct's list is unknown too.
            list_id = 0 if 0 in list_ids else list_ids.pop()
            if (list_id and list_ids) or not self._may_insert(info, dependencies):
                return None
        elif dependencies:  # the parent, unless it is a root type
            parent = self._place_of(dependencies[0])
            depth = parent.depth + 1
            if not parent.can_contain:
                return None
        can_contain = info & KIND in CAN_CONTAIN
        return Place(list_id, depth, can_contain) if depth <= MAX_DEPTH else None

    def _may_insert(self, info: int, neighbours: tuple[Id, ...]) -> bool:
        """Return whether an item may be inserted beside these neighbours.

        Each neighbour is the id of one clock. If the struct with this clock has more clocks, the insertion cuts it.
        """
        if info & ORIGIN and not self.may_cut(neighbours[0][0], neighbours[0][1] + 1):
            return False
        return not info & RIGHT_ORIGIN or self.may_cut(*neighbours[-1])

    def _place_of_rest(self, client: int, next_clock: int, place: Place) -> Place | None:
        """Return the place of a struct's rest, from `next_clock` on. The first part of the struct is integrated.

        Return None if the first part is in another list, or if the struct must not be cut before `next_clock`.
        """
        before = self._place_of((client, next_clock - 1))
        if not self.may_cut(client, next_clock):
            return None
        # The list of a GC is unknown, so it may be the same.
        list_ids = {before.list_id, place.list_id}
        return place if len(list_ids) == 1 or 0 in list_ids else None

    def _place_of(self, struct: Id) -> Place:
        place = self.nesting.get(*struct) or self._known_nesting.get(*struct)
        assert place is not None, "the struct is integrated"
        return place


def _split_delete_set(decoder: Decoder, reader: _Reader) -> tuple[Ranges, Ranges]:
    """Return the ranges that can be deleted now, and the pending ranges.

    A range is pending if its structs are missing, or if it would need a forbidden cut.
    """
    ready: Ranges = {}
    pending: Ranges = {}
    for client, ranges in read_delete_set(decoder):
        next_clock = reader.next_clock(client)
        last = 0
        for clock, length in ranges:
            end = clock + length
            if clock < last:
                # The ranges are sorted below. For each range out of order, pycrdt would move in memory all structs that
                # earlier ranges have cut.
                reader.must_rewrite = True
            last = clock
            if not reader.may_cut(client, clock) or not reader.may_cut(client, end):
                reader.unplaceable = True
                pending.setdefault(client, []).append((clock, length))
                continue
            if clock < next_clock:
                ready.setdefault(client, []).append((clock, min(end, next_clock) - clock))
            if end > next_clock:
                first = max(clock, next_clock)
                pending.setdefault(client, []).append((first, end - first))
    for ready_ranges in ready.values():
        ready_ranges.sort()
    return ready, pending


def encode_steps(update: bytes, steps: Sequence[Step]) -> bytes:
    """Encode an update with these steps of `update`. In `update`, the steps of each client must be consecutive."""
    by_client: dict[int, Step] = {}
    for step in steps:
        earlier = by_client.get(step.client)
        if earlier is not None:
            step = Step(  # noqa: PLW2901  # the united step
                earlier.structs + step.structs, step.client, earlier.clock, earlier.start, step.end
            )
        by_client[step.client] = step
    return _encode(update, [*by_client.values()], {})


def cut_steps(update: bytes, steps: Iterable[Step], limit: int) -> Iterator[Step]:
    """Yield the steps of `update`, cut into steps of at most `limit` structs."""
    decoder = Decoder(update)
    for step in steps:
        decoder.position, end = step.start, step.clock
        for done in range(0, step.structs, limit):
            count = min(limit, step.structs - done)
            start, clock = decoder.position, end
            for _ in range(count):
                end += read_struct(decoder, step.client, end).length
            yield Step(count, step.client, clock, start, decoder.position)


def encode_runs(runs: Sequence[Run], deletions: Ranges) -> bytes:
    """Encode an update with these runs, which must be of different clients, and these deletions."""
    encoder = Encoder().uint(len(runs))
    for run in runs:
        encoder.uint(run.structs).uint(run.client).uint(run.clock).raw(run.content)
    return encode_delete_set(encoder, deletions).finish()


def _encode(update: bytes, steps: list[Step], deletions: Ranges) -> bytes:
    encoder = Encoder().uint(len(steps))
    for step in steps:
        encoder.uint(step.structs).uint(step.client).uint(step.clock).raw(
            update[step.start : step.end]
        )
    return encode_delete_set(encoder, deletions).finish()
