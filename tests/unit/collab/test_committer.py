"""A commit that fails for any reason is repeated until it succeeds."""

import asyncio
from collections.abc import Iterator
from typing import cast

import pytest

from svgx_collab.commits import committer as committer_module
from svgx_collab.commits.committer import Committer, UnsavedEntry
from svgx_common.contract.errors import (
    DeadlineExceeded,
    Forbidden,
    Internal,
    Overloaded,
    Unavailable,
)
from svgx_common.contract.operation import Blob
from svgx_common.contract.state import AppendRequest, Committed, CommittedBatch, Entry, EntryBatch
from svgx_common.messaging.bus import Bus, BusUnreachable, NoResponders
from svgx_common.messaging.spans import Batch
from svgx_common.messaging.wire import decode, encode
from svgx_common.tracing import current_trace_id
from tests.log_reader import read_logs

ENTRY = Entry("canvas", "writer", 1, ("author",), b"update")


class FakeBus:
    """A bus on which the state service answers with these outcomes, one after the other."""

    def __init__(self, outcomes: list[Exception | bytes]) -> None:
        self._outcomes: Iterator[Exception | bytes] = iter(outcomes)
        self.timeouts: list[float] = []
        self.trace_ids: list[str] = []
        self.is_failing: list[bool] = []
        self.committer: Committer | None = None

    async def ask(self, *_: object, timeout: float, batch: Batch) -> Blob:
        assert batch.size == 1
        self.timeouts.append(timeout)
        self.trace_ids.append(current_trace_id())
        assert self.committer is not None
        self.is_failing.append(self.committer.is_failing)
        outcome = next(self._outcomes)
        if isinstance(outcome, Exception):
            raise outcome
        return Blob(outcome)


