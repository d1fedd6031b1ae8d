"""Retention and snapshots: the days that are dropped, the content that stays readable, and the kept snapshots."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, time, timedelta

import asyncpg
import pytest

from svgx_canvas import Snapshot
from svgx_common import postgres
from svgx_common.contract.errors import Invalid, Unavailable
from svgx_common.contract.state import Entry
from svgx_common.database import hosts
from svgx_common.postgres import Row, Session
from svgx_devstack import DevStack
from svgx_state.history.past import Past
from svgx_state.journal import retention as retention_module
from svgx_state.journal.retention import BeforeDrop, Retention, RetentionIncomplete
from svgx_state.snapshots import Compactor
from svgx_workers.pool import Workers
from tests.blocked import until_blocked
from tests.clock import datetime_with_offset
from tests.integration.state.drawing import Pen, elements
from tests.integration.state.fresh_tables import FreshTables


def now() -> datetime:
    """Return the present time, which is in the day of the entries that the test commits."""
    return datetime.now(UTC)


def two_days_ago() -> datetime:
    """Return the beginning of the first kept day."""
    return datetime.combine(now().date() - timedelta(days=2), time(), UTC)


def retention(fresh: FreshTables, compactor: Compactor, *hooks: BeforeDrop) -> Retention:
    """Return a retention of two days."""
    return Retention(fresh.database, compactor, days=2, before_drop=hooks)


async def snapshots(fresh: FreshTables, canvas_id: str) -> list[int]:
    """Return the revisions of the canvas's snapshots."""
    rows = await fresh.tables.fetch(
        "SELECT through_revision FROM snapshot WHERE canvas_id = $1 ORDER BY 1", canvas_id
    )
    return [row["through_revision"] for row in rows]


async def draw_daily(fresh: FreshTables, pen: Pen, days: int, a_day: int = 3) -> list[Entry]:
    """Commit entries on several days. The last day is today."""
    entries: list[Entry] = []
    for day in range(days):
        if day:
            await fresh.pass_days()
        group = [pen.draw(str(len(entries) + number)) for number in range(a_day)]
        await fresh.journal.append(group)
        entries += group
    return entries


@asynccontextmanager
async def compacted_elsewhere(fresh: FreshTables, canvas_id: str) -> AsyncIterator[None]:
    """Hold the claim to compact a canvas, as another replica does during a compaction."""
    async with fresh.tables.transaction():
        await fresh.tables.execute(
            "SELECT pg_advisory_xact_lock(hashtext('svgx.state.compaction'), hashtext($1))",
            canvas_id,
        )
        yield


