"""Cut a large update into small updates, so that the holder of a document can do other work between them.

Each piece has whole structs. As far as possible, the pieces come in an order in which no piece has to wait for a later
piece: a struct comes after the structs that it depends on, and the deletions come last.

The memory and the time are bounded, because the update may come from an attacker: the order is kept for `MAX_RUNS` runs
only, and an update with too many parts is refused.
"""

import heapq
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from svgx_yjs.delete_set import PIECE_RANGES
from svgx_yjs.lib0 import Decoder, Encoder, Malformed
from svgx_yjs.structure import Id, check_range, read_struct

MAX_RUNS = 20_000
"""Maximum number of runs that begin because a struct depends on another client.

Beyond it, a run ends only at the size of a piece.
"""

MAX_CLIENTS = 50_000
"""Maximum number of clients with structs, and of clients with deletions. An update with more is refused."""

MAX_STRUCTS = 1_000_000
"""Maximum number of structs and deleted ranges together. An update with more is refused."""

MAX_VALUES = 4_000_000
"""Approximate maximum number of values in the contents of all structs. An update with more is refused."""


class TooManyParts(ValueError):
    """The update has more clients, structs, deleted ranges or values than this module cuts."""


@dataclass(slots=True)
class _Run:
    """Consecutive structs of one client, and the position of their bytes.

    `needs` names other clients, each with the clock that the other client must reach before the run can be integrated.
    A run ends before a struct that needs more, unless `MAX_RUNS` runs have already ended for this reason.
    """

    client: int
    clock: int
    start: int
    end: int = 0
    end_clock: int = 0
    count: int = 0
    needs: tuple[Id, ...] = ()


@dataclass(slots=True)
class _Section:
    """The runs of one client that are not ordered yet, from the last to the first."""

    client: int
    runs: list[_Run]


class _CountedDecoder(Decoder):
    """A decoder that limits the number of `byte` calls. Each struct and each value begins with one such call."""

    __slots__ = ("_calls_left",)

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self._calls_left = MAX_STRUCTS + MAX_VALUES

    def byte(self) -> int:
        """Read one byte. Raises `TooManyParts`."""
        self._calls_left -= 1
        if self._calls_left < 0:
            raise TooManyParts(
                f"an update may have at most {MAX_STRUCTS + MAX_VALUES} structs and values"
            )
        return super().byte()


