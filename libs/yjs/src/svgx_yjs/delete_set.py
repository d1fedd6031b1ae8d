"""Delete sets of Yjs updates (github.com/yjs/yjs, src/utils/DeleteSet.js).

The encoding starts with the number of clients. For each client, its id and its number of ranges follow, then the clock
and length of each range.
"""

from bisect import bisect_left
from collections.abc import Iterator, Mapping

from svgx_yjs.lib0 import Decoder, Encoder, Malformed
from svgx_yjs.structure import MAX_CLOCK, Id, check_range

PIECE_RANGES = 1000
"""Maximum number of ranges in one piece of a delete set."""

Range = tuple[int, int]
"""The first clock and the length of a deleted range."""

Ranges = dict[int, list[Range]]
"""Deleted ranges by client."""


def read_delete_set(decoder: Decoder) -> Iterator[tuple[int, list[Range]]]:
    """Yield each client with its deleted ranges. Raises `Malformed`."""
    seen: set[int] = set()
    for _ in range(decoder.uint()):
        client = decoder.uint()
        if client in seen:
            raise Malformed("a client appears twice in the delete set")
        seen.add(client)
        ranges: list[Range] = []
        for _ in range(decoder.uint()):
            clock, length = decoder.uint(), decoder.uint()
            check_range(clock, length)
            ranges.append((clock, length))
        yield client, ranges


def encode_delete_set(encoder: Encoder, ranges: Mapping[int, list[Range]]) -> Encoder:
    """Append a delete set to the encoder."""
    encoder.uint(len(ranges))
    for client, client_ranges in ranges.items():
        encoder.uint(client).uint(len(client_ranges))
        for clock, length in client_ranges:
            encoder.uint(clock).uint(length)
    return encoder


def merge_ranges(ranges: list[Range]) -> list[Range]:
    """Return the ranges in order, without repetitions. Ranges without a gap between them become one."""
    if len(ranges) == 1:
        return ranges
    merged: list[Range] = []
    first = end = -1
    for clock, length in sorted(ranges):
        if clock > end:
            if end > 0:
                merged.append((first, end - first))
            first = clock
        end = max(end, clock + length)
    merged.append((first, end - first))
    return merged


def delete_set_pieces(
    client: int, ranges: list[Range], next_clock: int
) -> Iterator[tuple[list[Range], Id]]:
    """Cut the pending ranges of a client into pieces. Yield each piece with the struct that it waits for.

    `next_clock` is the client's next clock. A pending range that begins below `next_clock` starts or ends inside a
    character of two code units. Such a range can never be applied, because an item must not be cut there (see
    `skip_content`). Its piece waits for `MAX_CLOCK`, which no struct has.
    """
    ranges = sorted(ranges)
    first_applicable = bisect_left(ranges, (next_clock, 0))
    starts = [
        *range(0, first_applicable, PIECE_RANGES),
        *range(first_applicable, len(ranges), PIECE_RANGES),
    ]
    for start, end in zip(starts, [*starts[1:], len(ranges)], strict=True):
        clock = ranges[start][0] if start >= first_applicable else MAX_CLOCK
        yield ranges[start:end], (client, clock)
