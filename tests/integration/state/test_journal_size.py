"""The cost of a long journal: the rows that a load reads, the disk space, and its metrics."""

import re
from datetime import UTC, datetime

import asyncpg
import pytest
from prometheus_client import REGISTRY

from svgx_common import postgres
from svgx_devstack import DevStack
from svgx_state.journal import command
from svgx_state.journal.disk import DiskUse
from svgx_state.partitions import add_partitions
from svgx_state.snapshots import Compactor
from tests.integration.state.drawing import Pen
from tests.integration.state.fresh_tables import FreshTables

ENTRIES = 30_000


async def add_entries(fresh: FreshTables, canvas_id: str, entries: int) -> None:
    """Store the same update many times, as revisions of one canvas."""
    update = Pen(canvas_id, "holder").draw("a", "x" * 60).update
    await add_partitions(fresh.database, 1)
    await fresh.tables.execute(
        "INSERT INTO journal (canvas_id, revision, writer, sequence, authors, update, at)"
        " SELECT $1, number, 'holder', number, ARRAY['user-0123456789abcdef'], $2, now()"
        " FROM generate_series(1, $3::bigint) AS number",
        canvas_id,
        update,
        entries,
    )
    await fresh.tables.execute(
        "UPDATE canvas SET revision = $2, bytes = $2::bigint * octet_length($3::bytea), writer = 'holder',"
        " sequence = $2, updated_at = now(), created_at = now() - interval '1 hour' WHERE id = $1",
        canvas_id,
        entries,
        update,
    )
    await fresh.tables.execute("ANALYZE journal")


async def test_load_of_a_canvas_with_a_long_journal_reads_only_the_entries_after_the_snapshot(
    fresh: FreshTables,
) -> None:
    """A load reads the snapshot, the entries after it, and few other rows of the canvas. Proves R-STATE-25.

    256 revisions share an index key, so a load reads at most 255 other rows. The test allows 511.
    """
    canvas_id, other = await fresh.create(), await fresh.create()
    await add_entries(fresh, canvas_id, ENTRIES)
    await add_entries(fresh, other, 1000)
    await fresh.tables.execute(
        "INSERT INTO snapshot (canvas_id, through_revision, through_at, update)"
        " SELECT canvas_id, revision, at, update FROM journal WHERE canvas_id = $1 AND revision = $2",
        canvas_id,
        ENTRIES - 100,
    )
    await fresh.tables.execute("UPDATE canvas SET snapshot_revision = $1", ENTRIES - 100)
    content = await fresh.journal.load(canvas_id)
    assert (content.revision, len(content.updates)) == (ENTRIES, 101)
    assert len((await fresh.journal.load(canvas_id, ENTRIES - 3)).updates) == 3
    queries = postgres.load_queries("svgx_state")
    for query, *arguments in (
        ("load_content", canvas_id),
        ("load_tail", canvas_id, ENTRIES - 3),
        ("canvases_before", datetime.now(UTC), "", 10),
    ):
        plan = await fresh.tables.fetch(
            f"EXPLAIN (ANALYZE, BUFFERS) {queries[query].sql}", *arguments
        )
        lines = [row[0] for row in plan]
        removed = [int(number) for number in re.findall(r"Filter: (\d+)", "\n".join(lines))]
        assert sum(removed) < 512, "\n".join(lines)
        blocks = max(int(number) for number in re.findall(r"shared hit=(\d+)", "\n".join(lines)))
        assert blocks < 150, "\n".join(lines)


