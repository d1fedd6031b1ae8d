"""Compaction: when it makes a snapshot, the content of the snapshot, and the snapshots and entries that it keeps."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest

from svgx_canvas.document.outline import read_outline
from svgx_common.contract.state import Entry
from svgx_common.database.hosts import IDLE_TIMEOUT
from svgx_common.postgres import Database, Row, Session
from svgx_devstack import DevStack
from svgx_workers.pool import Workers
from tests.blocked import until_statement_blocked
from tests.integration.state.drawing import Pen, elements, text, typed
from tests.integration.state.fresh_tables import FreshTables
from tests.integration.state.service import Client, Tables, replica
from tests.polling import pause


async def snapshots(tables: Tables, canvas_id: str) -> list[int]:
    """Return the revisions of the canvas's snapshots, oldest first."""
    rows = await tables.fetch(
        "SELECT through_revision FROM snapshot WHERE canvas_id = $1 ORDER BY through_revision",
        canvas_id,
    )
    return [row["through_revision"] for row in rows]


async def until_snapshot(tables: Tables, canvas_id: str, through: int) -> None:
    """Wait for a snapshot of at least this revision."""
    async with asyncio.timeout(30):
        while max(await snapshots(tables, canvas_id), default=0) < through:
            await pause()


@contextlib.asynccontextmanager
async def waiting_compaction(
    client: Client, tables: Tables, pen: Pen, entries: int
) -> AsyncIterator[None]:
    """Append entries that make a compaction due. The compaction then waits for a lock until the block ends."""
    async with tables.transaction():
        await tables.execute("LOCK TABLE snapshot IN SHARE MODE")
        await client.append(*(pen.draw(str(number)) for number in range(entries)))
        # The replica's retention may wait for the lock too.
        await until_statement_blocked(tables, "INSERT INTO snapshot")
        yield


async def test_entries_or_bytes_make_a_snapshot_due(
    backing: DevStack, client: Client, tables: Tables
) -> None:
    """A number of entries, or of bytes, after the newest snapshot makes a new snapshot due. Proves R-STATE-7."""
    async with replica(backing, compact_after_entries=10, compact_after_bytes=50_000) as health:
        many, large, neither = [await client.create() for _ in range(3)]
        pens = {canvas_id: Pen(canvas_id, "holder") for canvas_id in (many, large, neither)}
        for number in range(9):
            await client.append(
                *(pens[canvas_id].draw(str(number)) for canvas_id in (many, neither))
            )
        await client.append(pens[large].draw("0", "x" * 40_000))
        assert [await snapshots(tables, canvas_id) for canvas_id in pens] == [[], [], []]
        await client.append(pens[many].draw("9"), pens[large].draw("1", "x" * 40_000))
        await until_snapshot(tables, many, 10)
        await until_snapshot(tables, large, 2)
        assert [await snapshots(tables, canvas_id) for canvas_id in pens] == [[10], [2], []]
        for canvas_id, count in ((many, 1), (large, 1), (neither, 9)):
            assert len((await client.load(canvas_id)).updates) == count
        async with asyncio.timeout(20):
            while (await health.report()).details["compaction"]["backlog"]:
                await pause()


async def test_newest_two_snapshots_and_the_journal_are_kept(
    backing: DevStack, client: Client, tables: Tables
) -> None:
    """Compaction keeps the newest two snapshots and all journal entries. Proves R-STATE-5, R-STATE-7."""
    async with replica(backing, compact_after_entries=10):
        canvas_id = await client.create()
        pen = Pen(canvas_id, "holder")
        entries: list[Entry] = []
        for _ in range(4):
            group = [pen.draw(str(len(entries) + number)) for number in range(10)]
            entries += group
            await client.append(*group)
            await until_snapshot(tables, canvas_id, len(entries))
        assert await snapshots(tables, canvas_id) == [30, 40]
        rows = await tables.fetch(
            "SELECT revision FROM journal WHERE canvas_id = $1 ORDER BY 1", canvas_id
        )
        assert [row["revision"] for row in rows] == list(range(1, 41))
        everything = {str(number): "x" for number in range(40)}
        for after, count in ((0, 1), (5, 1), (29, 1), (30, 10), (35, 5), (40, 0)):
            content = await client.load(canvas_id, after)
            assert (content.revision, len(content.updates)) == (40, count)
            known = (entry.update for entry in entries[:after])
            assert elements((*known, *content.updates)) == everything


