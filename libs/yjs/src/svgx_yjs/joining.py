"""Join the parts of split updates. The bytes of their structs are copied.

The structs of parts that can be integrated are not decoded again. The structs of pending updates are decoded, because
they must be put in order, with a skip struct for each gap.
"""

from bisect import bisect_left, insort
from collections.abc import Iterable, Sequence
from itertools import chain, pairwise

from svgx_yjs.delete_set import Ranges, encode_delete_set, merge_ranges, read_delete_set
from svgx_yjs.lib0 import Decoder, Encoder, Malformed
from svgx_yjs.parts import Part, Run
from svgx_yjs.splitting import read_sections
from svgx_yjs.structure import SKIP, read_struct


def join_first(parts: Iterable[Part], limit: int) -> tuple[bytes, int]:
    """Join as many of the first parts as possible into one update. Return the update, and the number of parts in it.

    `parts` must not be empty. A part that can be joined must depend only on the document and on the parts before it.
    The update has at most `limit` bytes, or one part. Joining stops before a part that cannot be joined, and before a
    part with structs that do not directly follow the earlier structs of their client. Joining also stops after a part
    that releases pending updates.
    """
    joined = _JoinedParts()
    size = count = 0
    first: Part | None = None
    for part in parts:
        size += len(part.update)
        if first is None:
            first = part
        elif size > limit or not joined.follows(part):
            break
        joined.add(part)
        count += 1
        if not part.can_be_joined or part.releases:
            break
    assert first is not None, "there is a part"
    return (first.update if count == 1 else joined.encode()), count


def join_edit(parts: Sequence[Part]) -> Sequence[Part]:
    """Join the parts of one edit: the part that waits for others comes first, if there is one, then one other part."""
    joinable = [part for part in parts if part.can_be_joined]
    if len(joinable) < 2:
        return parts
    joined = _JoinedParts()
    for part in joinable:
        joined.add(part)
    releases = any(part.releases for part in joinable)
    waiting = [part for part in parts if not part.can_be_joined]
    return [*waiting, joined.part(releases=releases)]


def join_waiting(updates: Iterable[bytes], limit: int) -> tuple[bytes, int]:
    """Join as many of the first updates as possible. Return the joined update, and the number of updates in it.

    `updates` must not be empty. The joined update has about `limit` bytes at most, or one update. Joining stops before
    an update that overlaps an earlier update. Two updates overlap if, for one client, the clocks from the first to the
    last struct of both updates overlap.
    """
    runs: dict[int, list[Run]] = {}
    deletions: Ranges = {}
    size = count = 0
    first: bytes | None = None
    for update in updates:
        size += len(update)
        if first is None:
            first = update
        if size > limit:
            break
        structs, deleted = _read_update(update)
        if any(run.client in runs and _overlaps(runs[run.client], run) for run in structs):
            break
        for run in structs:
            insort(runs.setdefault(run.client, []), run, key=_clock_of)
        for client, ranges in deleted.items():
            deletions.setdefault(client, []).extend(ranges)
        count += 1
    assert first is not None, "there is an update"
    return (first, 1) if count < 2 else (_encode_update(runs, deletions), count)


def with_waiting(content: bytes, waiting: Iterable[bytes]) -> bytes:
    """Return an update with the content of `content` and of the pending updates `waiting`. None of them may have gaps.

    Of structs that share clocks, one is kept: the struct of `content`, or else the struct that begins first. A struct
    that begins inside a kept struct is left out. Raises `Malformed`.
    """
    known, deletions = _read_update(content)
    runs = {run.client: [run] for run in known}
    added: dict[int, list[Run]] = {}
    for update in waiting:
        structs, deleted = _read_update(update)
        for run in structs:
            added.setdefault(run.client, []).append(run)
        for client, ranges in deleted.items():
            deletions.setdefault(client, []).extend(ranges)
    for client, added_runs in added.items():
        added_runs.sort(key=lambda run: (run.clock, -run.end))
        _append(runs.setdefault(client, []), added_runs)
    return _encode_update(runs, deletions)


