"""The pending updates of a document, in small pieces. Each piece waits for a struct that the document lacks."""

import heapq
from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

from svgx_yjs.joining import structs_from
from svgx_yjs.parts import Span, Split
from svgx_yjs.structure import Id

PIECE_OVERHEAD_BYTES = 600
"""Bytes of memory that one pending piece takes in addition to its own bytes."""


class ReleasedPiece(NamedTuple):
    """A piece that waits for nothing any more, and the author of its edit. The author is None for the journal."""

    update: bytes
    author: str | None


class _Pending(NamedTuple):
    """A pending piece: where its structs are, and where it comes from."""

    missing: Id
    """The struct that the piece waits for."""
    span: Span | None
    """The clocks of the piece. A piece of deletions has none."""
    author: str | None


class PendingPieces:
    """The pending pieces, oldest first.

    `_by_missing_client` has heaps of these pieces, by the client of the struct that they wait for, lowest clock first.
    `_spans` has the pieces with structs, by their own client.
    """

    def __init__(self) -> None:
        self.bytes = 0
        """Bytes of memory that the pieces take, including `PIECE_OVERHEAD_BYTES` for each piece."""
        self._pieces: dict[bytes, _Pending] = {}
        self._by_missing_client: dict[int, list[tuple[int, bytes]]] = defaultdict(list)
        self._spans: dict[int, list[tuple[int, int, bytes]]] = defaultdict(list)

    def __len__(self) -> int:
        return len(self._pieces)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._pieces)

    def __contains__(self, piece: bytes) -> bool:
        return piece in self._pieces

    def overlaps(self, span: Span) -> bool:
        """Return whether a piece has a struct at one of these clocks."""
        spans = self._spans.get(span.client, ())
        at = bisect_left(spans, (span.end,))
        return at > 0 and spans[at - 1][1] > span.clock

    def new_bytes(self, parts: Split) -> int:
        """Return the bytes of memory that the new pieces of a split update would take."""
        new_pieces = [piece for piece, _ in parts.pieces if piece not in self._pieces]
        return sum(map(len, new_pieces)) + PIECE_OVERHEAD_BYTES * len(new_pieces)

    def keep(self, parts: Split, author: str | None) -> list[bytes]:
        """Keep the pending pieces of a split update. Return the new ones."""
        new_pieces = []
        for number, (piece, missing) in enumerate(parts.pieces):
            if piece in self._pieces:
                continue
            new_pieces.append(piece)
            span = parts.spans[number] if number < len(parts.spans) else None
            self._pieces[piece] = _Pending(missing, span, author)
            self.bytes += len(piece) + PIECE_OVERHEAD_BYTES
            heapq.heappush(self._by_missing_client[missing[0]], (missing[1], piece))
            if span is not None:
                insort(self._spans[span.client], (span.clock, span.end, piece))
        return new_pieces

    def take_released(
        self, clients: Collection[int], clocks: Mapping[int, int]
    ) -> list[ReleasedPiece]:
        """Remove and return the pieces that no longer wait, because structs of these clients were integrated.

        `clocks` has the next clocks.

        A piece that begins below its own client's next clock is removed too. Only its structs from the next clock on
        are returned.
        """
        released = self._take_superseded(clients, clocks)
        for client in clients:
            clock = clocks.get(client, 0)
            heap = self._by_missing_client.get(client, [])
            while heap and heap[0][0] < clock:
                piece = heapq.heappop(heap)[1]
                released.append(ReleasedPiece(piece, self._remove(piece).author))
            if not heap:
                self._by_missing_client.pop(client, None)
        return released

    def limit(self, limit: int) -> None:
        """If the pieces have more than `limit` bytes, forget the oldest until half of the limit is left.

        The heaps are built anew afterwards. Half of the limit stays free, so that the next edits do not cause the same
        work again.
        """
        if self.bytes <= limit:
            return
        while self.bytes > limit // 2:
            self._remove(next(iter(self._pieces)))
        self._by_missing_client.clear()
        for piece, pending in self._pieces.items():
            client, clock = pending.missing
            heapq.heappush(self._by_missing_client[client], (clock, piece))

    def _take_superseded(
        self, clients: Collection[int], clocks: Mapping[int, int]
    ) -> list[ReleasedPiece]:
        """Remove these clients' pieces that begin below the client's next clock.

        Return the structs of these pieces from the next clock on.

        The document has integrated other structs below the next clock. A struct that begins below the next clock and
        ends above it is dropped, because it contradicts the document. If the document had the first part of this
        struct, the remainder would not be pending.
        """
        remainders = []
        waited_for = set()
        for client in {*clients}:
            clock = clocks.get(client, 0)
            while (spans := self._spans.get(client)) and spans[0][0] < clock:
                _, end, piece = spans[0]
                pending = self._remove(piece)
                waited_for.add(pending.missing[0])
                if end > clock and (remainder := structs_from(piece, clock)) is not None:
                    remainders.append(ReleasedPiece(remainder, pending.author))
        for client in waited_for:
            heap = [each for each in self._by_missing_client.pop(client) if each[1] in self._pieces]
            if heap:
                heapq.heapify(heap)
                self._by_missing_client[client] = heap
        return remainders

    def _remove(self, piece: bytes) -> _Pending:
        """Remove a piece, but not from the heaps."""
        pending = self._pieces.pop(piece)
        self.bytes -= len(piece) + PIECE_OVERHEAD_BYTES
        span = pending.span
        if span is not None:
            spans = self._spans[span.client]
            del spans[bisect_left(spans, (span.clock, span.end, piece))]
            if not spans:
                del self._spans[span.client]
        return pending