async def test_large_snapshot_is_loaded_and_compacted_with_its_outline(
    backing: DevStack, client: Client, tables: Tables
) -> None:
    """A compaction checks a snapshot that has no outline, and gives one to the next snapshot. Proves R-STATE-27."""
    async with replica(backing, compact_after_bytes=50_000):
        canvas_id = await client.create()
        pen = Pen(canvas_id, "holder")
        for through in (3, 6):
            await client.append(pen.draw(f"{through}", "x" * 40_000), pen.draw(f"{through}b"))
            await client.append(pen.draw(f"{through}c", "x" * 40_000))
            await until_snapshot(tables, canvas_id, through)
            content = await client.load(canvas_id)
            assert read_outline(content.outline, content.updates[0]) is not None
            exported = await client.export(canvas_id, format="yjs")
            assert elements([exported.content]).keys() == elements(content.updates).keys()
            await tables.execute("UPDATE snapshot SET outline = NULL, kept = true")
            assert (await client.load(canvas_id)).outline == b""
        await tables.execute("UPDATE snapshot SET outline = 'o'")
        await client.append(pen.draw("6", "x" * 60_000))
        await until_snapshot(tables, canvas_id, 7)
        outlines = await tables.fetch(
            "SELECT outline FROM snapshot WHERE canvas_id = $1 ORDER BY through_revision", canvas_id
        )
        # The compaction has deleted the oldest snapshot's outline: only the newest two snapshots keep theirs.
        assert [row["outline"] is not None for row in outlines] == [False, True, True]


async def test_update_that_waits_for_an_earlier_one_survives_compaction(
    backing: DevStack, client: Client, tables: Tables
) -> None:
    """A snapshot keeps updates that were committed before an update that they build on. Proves R-STATE-6."""
    async with replica(backing, compact_after_entries=5):
        canvas_id = await client.create()
        first, *rest = [
            Entry(canvas_id, "holder", number, (), update)
            for number, update in enumerate(typed("0123456789" * 3))
        ]
        random.Random(7).shuffle(rest)
        for start in range(0, 25, 5):
            await client.append(*rest[start : start + 5])
            await until_snapshot(tables, canvas_id, start + 5)
        content = await client.load(canvas_id)
        assert len(content.updates) == 1
        assert text(content.updates) == ""
        await client.append(first, *rest[25:])
        assert text((await client.load(canvas_id)).updates) == "0123456789" * 3
        await until_snapshot(tables, canvas_id, 30)
        content = await client.load(canvas_id)
        assert len(content.updates) == 1
        assert text(content.updates) == "0123456789" * 3


async def test_update_that_cannot_be_merged_does_not_stop_compaction_of_other_canvases(
    backing: DevStack, client: Client, tables: Tables
) -> None:
    """A canvas with only unreadable updates gets no snapshot, and another canvas gets one. Proves R-STATE-7."""
    async with replica(backing, compact_after_entries=5):
        broken, sound = await client.create(), await client.create()
        pen = Pen(sound, "holder")
        for number in range(5):
            await client.append(
                Entry(broken, "holder", number, (), b"no update"), pen.draw(str(number))
            )
        await until_snapshot(tables, sound, 5)
        assert await snapshots(tables, broken) == []
        assert (await client.load(broken)).revision == 5
        # The next append to the broken canvas is answered too.
        await client.append(Entry(broken, "holder", 5, (), b"no update"))


async def test_append_does_not_wait_for_a_compaction(
    backing: DevStack, client: Client, tables: Tables
) -> None:
    """Appends are committed while a compaction waits for a lock on the table of snapshots. Proves R-STATE-7."""
    async with replica(backing, compact_after_entries=5), asyncio.timeout(60):
        canvas_id = await client.create()
        pen = Pen(canvas_id, "holder")
        async with waiting_compaction(client, tables, pen, entries=5):
            committed = await client.append(*(pen.draw(str(number)) for number in range(5, 9)))
            assert [result.revision for result in committed] == [6, 7, 8, 9]
        await until_snapshot(tables, canvas_id, 5)
        assert await snapshots(tables, canvas_id) == [5]
        content = await client.load(canvas_id)
        assert (content.revision, len(content.updates)) == (9, 5)
        assert elements(content.updates) == {str(number): "x" for number in range(9)}


