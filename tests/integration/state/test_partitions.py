"""The journal's daily partitions, in a new schema so that the other tests' journal stays as it is."""

import asyncio
from datetime import timedelta

from svgx_common import postgres
from svgx_common.contract.state import Committed
from svgx_state.partitions import add_partitions
from tests.integration.state.drawing import Pen
from tests.integration.state.fresh_tables import FreshTables

# The days of the existing partitions. A partition is named after its day: `journal_20260131`.
_PARTITIONS = """
    SELECT array_agg(substr(relid::text, 9) ORDER BY 1) FROM pg_partition_tree('journal') WHERE isleaf
"""
# Today (in UTC) and the next $1 days.
_DAYS = """
    SELECT array_agg(to_char(day, 'YYYYMMDD') ORDER BY 1)
    FROM generate_series(now() AT TIME ZONE 'UTC', now() AT TIME ZONE 'UTC' + $1 * interval '1 day', '1 day') AS day
"""


async def test_partitions_are_made_ahead_and_repeating_is_harmless(fresh: FreshTables) -> None:
    """Partitions are made ahead of time, and existing ones are kept. Proves R-STATE-8."""
    for days in (2, 7, 7, 3):
        await add_partitions(fresh.database, days)
    assert await fresh.tables.fetchval(_PARTITIONS) == await fresh.tables.fetchval(_DAYS, 7)


async def test_replicas_make_partitions_at_the_same_time(fresh: FreshTables) -> None:
    """Several replicas may make the same partitions at the same time. Proves R-STATE-8."""
    await asyncio.gather(*(add_partitions(fresh.database, 30) for _ in range(4)))
    assert await fresh.tables.fetchval(_PARTITIONS) == await fresh.tables.fetchval(_DAYS, 30)


async def test_append_makes_its_missing_partition(fresh: FreshTables) -> None:
    """An append without a partition for its day makes the partition. Proves R-STATE-8."""
    ids = [await fresh.create() for _ in range(8)]
    results = await asyncio.gather(
        *(fresh.journal.append([Pen(canvas_id, "one").draw("a")]) for canvas_id in ids)
    )
    assert results == [[Committed(canvas_id, 1)] for canvas_id in ids]
    assert await fresh.tables.fetchval(_PARTITIONS) == await fresh.tables.fetchval(_DAYS, 0)
    await add_partitions(fresh.database, 1)
    assert await fresh.tables.fetchval(_PARTITIONS) == await fresh.tables.fetchval(_DAYS, 1)


async def test_making_partitions_does_not_wait_for_an_append(fresh: FreshTables) -> None:
    """An append with an open transaction has no lock that making partitions needs. Proves R-STATE-8."""
    await add_partitions(fresh.database, 0)
    canvas_id = await fresh.create()
    entry = Pen(canvas_id, "one").draw("a")
    async with asyncio.timeout(20), fresh.tables.transaction():
        await fresh.tables.fetchval(
            "SELECT revision FROM append_entries($1, $2, $3, $4, $5, $6)",
            [canvas_id], ["one"], [1], [], [0], [entry.update],
        )  # fmt: skip
        await add_partitions(fresh.database, 3)
    assert (await fresh.journal.load(canvas_id)).updates == (entry.update,)


async def test_times_follow_revisions_when_the_clock_is_set_back(fresh: FreshTables) -> None:
    """Later revisions have no earlier times, even if the time of the last commit is 40 days ahead of the clock.

    Proves R-STATE-9.
    """
    canvas_id = await fresh.create()
    pen = Pen(canvas_id, "one")
    entries = [pen.draw(str(number)) for number in range(4)]
    await fresh.journal.append(entries[:1])
    await fresh.tables.execute("UPDATE canvas SET updated_at = now() + interval '40 days'")
    await fresh.journal.append(entries[1:2])
    await fresh.database.row("rename_canvas", canvas_id, "later")
    await fresh.journal.append(entries[2:])
    times = [
        row["at"] for row in await fresh.tables.fetch("SELECT at FROM journal ORDER BY revision")
    ]
    assert times == sorted(times)
    assert times[1] - times[0] > timedelta(days=39)
    assert [result.revision for result in await fresh.journal.append(entries[1:])] == [2, 3, 4]
    content = await fresh.journal.load(canvas_id)
    assert content.updates == tuple(entry.update for entry in entries)


async def test_time_of_a_canvas_does_not_change_the_times_of_others(fresh: FreshTables) -> None:
    """One call commits entries of canvases with different times. Proves R-STATE-9.

    The first call commits the entries together, and the second one by one, because it has a new writer.
    """
    ids = [await fresh.create() for _ in range(3)]
    for days, canvas_id in enumerate(ids):
        await fresh.journal.append([Pen(canvas_id, "one").draw("a")])
        await fresh.tables.execute(
            "UPDATE canvas SET updated_at = now() + $2 * interval '20 days' WHERE id = $1",
            canvas_id, days,
        )  # fmt: skip
    for number, writer in enumerate(("one", "two")):
        entries = []
        for canvas_id in ids:
            pen = Pen(canvas_id, writer)
            pen.draw("a")
            entries.append(pen.draw("b"))
        committed = await fresh.journal.append(entries)
        assert [each.revision for each in committed] == [number + 2] * 3
        times = await fresh.tables.fetchval(
            "SELECT array_agg(round(extract(epoch FROM at - now()) / 86400)::integer ORDER BY at)"
            " FROM journal WHERE revision = $1",
            number + 2,
        )
        assert times == [0, 20, 40]
        assert [each.revision for each in await fresh.journal.append(entries)] == [number + 2] * 3


async def test_load_searches_only_the_partitions_after_the_snapshot(fresh: FreshTables) -> None:
    """A load does not search the partitions before the snapshot, so months of partitions do not slow the load down.

    Proves R-STATE-5.
    """
    await add_partitions(fresh.database, 60)
    canvas_id = await fresh.create()
    pen = Pen(canvas_id, "one")
    await fresh.journal.append([pen.draw("a")])
    await fresh.tables.execute("UPDATE canvas SET updated_at = now() + interval '58 days'")
    await fresh.journal.append([pen.draw("b")])
    await fresh.tables.execute(
        "INSERT INTO snapshot SELECT canvas_id, revision, at, update FROM journal WHERE revision = 2"
    )
    await fresh.tables.execute("UPDATE canvas SET snapshot_revision = 2")
    await fresh.journal.append([pen.draw("c")])
    queries = postgres.load_queries("svgx_state")
    for query, arguments in (("load_content", [canvas_id]), ("load_tail", [canvas_id, 2])):
        plan = await fresh.tables.fetch(f"EXPLAIN (ANALYZE) {queries[query].sql}", *arguments)
        searched = [
            row[0] for row in plan if "on journal_2" in row[0] and "never executed" not in row[0]
        ]
        assert 1 <= len(searched) <= 3, "\n".join(row[0] for row in plan)


async def test_load_with_a_missing_entry_returns_the_other_entries(fresh: FreshTables) -> None:
    """A load with a missing entry returns all other entries. Proves R-STATE-5."""
    canvas_id = await fresh.create()
    pen = Pen(canvas_id, "one")
    entries = [pen.draw(str(number)) for number in range(3)]
    await fresh.journal.append(entries)
    await fresh.tables.execute("DELETE FROM journal WHERE revision = 2")
    for after in (0, 1):
        content = await fresh.journal.load(canvas_id, after)
        assert content.revision == 3
        assert content.updates == (entries[0].update, entries[2].update)
