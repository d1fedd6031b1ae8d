"""The search for edited canvases that no replica remembers."""

import asyncio

import pytest

from svgx_common import postgres
from svgx_common.database import hosts
from svgx_devstack import DevStack
from svgx_state.history import automatic
from svgx_state.history.automatic import AutomaticVersions
from tests.integration.state.drawing import Pen
from tests.integration.state.fresh_tables import FreshTables

DAY_SECONDS = 86400.0

CANVASES = 500

_ADD_CANVASES = """
    INSERT INTO canvas (id, name, created_by, revision, created_at, updated_at)
    SELECT 'canvas ' || number, '', 'ann', 40, now(), now() FROM generate_series(1, $1) AS number
"""
_ADD_ENTRIES = """
    INSERT INTO journal (canvas_id, revision, writer, sequence, authors, update, at)
    SELECT c.id, number, 'w', number, '{}', '', c.updated_at FROM canvas c, generate_series(1, 40) AS number
"""


async def test_search_for_forgotten_canvases_reads_few_journal_entries(fresh: FreshTables) -> None:
    """The search finds the entries by the index, and does not read the whole journal. Proves R-HIST-6."""
    await fresh.tables.execute("SELECT add_journal_days((now() AT TIME ZONE 'UTC')::date, 1)")
    await fresh.tables.execute(_ADD_CANVASES, CANVASES)
    await fresh.tables.execute(_ADD_ENTRIES)
    await fresh.tables.execute("ANALYZE canvas")
    await fresh.tables.execute("ANALYZE journal")
    query = postgres.load_queries("svgx_state")["unversioned_canvases"].sql
    rows = await fresh.tables.fetch(f"EXPLAIN (ANALYZE) {query}", DAY_SECONDS, 2 * CANVASES)
    plan = "\n".join(row[0] for row in rows)
    assert "on journal_2" in plan, plan
    assert "Seq Scan on journal_2" not in plan, plan


async def test_canvas_without_an_edit_for_the_longest_time_is_found_first(
    fresh: FreshTables,
) -> None:
    """A replica remembers the other canvases, so they must not take the place of a forgotten one. Proves R-HIST-6."""
    active, forgotten = [await fresh.create() for _ in range(2)]
    await fresh.journal.append([Pen(forgotten, "ann").draw("a"), Pen(active, "ann").draw("a")])
    await fresh.journal.append([Pen(active, "bob").draw("b")])
    # A search without an order finds the row that was written first.
    await fresh.tables.execute("UPDATE canvas SET name = name WHERE id = $1", forgotten)
    rows = await fresh.database.rows("unversioned_canvases", DAY_SECONDS, 1)
    assert [row["id"] for row in rows] == [forgotten]


async def test_failed_search_for_forgotten_canvases_is_not_repeated_at_once(
    backing: DevStack, fresh: FreshTables, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A search that exceeds its time limit ends without an error, and the next one waits. Proves R-HIST-6."""
    monkeypatch.setitem(hosts.SERVER_SETTINGS, "statement_timeout", "500ms")
    monkeypatch.setattr(automatic, "FORGOTTEN_PERIOD_SECONDS", 0.0)
    schema = await fresh.tables.fetchval("SELECT current_schema()")
    async with postgres.connect(
        backing.postgres_url, schema=schema, package="svgx_state", pool_size=4
    ) as database:
        versions = AutomaticVersions(database, fresh.versions(), quiet_seconds=1, busy_seconds=1)
        async with asyncio.timeout(20), fresh.tables.transaction():
            await fresh.tables.execute("LOCK TABLE version IN ACCESS EXCLUSIVE MODE")
            await versions.find_forgotten()
