"""Join updates that were split before. Their structs are copied and not read again."""

from collections.abc import Iterable

from svgx_yjs.delete_set import Range, Ranges, encode_delete_set
from svgx_yjs.lib0 import Encoder
from svgx_yjs.parts import Part, Run


def join_first(parts: Iterable[Part], limit: int) -> tuple[bytes, int]:
    """Join as many of the first parts as possible into one update. Return the update, and the number of parts in it.

    `parts` must not be empty. A document must be able to integrate each part that can be joined after the parts before
    it. The update has at most `limit` bytes, or one part. It ends before a part that cannot be joined, or that repeats
    structs of a part before it.
    """
    joint = _Joint()
    size = count = 0
    first: Part | None = None
    for part in parts:
        size += len(part.update)
        if first is None:
            first = part
        elif size > limit or not joint.follows(part):
            break
        joint.add(part)
        count += 1
        if not part.can_be_joined:
            break
    assert first is not None, "there is a part"
    return (first.update if count == 1 else joint.encode()), count


class _Joint:
    """The content of the parts that are joined."""

    def __init__(self) -> None:
        self._runs: dict[int, list[Run]] = {}
        self._deletions: Ranges = {}

    def follows(self, part: Part) -> bool:
        """Return whether the part can be added: its clocks begin where the clocks of the same client end here."""
        if not part.can_be_joined:
            return False
        runs = self._runs
        return all(
            run.client not in runs or runs[run.client][-1].end == run.clock for run in part.runs
        )

    def add(self, part: Part) -> None:
        """Add a part."""
        for run in part.runs:
            runs = self._runs.get(run.client)
            if runs is None:
                self._runs[run.client] = [run]
            else:
                runs.append(run)
        for client, ranges in part.deletions.items():
            self._deletions.setdefault(client, []).extend(ranges)

    def encode(self) -> bytes:
        """Return the update with all content. Yjs too writes the highest client first."""
        encoder = Encoder().uint(len(self._runs))
        for client in sorted(self._runs, reverse=True):
            runs = self._runs[client]
            encoder.uint(sum(run.structs for run in runs)).uint(client).uint(runs[0].clock)
            for run in runs:
                encoder.raw(run.content)
        deletions = {client: _united(ranges) for client, ranges in self._deletions.items()}
        return encode_delete_set(encoder, deletions).finish()


def _united(ranges: list[Range]) -> list[Range]:
    """Return the ranges in order, without repetitions. Ranges without a gap between them become one."""
    if len(ranges) == 1:
        return ranges
    united: list[Range] = []
    first = end = -1
    for clock, length in sorted(ranges):
        if clock > end:
            if end > 0:
                united.append((first, end - first))
            first = clock
        end = max(end, clock + length)
    united.append((first, end - first))
    return united
