"""Cut a large update into small updates, so that the holder of a document does other work between them.

Each piece has whole structs. The pieces come in an order in which each can be integrated at once, as far as possible:
a struct comes after the structs that it depends on, and the deletions come last.
"""

import heapq
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from svgx_yjs.delete_set import PIECE_RANGES, Ranges, encode_delete_set, read_delete_set
from svgx_yjs.lib0 import Decoder, Encoder, Malformed
from svgx_yjs.structure import read_struct


@dataclass(slots=True)
class _Run:
    """Consecutive structs of one client, and the position of their bytes.

    `needs` has, for each other client, the clock that it must have reached before the structs are integrated. A run
    ends before a struct that needs more.
    """

    client: int
    clock: int
    start: int
    end: int = 0
    end_clock: int = 0
    count: int = 0
    needs: dict[int, int] = field(default_factory=dict)


@dataclass(slots=True)
class _Section:
    """The runs of one client that are not ordered yet."""

    client: int
    runs: deque[_Run]


class Pieces:
    """The pieces of an update, in order. Iterating encodes them one by one. The constructor raises `Malformed`.

    A piece has at most `max_bytes` bytes of structs, or a single larger struct.
    """

    def __init__(self, update: bytes, max_bytes: int) -> None:
        self._update = update
        self._max_bytes = max_bytes
        decoder = Decoder(update)
        sections = [self._read_section(decoder) for _ in range(decoder.uint())]
        if len({section.client for section in sections}) < len(sections):
            raise Malformed("a client appears twice or without structs")
        self._deletions: Ranges = dict(read_delete_set(decoder))
        if not decoder.done:
            raise Malformed("there are bytes after the update")
        self._runs = list(_order(sections))

    def __iter__(self) -> Iterator[bytes]:
        """Yield the pieces."""
        runs: dict[int, _Run] = {}
        size = 0
        for run in self._runs:
            length = run.end - run.start
            if runs and size + length > self._max_bytes:
                yield self._encode(runs, {})
                runs, size = {}, 0
            # The runs of a client are adjacent in the update, so a piece joins them into one section.
            first = runs.get(run.client)
            runs[run.client] = run if first is None else _join(first, run)
            size += length
        if runs:
            yield self._encode(runs, {})
        yield from self._encode_deletions()

    def _read_section(self, decoder: Decoder) -> _Section:
        count, client, clock = decoder.uint(), decoder.uint(), decoder.uint()
        if not count:
            raise Malformed("a client appears twice or without structs")
        run = _Run(client, clock, decoder.position)
        runs = deque([run])
        needed_before: dict[int, int] = {}
        for _ in range(count):
            start = decoder.position
            struct = read_struct(decoder, client, clock)
            needs: dict[int, int] = {}
            for other, needed in struct.dependencies:
                if other != client and needed >= needed_before.get(other, 0):
                    needs[other] = needed_before[other] = needed + 1
            if run.count and (needs or decoder.position - run.start > self._max_bytes):
                run = _Run(client, clock, start)
                runs.append(run)
            clock += struct.length
            run.count += 1
            run.end, run.end_clock = decoder.position, clock
            if needs:
                run.needs = needs
        return _Section(client, runs)

    def _encode(self, runs: dict[int, _Run], deletions: Ranges) -> bytes:
        encoder = Encoder().uint(len(runs))
        for run in runs.values():
            encoder.uint(run.count).uint(run.client).uint(run.clock)
            encoder.raw(self._update[run.start : run.end])
        return encode_delete_set(encoder, deletions).finish()

    def _encode_deletions(self) -> Iterator[bytes]:
        piece: Ranges = {}
        size = 0
        for client, ranges in self._deletions.items():
            for start in range(0, len(ranges), PIECE_RANGES):
                piece[client] = ranges[start : start + PIECE_RANGES]
                size += len(piece[client])
                if size >= PIECE_RANGES:
                    yield self._encode({}, piece)
                    piece, size = {}, 0
        if piece:
            yield self._encode({}, piece)


def _join(first: _Run, second: _Run) -> _Run:
    """Return one run of two that follow each other."""
    count = first.count + second.count
    return _Run(first.client, first.clock, first.start, second.end, second.end_clock, count)


def _order(sections: list[_Section]) -> Iterator[_Run]:
    """Yield all runs, each after the runs that it needs. Where runs need each other, yield one of them first."""
    reached = {section.client: section.runs[0].clock for section in sections}
    ready = deque(sections)
    blocked: dict[int, list[tuple[int, int, _Section]]] = {}
    waiting: dict[int, _Section] = {}
    while ready or waiting:
        forced = not ready
        section = ready.popleft() if ready else waiting.pop(next(iter(waiting)))
        while section.runs:
            missing = None if forced else _missing(section.runs[0], reached)
            if missing is not None:
                client, needed = missing
                heapq.heappush(blocked.setdefault(client, []), (needed, section.client, section))
                waiting[section.client] = section
                break
            forced = False
            run = section.runs.popleft()
            yield run
            reached[run.client] = run.end_clock
            heap = blocked.get(run.client)
            while heap and heap[0][0] <= run.end_clock:
                released = heapq.heappop(heap)[2]
                if waiting.pop(released.client, None) is not None:
                    ready.append(released)


def _missing(run: _Run, reached: dict[int, int]) -> tuple[int, int] | None:
    """Return a client and a clock that the run needs and that is still to come, or None."""
    for client, needed in run.needs.items():
        clock = reached.get(client)
        if clock is not None and clock < needed:
            return client, needed
    return None
