"""The arrivals of edits, cursors and receipts (reports of saved messages) at a sampled client.

They are decoded from the bytes that the client stored.
"""

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate

from bench.collab.edits import CREATION_CLOCKS
from bench.collab.frames import BINARY
from bench.collab.sockets import Client
from svgx_yjs import awareness, protocol
from svgx_yjs.lib0 import Decoder
from svgx_yjs.structure import SKIP, read_struct

Range = tuple[int, int, int]
"""A Yjs client id, the first clock of the range, and the clock after the last clock of the range."""


def messages(client: Client) -> Iterator[tuple[int, bytes]]:
    """Yield each message that the client stored, with the time at which its last byte arrived, in ns."""
    chunks, position = client.recorded
    times = [time for time, _ in chunks]
    ends = list(accumulate(len(chunk) for _, chunk in chunks))
    data = b"".join(chunk for _, chunk in chunks)
    prefix = len(client.target.prefix)
    while position + 2 <= len(data):
        first, length, header = data[position], data[position + 1], 2
        if length == 126:
            length, header = int.from_bytes(data[position + 2 : position + 4]), 4
        elif length == 127:
            length, header = int.from_bytes(data[position + 2 : position + 10]), 10
        start = position + header
        position = start + length
        if position > len(data):
            return
        if first == BINARY:
            yield times[bisect_left(ends, position)], data[start + prefix : position]


def ranges(update: bytes) -> list[Range]:
    """Return the ranges of clocks that an update contains. Deleted content counts; skipped clocks do not."""
    decoder = Decoder(update)
    found: list[Range] = []
    for _ in range(decoder.uint()):
        structs, client, clock = decoder.uint(), decoder.uint(), decoder.uint()
        first = clock
        for _ in range(structs):
            struct = read_struct(decoder, client, clock)
            if struct.info == SKIP:  # the update does not contain these clocks
                found.append((client, first, clock))
                first = clock + struct.length
            clock += struct.length
        found.append((client, first, clock))
    return found


class Arrivals:
    """The times in ns at which the writers' messages first arrived at one client; 0 if a message did not arrive.

    `sent`: the number of messages of each writer, by Yjs client id. `cache`: the ranges of the updates that were
    decoded before, because clients of one room receive equal updates.
    """

    def __init__(
        self, client: Client, sent: Mapping[int, int], cache: dict[bytes, list[Range]]
    ) -> None:
        self.times = {writer: [0] * count for writer, count in sent.items()}
        self.saved: list[tuple[int, int]] = []
        """For each receipt: its time in ns, and the number of the client's messages that are saved by then."""
        self._cache = cache
        self._cursors = dict.fromkeys(sent, 0)
        """For each writer: the number of its cursor messages that have arrived or were replaced by a later one."""
        for time, message in messages(client):
            self._add(time, message)

    def saved_times(self, first: int, count: int) -> Sequence[int]:
        """Return the time in ns at which each of `count` messages from number `first` on was reported as saved."""
        times = [0] * count
        position = 0
        for time, number in self.saved:
            while position < count and position + first <= number:
                times[position] = time
                position += 1
        return times

    def _add(self, time: int, message: bytes) -> None:
        match message[0]:
            case protocol.SYNC if message[1] != protocol.STEP_1:
                self._add_update(time, Decoder(message[2:]).buffer())
            case protocol.AWARENESS:
                self._add_cursors(time, Decoder(message[1:]).buffer())
            case protocol.SAVED:
                self.saved.append((time, Decoder(message[1:]).uint()))
            case _:
                pass

    def _add_update(self, time: int, update: bytes) -> None:
        found = self._cache.get(update)
        if found is None:
            found = self._cache[update] = ranges(update)
        for writer, first, end in found:
            if (times := self.times.get(writer)) is not None:
                start = max(0, first - CREATION_CLOCKS)
                for number in range(start, min(end - CREATION_CLOCKS, len(times))):
                    times[number] = times[number] or time

    def _add_cursors(self, time: int, update: bytes) -> None:
        for state in awareness.decode(update):
            if (times := self.times.get(state.client)) is not None:
                # An awareness state has the number of its message as its clock, and replaces all earlier states.
                for number in range(self._cursors[state.client], min(state.clock, len(times))):
                    times[number] = time
                    self._cursors[state.client] = number + 1