class Pieces:
    """The pieces of an update, in order. Iterating encodes them one by one.

    A piece has at most `max_bytes` bytes of structs, or a single larger struct. The constructor raises `Malformed` and
    `TooManyParts`.
    """

    def __init__(self, update: bytes, max_bytes: int) -> None:
        self._update = update
        self._max_bytes = max_bytes
        self._structs_left = MAX_STRUCTS
        self._runs_left = MAX_RUNS
        decoder = _CountedDecoder(update)
        sections = [self._read_section(decoder) for _ in range(_count_of_clients(decoder))]
        if len({section.client for section in sections}) < len(sections):
            raise Malformed("a client appears twice or without structs")
        self._deletions = list(self._read_deletions(decoder))
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
                yield self._encode(runs)
                runs, size = {}, 0
            # The runs of a client are adjacent in the update, so a piece joins them into one section.
            first = runs.get(run.client)
            runs[run.client] = run if first is None else _join(first, run)
            size += length
        if runs:
            yield self._encode(runs)
        yield from self._deletions

    def _read_section(self, decoder: Decoder) -> _Section:
        """Read the structs of one client, and divide them into runs. Raises `Malformed` and `TooManyParts`."""
        count, client, clock = decoder.uint(), decoder.uint(), decoder.uint()
        if not count:
            raise Malformed("a client appears twice or without structs")
        self._count(count)
        run = _Run(client, clock, decoder.position)
        runs = [run]
        needed_before: dict[int, int] = {}
        for _ in range(count):
            start = decoder.position
            struct = read_struct(decoder, client, clock)
            needs: tuple[Id, ...] = ()
            if self._runs_left:
                for other, needed in struct.dependencies:
                    if other != client and needed >= needed_before.get(other, 0):
                        needed_before[other] = needed + 1
                        needs += ((other, needed + 1),)
                self._runs_left -= bool(needs)
            if run.count and (needs or decoder.position - run.start > self._max_bytes):
                run = _Run(client, clock, start)
                runs.append(run)
            clock += struct.length
            run.count += 1
            run.end, run.end_clock = decoder.position, clock
            if needs:
                run.needs = needs
        runs.reverse()
        return _Section(client, runs)

    def _read_deletions(self, decoder: Decoder) -> Iterator[bytes]:
        """Yield the pieces of the delete set. A piece copies the bytes of its ranges."""
        seen: set[int] = set()
        body, clients, size = Encoder(), 0, 0
        for _ in range(_count_of_clients(decoder)):
            client, left = decoder.uint(), decoder.uint()
            if client in seen:
                raise Malformed("a client appears twice in the delete set")
            seen.add(client)
            self._count(left)
            while left:
                count = min(left, PIECE_RANGES)
                start = decoder.position
                for _ in range(count):
                    check_range(decoder.uint(), decoder.uint())
                body.uint(client).uint(count).raw(self._update[start : decoder.position])
                clients, size, left = clients + 1, size + count, left - count
                if size >= PIECE_RANGES:
                    yield Encoder().uint(0).uint(clients).raw(body.finish()).finish()
                    body, clients, size = Encoder(), 0, 0
        if clients:
            yield Encoder().uint(0).uint(clients).raw(body.finish()).finish()

    def _count(self, parts: int) -> None:
        """Count structs or deleted ranges. Raises `TooManyParts`."""
        self._structs_left -= parts
        if self._structs_left < 0:
            raise TooManyParts(
                f"an update may have at most {MAX_STRUCTS} structs and deleted ranges"
            )

    def _encode(self, runs: dict[int, _Run]) -> bytes:
        encoder = Encoder().uint(len(runs))
        for run in runs.values():
            encoder.uint(run.count).uint(run.client).uint(run.clock)
            encoder.raw(self._update[run.start : run.end])
        return encoder.uint(0).finish()


def _count_of_clients(decoder: Decoder) -> int:
    """Read a number of clients. Raises `TooManyParts`."""
    count = decoder.uint()
    if count > MAX_CLIENTS:
        raise TooManyParts(f"an update may have at most {MAX_CLIENTS} clients")
    return count


def _join(first: _Run, second: _Run) -> _Run:
    """Join two runs that follow each other into one run."""
    count = first.count + second.count
    return _Run(first.client, first.clock, first.start, second.end, second.end_clock, count)


def _order(sections: list[_Section]) -> Iterator[_Run]:
    """Yield all runs, each after the runs that it needs. Where runs need each other, yield one of them first."""
    reached = {section.client: section.runs[-1].clock for section in sections}
    ready = deque(sections)
    blocked: dict[int, list[tuple[int, int, _Section]]] = {}
    waiting: dict[int, _Section] = {}
    while ready or waiting:
        forced = not ready
        section = ready.popleft() if ready else waiting.pop(next(iter(waiting)))
        while section.runs:
            need = None if forced else _unmet_need(section.runs[-1], reached)
            if need is not None:
                client, needed = need
                heapq.heappush(blocked.setdefault(client, []), (needed, section.client, section))
                waiting[section.client] = section
                break
            forced = False
            run = section.runs.pop()
            yield run
            reached[run.client] = run.end_clock
            heap = blocked.get(run.client)
            while heap and heap[0][0] <= run.end_clock:
                released_section = heapq.heappop(heap)[2]
                if waiting.pop(released_section.client, None) is not None:
                    ready.append(released_section)


def _unmet_need(run: _Run, reached: dict[int, int]) -> tuple[int, int] | None:
    """Return a client that has not reached the clock that the run needs, and this clock, or None."""
    for client, needed in run.needs:
        clock = reached.get(client)
        if clock is not None and clock < needed:
            return client, needed
    return None