def structs_from(update: bytes, clock: int) -> bytes | None:
    """Return the structs that begin at `clock` or later, as an update, or None. `update` has structs of one client."""
    (run,), _ = _read_update(update)
    rest = _run_from(run, clock)
    return None if rest is None else _encode_section(Encoder().uint(1), [rest]).uint(0).finish()


class _JoinedParts:
    """The content of the parts that are joined."""

    def __init__(self) -> None:
        self._runs: dict[int, list[Run]] = {}
        self._deletions: Ranges = {}

    def follows(self, part: Part) -> bool:
        """Return whether the part can be added: for each client, its clocks begin where the added clocks end."""
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

    def part(self, *, releases: bool) -> Part:
        """Return one part with all added parts."""
        runs = tuple(chain.from_iterable(self._runs.values()))
        deletions = {client: merge_ranges(ranges) for client, ranges in self._deletions.items()}
        return Part(self.encode(), runs, deletions, releases)

    def encode(self) -> bytes:
        """Return an update with all added parts. The highest client comes first, as in Yjs."""
        encoder = Encoder().uint(len(self._runs))
        for client in sorted(self._runs, reverse=True):
            runs = self._runs[client]
            encoder.uint(sum(run.structs for run in runs)).uint(client).uint(runs[0].clock)
            for run in runs:
                encoder.raw(run.content)
        deletions = {client: merge_ranges(ranges) for client, ranges in self._deletions.items()}
        return encode_delete_set(encoder, deletions).finish()


def _clock_of(run: Run) -> int:
    return run.clock


def _overlaps(runs: list[Run], run: Run) -> bool:
    """Return whether a run shares clocks with one of `runs`, which are in order and do not overlap each other."""
    at = bisect_left(runs, run.end, key=_clock_of)
    return at > 0 and runs[at - 1].end > run.clock


def _append(runs: list[Run], added: Iterable[Run]) -> None:
    """Append runs of a client, which must be in order. Leave out structs that begin before the previous run ends."""
    for run in added:
        rest = _run_from(run, runs[-1].end) if runs else run
        if rest is not None:
            runs.append(rest)


def _run_from(run: Run, clock: int) -> Run | None:
    """Return the structs of a run that begin at `clock` or later, or None if there are none."""
    if run.clock >= clock:
        return run
    decoder, at, structs_left = Decoder(run.content), run.clock, run.structs
    while structs_left and at < clock:
        at += read_struct(decoder, run.client, at).length
        structs_left -= 1
    return (
        Run(run.client, at, run.end, structs_left, run.content[decoder.position :])
        if structs_left
        else None
    )


def _read_update(update: bytes) -> tuple[list[Run], Ranges]:
    """Return the structs of each client, and the deletions. Raises `Malformed`."""
    decoder = Decoder(update)
    runs = [
        Run(step.client, step.clock, end, step.structs, update[step.start : step.end])
        for step, end in read_sections(decoder)
    ]
    deletions = dict(read_delete_set(decoder))
    if not decoder.done:
        raise Malformed("the update has trailing bytes")
    return runs, deletions


def _encode_update(runs: dict[int, list[Run]], deletions: Ranges) -> bytes:
    """Return an update. The runs of each client must be in order."""
    encoder = Encoder().uint(len(runs))
    for client in sorted(runs, reverse=True):  # as Yjs does
        _encode_section(encoder, runs[client])
    # Ranges are not merged, because a range that cuts a character in half would block the others. They are sorted,
    # because pycrdt forgets some unsorted ranges when it merges updates.
    in_order = {client: sorted({*ranges}) for client, ranges in deletions.items()}
    return encode_delete_set(encoder, in_order).finish()


def _encode_section(encoder: Encoder, runs: list[Run]) -> Encoder:
    """Append the structs of one client, with a skip for each gap between two runs."""
    gaps = [after.clock - before.end for before, after in pairwise(runs)]
    structs = sum(run.structs for run in runs) + sum(1 for gap in gaps if gap)
    encoder.uint(structs).uint(runs[0].client).uint(runs[0].clock)
    for gap, run in zip(chain([0], gaps), runs, strict=True):
        if gap:
            encoder.uint(SKIP).uint(gap)
        encoder.raw(run.content)
    return encoder