async def test_clock_of_a_replica_that_is_ahead_drops_no_kept_day(
    fresh: FreshTables, compactor: Compactor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kept days end with the day of PostgreSQL's clock, by which the entries are stored. Proves R-STATE-21."""
    monkeypatch.setattr(retention_module, "datetime", datetime_with_offset(timedelta(days=40)))
    monkeypatch.setattr(retention_module, "PERIOD_SECONDS", 0.0)
    await draw_daily(fresh, Pen(await fresh.create(), "holder"), days=3)
    await retention(fresh, compactor).drop_and_wait()
    assert len(await fresh.days()) == 3


_SLOW_DROP = """
    ALTER FUNCTION drop_journal_day(date, timestamptz) RENAME TO drop_day;
    CREATE FUNCTION drop_journal_day(day date, kept_from timestamptz) RETURNS boolean LANGUAGE plpgsql
    AS $$ BEGIN PERFORM pg_sleep(1.5); RETURN drop_day(day, kept_from); END $$
"""
_QUICK_DROP = """
    DROP FUNCTION drop_journal_day(date, timestamptz);
    ALTER FUNCTION drop_day(date, timestamptz) RENAME TO drop_journal_day
"""


async def test_drop_of_a_day_may_take_longer_than_other_statements(
    backing: DevStack, fresh: FreshTables, compactor: Compactor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL reads all entries of the day before the drop. Proves R-STATE-21."""
    monkeypatch.setattr(postgres, "COMMAND_SECONDS", 1.0)
    monkeypatch.setitem(hosts.SERVER_SETTINGS, "statement_timeout", "1s")
    await draw_daily(fresh, Pen(await fresh.create(), "holder"), days=4)
    schema = await fresh.tables.fetchval("SELECT current_schema()")
    await fresh.tables.execute(_SLOW_DROP)
    try:
        async with postgres.connect(
            backing.postgres_url, schema=schema, package="svgx_state", pool_size=4
        ) as database:
            assert await Retention(database, compactor, days=2).drop()
    finally:
        await fresh.tables.execute(_QUICK_DROP)
    assert len(await fresh.days()) == 3


async def test_days_older_than_the_retention_are_dropped_and_the_content_stays(
    fresh: FreshTables, compactor: Compactor
) -> None:
    """Whole days are dropped after their retention, and every moment of the kept days can be read.

    Proves R-STATE-21, R-STATE-22.
    """
    canvas_id, empty = await fresh.create(), await fresh.create()
    entries = await draw_daily(fresh, Pen(canvas_id, "holder"), days=6)
    assert len(await fresh.days()) == 6
    assert await retention(fresh, compactor).drop(now())
    assert await fresh.days() == [
        (now() - timedelta(days=back)).strftime("%Y%m%d") for back in (2, 1, 0)
    ]
    assert await snapshots(fresh, canvas_id) == [9]
    for revision in range(9, 19):
        assert elements(await fresh.past(canvas_id, revision)) == elements(
            entry.update for entry in entries[:revision]
        )
    content = await fresh.journal.load(canvas_id)
    assert (content.revision, len(content.updates)) == (18, 10)
    for after in (3, 8):  # a holder that knows a revision of a dropped day
        assert (await fresh.journal.load(canvas_id, after)).updates == content.updates
    assert (await fresh.journal.load(canvas_id, 12)).updates == content.updates[4:]
    assert (await fresh.journal.load(empty)).updates == ()


async def test_idle_and_deleted_canvases_keep_their_content(
    fresh: FreshTables, compactor: Compactor
) -> None:
    """A canvas that was edited only on dropped days keeps its content, also when it is deleted. Proves R-STATE-22."""
    idle, deleted, purged = [await fresh.create() for _ in range(3)]
    pens = [Pen(canvas_id, "holder") for canvas_id in (idle, deleted, purged)]
    await fresh.journal.append([pen.draw("a") for pen in pens])
    await compactor.compact(idle)
    await fresh.journal.append([pens[0].draw("b")])
    await fresh.tables.execute("UPDATE canvas SET deleted_at = now() WHERE id = $1", deleted)
    await fresh.tables.execute("DELETE FROM canvas_member WHERE canvas_id = $1", purged)
    await fresh.tables.execute("DELETE FROM canvas WHERE id = $1", purged)
    await fresh.pass_days(5)
    assert await retention(fresh, compactor).drop(now())
    assert await fresh.tables.fetchval("SELECT count(*) FROM journal") == 0
    assert elements((await fresh.journal.load(idle)).updates) == {"a": "x", "b": "x"}
    assert await snapshots(fresh, idle) == [2]
    await fresh.tables.execute("UPDATE canvas SET deleted_at = NULL")
    assert elements((await fresh.journal.load(deleted)).updates) == {"a": "x"}
    # The canvases `idle` and `deleted` take edits again.
    await fresh.journal.append([pens[0].draw("c"), pens[1].draw("b")])
    assert set(elements((await fresh.journal.load(idle)).updates)) == {"a", "b", "c"}
    assert set(elements((await fresh.journal.load(deleted)).updates)) == {"a", "b"}
    await fresh.pass_days(5)
    assert await retention(fresh, compactor).drop(now())
    assert await snapshots(fresh, idle) == [3]


async def test_hooks_run_after_the_snapshots_and_before_the_drop(
    fresh: FreshTables, compactor: Compactor
) -> None:
    """Hooks are awaited in their order, and get the start of the kept days. If a hook fails, all days stay.

    Proves R-STATE-22.
    """
    canvas_id = await fresh.create()
    await draw_daily(fresh, Pen(canvas_id, "holder"), days=4)
    before = await fresh.days()
    calls: list[tuple[str, datetime, list[int], int]] = []

    async def first(moment: datetime) -> None:
        calls.append(("first", moment, await snapshots(fresh, canvas_id), len(await fresh.days())))

    async def failing(moment: datetime) -> None:
        calls.append(
            ("failing", moment, await snapshots(fresh, canvas_id), len(await fresh.days()))
        )
        raise Unavailable("not now")

    with pytest.raises(Unavailable):
        await retention(fresh, compactor, first, failing).drop(now())
    assert await fresh.days() == before
    assert calls == [("first", two_days_ago(), [3], 4), ("failing", two_days_ago(), [3], 4)]
    assert await retention(fresh, compactor, first).drop(now())
    assert len(await fresh.days()) == 3
    assert not await retention(fresh, compactor, failing).drop_counted(now() + timedelta(days=1))
    await retention(fresh, compactor, failing).drop(now())  # nothing is due, so no hook runs


async def interrupt_drop(fresh: FreshTables, compactor: Compactor, place: int) -> bool:
    """Interrupt a drop after `place` statements, and then repeat it. Check each moment after both runs.

    Return whether the drop was interrupted.
    """
    await fresh.clear()
    pen = Pen(await fresh.create(), "holder")
    entries: list[Entry] = []
    for day in range(7):
        if day:
            await fresh.pass_days()
        for _ in range(2):
            entries.append(pen.draw(str(len(entries))))
            await fresh.journal.append(entries[-1:])
        if day == 3:  # from here on, the known past begins with a snapshot
            assert await retention(fresh, compactor).drop(now())
    times = await fresh.tables.fetch("SELECT revision, at FROM journal ORDER BY revision")
    blocks = 0

    def failing(
        begin: Callable[..., AbstractAsyncContextManager[Session]],
    ) -> Callable[..., AbstractAsyncContextManager[Session]]:
        @asynccontextmanager
        async def opened(**options: float) -> AsyncIterator[Session]:
            nonlocal blocks
            blocks += 1
            if blocks > place:
                raise Unavailable("the replica ended")
            async with begin(**options) as session:
                yield session

        return opened

    with pytest.MonkeyPatch.context() as patch:
        for name in ("session", "transaction"):
            patch.setattr(fresh.database, name, failing(getattr(fresh.database, name)))
        interrupted = not await retention(fresh, compactor).drop_counted(now())
    await check_moments(fresh, entries, times)
    assert await retention(fresh, compactor).drop(now())
    assert len(await fresh.days()) == 3
    await check_moments(fresh, entries, times)
    return interrupted


async def check_moments(fresh: FreshTables, entries: Sequence[Entry], times: Sequence[Row]) -> None:
    """Check that the content at each time is a replay of the entries until then, or is unknown before the kept days."""
    past, canvas_id = Past(fresh.database), entries[0].canvas_id
    for row in times:
        for at, revision in (
            (row["at"], row["revision"]),
            (row["at"] - timedelta(microseconds=1), row["revision"] - 1),
        ):
            try:
                moment = await past.moment(canvas_id, at)
            except Invalid:
                assert at < two_days_ago()
                continue
            content = await past.content(canvas_id, moment.revision)
            assert moment.revision == revision
            replay = (entry.update for entry in entries[:revision])
            assert elements(content.updates) == elements(replay), (at, moment)


async def test_interrupted_drop_shows_no_wrong_content(
    fresh: FreshTables, compactor: Compactor
) -> None:
    """A drop is interrupted before each of its transactions in turn. Then each moment has its content or is unknown.

    Proves R-STATE-22, R-HIST-9.
    """
    place = 0
    while await interrupt_drop(fresh, compactor, place):
        place += 1
    assert place >= 6


async def test_run_without_due_days_removes_what_an_interrupted_run_has_left(
    fresh: FreshTables, compactor: Compactor
) -> None:
    """Old snapshots and writers are removed although their days are gone. Proves R-STATE-22."""
    canvas_id = await fresh.create()
    await draw_daily(fresh, Pen(canvas_id, "holder"), days=6)
    assert await retention(fresh, compactor).drop(now())
    await fresh.tables.execute(
        "INSERT INTO snapshot (canvas_id, through_revision, through_at, update)"
        " SELECT canvas_id, 1, through_at - interval '1 day', update FROM snapshot"
    )
    await fresh.tables.execute(
        "INSERT INTO journal_writer (canvas_id, writer, sequence, at) VALUES ($1, 'old', 1, '2020-02-02')",
        canvas_id,
    )
    assert await retention(fresh, compactor).drop(now())
    assert await snapshots(fresh, canvas_id) == [9]
    assert await fresh.tables.fetchval("SELECT count(*) FROM journal_writer") == 0


async def test_day_without_a_snapshot_is_not_dropped(fresh: FreshTables) -> None:
    """`drop_journal_day` refuses to drop a day while one of its entries is not in a snapshot. Proves R-STATE-22."""
    canvas_id = await fresh.create()
    await draw_daily(fresh, Pen(canvas_id, "holder"), days=2)
    for day in (0, 1):
        with pytest.raises(asyncpg.ObjectNotInPrerequisiteStateError, match=canvas_id):
            await fresh.database.row(
                "drop_journal_day", (now() - timedelta(days=day)).date(), now()
            )
    assert len(await fresh.days()) == 2


async def test_version_before_migration_17_drops_only_days_with_a_kept_snapshot(
    fresh: FreshTables, compactor: Compactor
) -> None:
    """The function that earlier versions call needs a kept snapshot of the dropped day. Proves R-STATE-22."""
    canvas_id = await fresh.create()
    await draw_daily(fresh, Pen(canvas_id, "holder"), days=2)
    statement, yesterday = "SELECT drop_journal_day($1)", (now() - timedelta(days=1)).date()
    await compactor.keep(canvas_id, 6)
    with pytest.raises(asyncpg.ObjectNotInPrerequisiteStateError, match=canvas_id):
        await fresh.tables.fetchval(statement, yesterday)
    await compactor.keep(canvas_id, 3)
    assert await fresh.tables.fetchval(statement, yesterday)
    assert len(await fresh.days()) == 1


async def test_edits_do_not_wait_for_a_drop_and_the_drop_is_tried_again(
    fresh: FreshTables, compactor: Compactor
) -> None:
    """A drop that cannot get its lock within 50 ms fails, and appends are committed meanwhile. Proves R-STATE-23."""
    canvas_id = await fresh.create()
    pen = Pen(canvas_id, "holder")
    await draw_daily(fresh, pen, days=4)
    async with asyncio.timeout(30):
        async with fresh.tables.transaction():
            await fresh.tables.execute("SELECT count(*) FROM journal")
            drop = asyncio.create_task(retention(fresh, compactor).drop(now()))
            while not drop.done():
                await fresh.journal.append([pen.draw("more")])
            with pytest.raises(Unavailable):
                await drop
            assert len(await fresh.days()) == 4
        assert await retention(fresh, compactor).drop(now())
    assert len(await fresh.days()) == 3


async def test_one_replica_at_a_time_drops_days(fresh: FreshTables, compactor: Compactor) -> None:
    """While one replica drops days, the other replicas skip their runs. Proves R-STATE-21."""
    canvas_id = await fresh.create()
    await draw_daily(fresh, Pen(canvas_id, "holder"), days=4)
    started, go_on = asyncio.Event(), asyncio.Event()

    async def wait(_: datetime) -> None:
        started.set()
        await go_on.wait()

    async with asyncio.timeout(30):
        first = asyncio.create_task(retention(fresh, compactor, wait).drop(now()))
        await started.wait()
        assert not await retention(fresh, compactor).drop(now())
        go_on.set()
        assert await first


async def test_retention_of_0_days_drops_nothing(fresh: FreshTables, compactor: Compactor) -> None:
    """Retention of 0 days keeps the journal without end. Proves R-STATE-21."""
    canvas_id = await fresh.create()
    await draw_daily(fresh, Pen(canvas_id, "holder"), days=3)
    assert await Retention(fresh.database, compactor, days=0).drop(now() + timedelta(days=3000))
    assert len(await fresh.days()) == 3


async def test_canvas_that_another_replica_compacts_delays_the_drop(
    fresh: FreshTables, compactor: Compactor
) -> None:
    """While a canvas lacks its snapshot, the run is incomplete, and the next run continues. Proves R-STATE-22."""
    canvas_id = await fresh.create()
    await draw_daily(fresh, Pen(canvas_id, "holder"), days=4)
    async with compacted_elsewhere(fresh, canvas_id):
        with pytest.raises(RetentionIncomplete, match="1 canvases"):
            await retention(fresh, compactor).drop(now())
    assert len(await fresh.days()) == 4
    assert await retention(fresh, compactor).drop(now())


@pytest.mark.parametrize(
    ("keep_after_bytes", "compacted"),
    [
        *((10**9, revisions) for revisions in ((), (2,), (3,), (6,), (9,), (2, 5), (3, 9))),
        *((0, revisions) for revisions in ((9,), (2, 9))),
    ],
    ids=str,
)
@pytest.mark.parametrize("runs_before", [0, 1])
async def test_incomplete_run_keeps_the_past_of_the_kept_days_whichever_snapshots_exist(
    fresh: FreshTables,
    workers: Workers,
    keep_after_bytes: int,
    compacted: Sequence[int],
    runs_before: int,
) -> None:
    """A day without a kept snapshot from before the kept days stays, whichever others exist. Proves R-STATE-22.

    With 0 as `keep_after_bytes`, the compactor keeps each snapshot.
    The last entry before the kept days has the revision 3, or 6 after an earlier run.
    """
    compactor = fresh.compactor(workers, keep_after_bytes)
    canvas_id = await fresh.create()
    pen = Pen(canvas_id, "holder")
    entries: list[Entry] = []

    async def draw() -> None:
        entries.append(pen.draw(str(len(entries))))
        await fresh.journal.append(entries[-1:])
        if len(entries) in compacted:
            await compactor.compact(canvas_id)

    async def check() -> None:
        for revision in range(3 * (1 + runs_before), len(entries) + 1):
            content = await Past(fresh.database).content(canvas_id, revision)
            replay = (entry.update for entry in entries[:revision])
            assert elements(content.updates) == elements(replay), revision

    for day in range(4 + runs_before):
        if day:
            await fresh.pass_days()
        for _ in range(3):
            await draw()
        if day == 3 and runs_before:
            assert await retention(fresh, compactor).drop(now())
    async with compacted_elsewhere(fresh, canvas_id):
        with pytest.raises(RetentionIncomplete, match=r"1 canvases .* 1 days"):
            await retention(fresh, compactor).drop(now())
    assert len(await fresh.days()) == 4
    for _ in range(2):
        # The second compaction deletes all snapshots but the kept ones and the newest two.
        await draw()
        await compactor.compact(canvas_id)
    await check()
    assert await retention(fresh, compactor).drop(now())
    assert len(await fresh.days()) == 3
    await check()


@pytest.mark.parametrize("place", [0, 1])
async def test_canvas_that_is_removed_during_a_run_keeps_no_day(
    fresh: FreshTables, compactor: Compactor, place: int
) -> None:
    """A canvas may be removed while its snapshot is made, or before. The run is complete. Proves R-STATE-22."""
    canvas_ids = sorted([await fresh.create() for _ in range(2)])
    for day in range(4):
        if day:
            await fresh.pass_days()
        await fresh.journal.append([Pen(each, f"holder {day}").draw("a") for each in canvas_ids])
    async with asyncio.timeout(30), fresh.tables.transaction():
        # The run waits with the snapshot of the first canvas.
        await fresh.tables.execute("LOCK TABLE snapshot IN SHARE MODE")
        running = asyncio.create_task(retention(fresh, compactor).drop(now()))
        await until_blocked(fresh.tables)
        for statement in (
            "DELETE FROM journal WHERE canvas_id = $1",
            "DELETE FROM canvas_member WHERE canvas_id = $1",
            "DELETE FROM canvas WHERE id = $1",
        ):
            await fresh.tables.execute(statement, canvas_ids[place])
    assert await running
    assert len(await fresh.days()) == 3
    assert await snapshots(fresh, canvas_ids[place]) == []
    assert await snapshots(fresh, canvas_ids[1 - place]) == [1]


async def test_canvas_without_snapshot_keeps_only_the_days_of_its_entries(
    fresh: FreshTables, compactor: Compactor
) -> None:
    """The other days are dropped, because one canvas must not fill the disk for all. Proves R-STATE-22."""
    failing, other = [await fresh.create() for _ in range(2)]
    pens = [Pen(failing, "holder"), Pen(other, "holder")]
    for day in range(6):
        await fresh.journal.append([pen.draw(str(day)) for pen in pens[day % 3 :]])
        await fresh.pass_days(1)
    async with compacted_elsewhere(fresh, failing):
        with pytest.raises(RetentionIncomplete, match=r"1 canvases .* 2 days"):
            await retention(fresh, compactor).drop(now())
    assert await fresh.days() == [
        (now() - timedelta(days=back)).strftime("%Y%m%d") for back in (6, 3, 2, 1, 0)
    ]
    assert elements((await fresh.journal.load(failing)).updates) == {"0": "x", "3": "x"}
    assert set(elements((await fresh.journal.load(other)).updates)) == {"0", "1", "3", "4"}
    assert await retention(fresh, compactor).drop(now())
    assert elements((await fresh.journal.load(failing)).updates) == {"0": "x", "3": "x"}


async def test_kept_snapshots_are_bounded_by_the_journal(
    fresh: FreshTables, workers: Workers
) -> None:
    """A snapshot is kept if the journal since the previous kept snapshot is large enough.

    This part of the journal must have the minimum size, and at least the size of the snapshot. The newest two snapshots
    are always kept. Proves R-STATE-7.
    """
    compactor = fresh.compactor(workers, keep_after_bytes=3000)
    canvas_id = await fresh.create()
    pen = Pen(canvas_id, "holder")
    for number in range(40):
        await fresh.journal.append([pen.draw(str(number))])
        await compactor.compact(canvas_id)
    kept = await snapshots(fresh, canvas_id)
    assert kept[-2:] == [39, 40]
    gaps = [after - before for before, after in zip([0, *kept], kept[:-2], strict=False)]
    assert set(gaps) <= {10, 11}, kept
    assert len(gaps) >= 3, kept
    # After a large snapshot, a later snapshot is kept only if the journal has grown by the later snapshot's size.
    await fresh.journal.append([pen.draw("large", "x" * 20_000)])
    await compactor.compact(canvas_id)
    assert (await snapshots(fresh, canvas_id))[-1] == 41
    for number in range(30):
        await fresh.journal.append([pen.draw(f"small {number}")])
        await compactor.compact(canvas_id)
    assert [each for each in await snapshots(fresh, canvas_id) if each > 41] == [70, 71]


async def test_long_tail_is_compacted_in_slices(
    fresh: FreshTables, compactor: Compactor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A long tail is merged in slices of bounded entries and bytes, one transaction each. Proves R-STATE-25."""
    monkeypatch.setattr("svgx_state.snapshots.SLICE_ENTRIES", 20)
    monkeypatch.setattr("svgx_state.snapshots.SLICE_BYTES", 5_000)
    sizes: list[int] = []
    merge = compactor._workers.compact

    async def watched(
        snapshot: Snapshot | None, updates: Sequence[bytes], *, trusted: bool
    ) -> Snapshot:
        sizes.append(sum(map(len, updates)))
        assert len(updates) <= 20
        return await merge(snapshot, updates, trusted=trusted)

    monkeypatch.setattr(compactor._workers, "compact", watched)
    canvas_id = await fresh.create()
    pen = Pen(canvas_id, "holder")
    await fresh.journal.append([pen.draw(str(number)) for number in range(50)])
    await fresh.journal.append([pen.draw(f"large {number}", "x" * 2_000) for number in range(10)])
    await fresh.journal.append([pen.draw("huge", "x" * 9_000)])
    assert await compactor.compact(canvas_id)
    assert len(sizes) >= 8
    assert max(sizes[:-1]) <= 5_000
    assert sizes[-1] > 9_000
    assert await snapshots(fresh, canvas_id) == [60, 61]
    content = await fresh.journal.load(canvas_id)
    assert (content.revision, len(content.updates)) == (61, 1)
    assert len(elements(content.updates)) == 61
    assert not await compactor.compact(canvas_id)
    row = await fresh.tables.fetchrow("SELECT * FROM canvas WHERE id = $1", canvas_id)
    assert row is not None
    assert (row["snapshot_revision"], row["snapshot_bytes"]) == (61, row["bytes"])