async def test_resent_entry_is_found_among_many(fresh: FreshTables) -> None:
    """An entry that is sent again gets its first revision, and a new entry gets the next revision. Proves R-STATE-3."""
    canvas_id = await fresh.create()
    await add_entries(fresh, canvas_id, ENTRIES)
    update = Pen(canvas_id, "holder").draw("b").update
    statement = "SELECT revision, repeated FROM append_entries($1, $2, $3, $4, $5, $6, $7)"
    for writer, sequence, expected in (
        ("holder", ENTRIES - 5, (ENTRIES - 5, True)),
        ("holder", ENTRIES + 1, (ENTRIES + 1, False)),
        ("next", 1, (ENTRIES + 2, False)),
        ("holder", ENTRIES + 1, (ENTRIES + 1, True)),
        ("holder", ENTRIES + 2, (ENTRIES + 3, False)),
        ("next", 1, (ENTRIES + 2, True)),
        ("next", 3, (ENTRIES + 4, False)),
        ("next", 2, (ENTRIES + 5, False)),
        ("next", 2, (ENTRIES + 5, True)),
        ("next", 3, (ENTRIES + 4, True)),
    ):
        row = await fresh.tables.fetchrow(
            statement, [canvas_id], [writer], [sequence], [], [0], [update], [1]
        )
        assert row is not None
        assert tuple(row) == expected, (writer, sequence)


async def test_disk_space_is_measured(fresh: FreshTables, compactor: Compactor) -> None:
    """The metrics have the sizes, the number of days, and the forecast of a full disk. Proves R-STATE-26."""
    canvas_id = await fresh.create()
    await add_entries(fresh, canvas_id, 1000)
    await fresh.pass_days(3)
    await fresh.journal.append([Pen(canvas_id, "later").draw("b")])
    await compactor.compact(canvas_id)
    now = datetime.now(UTC)
    await DiskUse(fresh.database, retention_days=30, disk_bytes=1e15).measure(now)
    assert value("journal_partitions") == len(await fresh.days()) >= 4
    assert value("journal_oldest_day_seconds") == pytest.approx(
        3 * 86400 + now.hour * 3600 + now.minute * 60 + now.second, abs=5
    )
    journal = value("journal_disk_bytes")
    assert 100_000 < journal < 3_000_000
    assert 0 < value("journal_day_bytes") < journal
    assert value("snapshot_disk_bytes") > 0
    assert value("database_bytes") > journal
    assert value("database_full_seconds") == 3650 * 86400
    await DiskUse(fresh.database, retention_days=0, disk_bytes=1).measure(now)
    assert value("database_full_seconds") == 0
    await DiskUse(fresh.database, retention_days=30, disk_bytes=0).measure(now)


def value(name: str) -> float:
    """Return the value of a metric."""
    return REGISTRY.get_sample_value(f"svgx_engine_{name}") or 0.0


@pytest.mark.usefixtures("service")
async def test_command_lists_the_quarantine(backing: DevStack) -> None:
    """`svgx-state quarantine` lists corrupt rows, of all canvases or of one. Proves R-STATE-24."""
    tables = await asyncpg.connect(backing.postgres_url, server_settings={"search_path": "state"})
    try:
        await tables.execute(
            "INSERT INTO quarantine (canvas_id, kind, revision, reason, update, row_at) VALUES"
            " ('one', 'entry', 7, 'it is broken', '\\x0102', '2026-01-02 03:04:05Z'),"
            " ('two', 'snapshot', 9, 'it is lost', NULL, '2026-01-02 03:04:05Z')"
        )
        # Other tests of this database may have put older rows into the quarantine.
        rows = (await command.read_rows(backing.postgres_url, None, 10))[:2]
        assert [(row["canvas_id"], row["bytes"]) for row in rows] == [("two", None), ("one", 2)]
        assert await command.read_rows(backing.postgres_url, "one", 10) == rows[1:]
        assert await command.read_rows(backing.postgres_url, None, 1) == rows[:1]
        assert command.line(rows[1]).endswith(
            "canvas one  entry 7 of 2026-01-02T03:04:05+00:00  2 bytes: it is broken"
        )
        assert command.line(rows[0]).endswith("no bytes: it is lost")
    finally:
        await tables.execute("DELETE FROM quarantine WHERE canvas_id IN ('one', 'two')")
        await tables.close()