async def test_compaction_locks_the_rows_of_commits_for_ten_seconds_without_a_statement_at_most(
    backing: DevStack, client: Client, tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A replica that is frozen after its last statement stops the commits of a canvas for 10 s. Proves R-FAIL-21."""
    limits: dict[str, str] = {}
    run = Session.run

    async def note_limit(session: Session, name: str, *args: Any) -> None:
        limits[name] = await session._connection.fetchval(f"SHOW {IDLE_TIMEOUT}")
        await run(session, name, *args)

    async with replica(backing, compact_after_entries=10):
        canvas_id = await client.create()
        monkeypatch.setattr(Session, "run", note_limit)
        pen = Pen(canvas_id, "holder")
        await client.append(*(pen.draw(str(number)) for number in range(10)))
        await until_snapshot(tables, canvas_id, 10)
    assert limits["note_snapshot"] == "10s"


async def test_canvas_that_grows_while_it_is_compacted_is_compacted_again(
    backing: DevStack, client: Client, tables: Tables
) -> None:
    """The second compaction needs no further commit, because the upload of a large canvas may be the last commit.

    Proves R-STATE-7.
    """
    async with replica(backing, compact_after_entries=10), asyncio.timeout(60):
        canvas_id = await client.create()
        pen = Pen(canvas_id, "holder")
        async with waiting_compaction(client, tables, pen, entries=10):
            await client.append(*(pen.draw(str(number)) for number in range(10, 20)))
        await until_snapshot(tables, canvas_id, 20)
        assert await snapshots(tables, canvas_id) == [10, 20]


async def test_commit_after_the_tail_was_read_is_compacted_when_it_is_due(
    fresh: FreshTables, workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No commit is missed between the read of the tail and the end of its compaction. Proves R-STATE-7."""
    compactor = fresh.compactor(workers, max_tail_entries=10)
    canvas_id = await fresh.create()
    pen = Pen(canvas_id, "holder")

    async def append(start: int) -> None:
        await fresh.journal.append([pen.draw(str(number)) for number in range(start, start + 10)])
        compactor.note_tail(canvas_id, 10, 0)

    async def read_early(database: Database, name: str, *values: Any, **options: Any) -> Row | None:
        found = await row(database, name, *values, **options)
        if name == "tail_after_snapshot":
            monkeypatch.setattr(Database, "row", row)
            await append(10)
        return found

    row = Database.row
    monkeypatch.setattr(Database, "row", read_early)
    await append(0)
    async with asyncio.timeout(30):
        while compactor.backlog:
            await pause()
    assert await snapshots(fresh.tables, canvas_id) == [10, 20]


async def test_compaction_of_a_stopped_replica_is_done_by_another(
    backing: DevStack, client: Client, tables: Tables
) -> None:
    """Stopping a replica cancels its compaction, and another replica compacts the canvas. Proves R-STATE-7."""
    async with asyncio.timeout(60):
        canvas_id = await _stop_a_replica_while_it_compacts(backing, client, tables)
        assert await snapshots(tables, canvas_id) == []
        async with replica(backing, compact_after_entries=5):
            await client.append(Pen(canvas_id, "next").draw("more"))
            await until_snapshot(tables, canvas_id, 6)
            assert await snapshots(tables, canvas_id) == [6]


async def _stop_a_replica_while_it_compacts(
    backing: DevStack, client: Client, tables: Tables
) -> str:
    async with tables.transaction():
        await tables.execute("LOCK TABLE snapshot IN SHARE MODE")
        async with replica(backing, compact_after_entries=5):
            canvas_id = await client.create()
            pen = Pen(canvas_id, "holder")
            await client.append(*(pen.draw(str(number)) for number in range(5)))
            await until_statement_blocked(tables, "INSERT INTO snapshot")
    return canvas_id


async def test_snapshot_of_an_older_revision_does_not_replace_the_newest_one(
    fresh: FreshTables, workers: Workers
) -> None:
    """The tail and the bytes of the content still begin at the newest snapshot. Proves R-STATE-7 and R-QUOTA-2."""
    compactor = fresh.compactor(workers)
    canvas_id = await fresh.create()
    pen = Pen(canvas_id, "holder")
    await fresh.journal.append([pen.draw(str(number)) for number in range(10)])
    assert await compactor.compact(canvas_id)
    await fresh.journal.append([pen.draw("last")])

    async def sizes() -> list[Row | None]:
        return [
            await fresh.database.row("tail_after_snapshot", canvas_id),
            await fresh.database.row("canvas_use", canvas_id, datetime.now(UTC).date()),
        ]

    before = await sizes()
    assert await compactor.keep(canvas_id, 5)
    assert await snapshots(fresh.tables, canvas_id) == [5, 10]
    assert await sizes() == before