@pytest.mark.parametrize(
    "failure",
    [
        Unavailable("the database is read-only"),
        Unavailable("the database has no disk space left"),
        Internal(),
        Overloaded(),
        DeadlineExceeded(),
        Forbidden(),
        NoResponders(),
        BusUnreachable(),
        RuntimeError("a defect"),
        OSError("a broken connection"),
        b"an answer that cannot be read",
    ],
    ids=lambda failure: type(failure).__name__,
)
async def test_commit_is_repeated_until_it_succeeds(
    failure: Exception | bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The entry is delivered only after its commit, and no failure makes the committer drop it.

    The log lines of all attempts have one trace id, which the requests carry to the state service. Proves R-FAIL-18
    and R-OBS-4.
    """
    monkeypatch.setattr(committer_module, "BACK_OFF_SECONDS", (0.0,))
    delivered: list[tuple[Entry, Committed]] = []
    result = Committed("canvas", 7)

    async def deliver(entry: Entry, committed: Committed) -> None:
        assert not committer.is_failing
        delivered.append((entry, committed))

    bus = FakeBus([failure] * 3 + [encode(CommittedBatch((result,)))])
    committer = Committer(cast(Bus, bus), lambda: [UnsavedEntry(ENTRY)], deliver)
    bus.committer = committer
    committer.request_commit()
    with read_logs("collab") as log:
        async with asyncio.timeout(10):
            await committer.commit_collected()
        lines = log.read()
    assert len(lines) == 3
    (trace_id,) = {line["trace_id"] for line in lines}
    assert set(bus.trace_ids) == {trace_id}
    assert delivered == [(ENTRY, result)]
    assert bus.is_failing == [False, True, True, True]
    assert bus.timeouts[0] < bus.timeouts[1] == bus.timeouts[2] == bus.timeouts[3]


@pytest.mark.parametrize(
    ("log_seconds", "logged"), [(60.0, [1, 2, 4, 8]), (0.0, [1, 2, 3, 4, 5, 6, 7, 8, 9])]
)
async def test_lasting_failure_of_a_commit_is_logged_again_after_a_time(
    log_seconds: float, logged: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failing commit is logged at its first, second, fourth… failure, and each `LOG_SECONDS`. Proves R-OBS-8."""
    monkeypatch.setattr(committer_module, "BACK_OFF_SECONDS", (0.0,))
    monkeypatch.setattr(committer_module, "LOG_SECONDS", log_seconds)

    async def deliver(_: Entry, __: Committed) -> None:
        pass

    saved = encode(CommittedBatch((Committed("canvas", 7),)))
    bus = FakeBus([*[Unavailable("the database is read-only")] * 9, saved])
    committer = Committer(cast(Bus, bus), lambda: [UnsavedEntry(ENTRY)], deliver)
    bus.committer = committer
    committer.request_commit()
    with read_logs("collab") as log:
        async with asyncio.timeout(10):
            await committer.commit_collected()
        *failures, last = log.read()
    assert [line["failures"] for line in failures] == logged
    assert last["event"] == "commits succeed again"


async def test_commit_begins_after_the_broadcast_has_been_written() -> None:
    """nats-py writes in the next turn of the event loop, and uvloop at the end of that turn. Proves R-SYNC-7."""
    steps: list[str] = []

    def collect() -> list[UnsavedEntry]:
        steps.append("commit")
        return []

    async def deliver(_: Entry, __: Committed) -> None:
        raise AssertionError("nothing was collected")

    async def broadcast() -> None:
        await changed.wait()
        flush.set()  # as `Client.publish` wakes the task that writes

    async def write() -> None:
        await flush.wait()
        # uvloop writes after all callbacks of this turn.
        asyncio.get_running_loop().call_soon(steps.append, "write")

    changed, flush = asyncio.Event(), asyncio.Event()
    committer = Committer(cast(Bus, None), collect, deliver)
    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        for task in (broadcast(), write(), committer.commit_collected()):
            tasks.create_task(task)
        await asyncio.sleep(0)
        changed.set()
        committer.request_commit()
    assert steps == ["write", "commit"]


class CommittingBus:
    """A bus on which the state service commits everything."""

    def __init__(self) -> None:
        self.groups: list[list[Entry]] = []

    async def ask(self, _: object, request: AppendRequest, **__: object) -> Blob:
        self.groups.append([*decode(EntryBatch, request.content).entries])
        results = [Committed(entry.canvas_id, 1) for entry in self.groups[-1]]
        return Blob(encode(CommittedBatch(tuple(results))))


async def test_entries_of_a_canvas_are_committed_in_their_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Canvases with small entries come first. The entries of one canvas keep their order. Proves R-SAVE-12."""
    monkeypatch.setattr(committer_module, "GROUP_BYTES", 10)
    sizes = {"large": [9, 1, 8, 2], "small": [3, 1], "middle": [5]}
    entries = [
        Entry(canvas_id, "writer", sequence, ("author",), b"u" * size)
        for canvas_id, each in sizes.items()
        for sequence, size in enumerate(each, 1)
    ]
    delivered: list[Entry] = []

    async def deliver(entry: Entry, _: Committed) -> None:
        delivered.append(entry)

    bus = CommittingBus()
    committer = Committer(cast(Bus, bus), lambda: [*map(UnsavedEntry, entries)], deliver)
    committer.request_commit()
    await committer.commit_collected()
    order = [("small", 1), ("small", 2), ("middle", 1), *[("large", each) for each in (1, 2, 3, 4)]]
    assert [(entry.canvas_id, entry.sequence) for entry in delivered] == order
    assert [len(group) for group in bus.groups] == [3, 2, 2]


async def test_early_commits_keep_their_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    """An arriving edit may be committed early. The next commit is then delayed by the same time. Proves R-SYNC-7."""
    monkeypatch.setattr(committer_module, "COMMIT_INTERVAL_SECONDS", 3600.0)
    monkeypatch.setattr(committer_module, "COMMIT_SLACK_SECONDS", 5400.0)

    async def deliver(*_: object) -> None:
        pass

    bus = CommittingBus()
    committer = Committer(cast(Bus, bus), lambda: [UnsavedEntry(ENTRY)], deliver)
    async with asyncio.timeout(10):
        for _ in ("first", "early"):
            committer.request_commit()
            await committer.commit_collected()
    committer.request_commit()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await committer.commit_collected()
    assert len(bus.groups) == 2
