"""The journal's daily partitions, on tables of their own: the other tests' journal must not be touched."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import asyncpg
import pytest

from svgx_common import postgres
from svgx_common.contract.policy import Role
from svgx_common.messaging.caller import Caller
from svgx_common.messaging.wire import Committed
from svgx_common.postgres import Database
from svgx_devstack import DevStack
from svgx_state.canvases import Canvases
from svgx_state.journal import Journal
from svgx_state.partitions import add_partitions
from tests.integration.state.drawing import Pen
from tests.integration.state.service import Tables

ME = Caller("me", "me", Role.EDITOR, "session")
_PARTITIONS = """
    SELECT array_agg(substr(relid::text, 9) ORDER BY 1) FROM pg_partition_tree('journal') WHERE isleaf
"""
_DAYS = """
    SELECT array_agg(to_char(day, 'YYYYMMDD') ORDER BY 1)
    FROM generate_series(now() AT TIME ZONE 'UTC', now() AT TIME ZONE 'UTC' + $1 * interval '1 day', '1 day') AS day
"""


class Own:
    """Tables of one test. There are no partitions yet."""

    def __init__(self, database: Database, tables: Tables) -> None:
        self.database = database
        self.tables = tables
        self.journal = Journal(database, lambda *_: None)

    async def create(self) -> str:
        """A canvas's id."""
        return (await Canvases(self.database).create(ME, "canvas")).id


@asynccontextmanager
async def fresh(backing: DevStack) -> AsyncIterator[Own]:
    """A schema of its own."""
    schema = f"state_{secrets.token_hex(4)}"
    url = backing.postgres_url
    async with postgres.connect(url, schema=schema, package="svgx_state", pool_size=4) as database:
        tables: Tables = await asyncpg.connect(url, server_settings={"search_path": schema})
        try:
            yield Own(database, tables)
        finally:
            await tables.execute(f"DROP SCHEMA {schema} CASCADE")
            await tables.close()


@pytest.fixture
async def own(backing: DevStack) -> AsyncIterator[Own]:
    """Tables without any partition."""
    async with fresh(backing) as own:
        yield own


async def test_they_are_made_ahead_and_again_is_harmless(own: Own) -> None:
    """Proves R-STATE-8."""
    for days in (2, 7, 7, 3):
        await add_partitions(own.database, days)
    assert await own.tables.fetchval(_PARTITIONS) == await own.tables.fetchval(_DAYS, 7)


async def test_two_replicas_make_them_at_once(own: Own) -> None:
    """Proves R-STATE-8."""
    await asyncio.gather(*(add_partitions(own.database, 30) for _ in range(4)))
    assert await own.tables.fetchval(_PARTITIONS) == await own.tables.fetchval(_DAYS, 30)


async def test_an_append_makes_the_one_it_lacks(own: Own) -> None:
    """Proves R-STATE-8."""
    ids = [await own.create() for _ in range(8)]
    results = await asyncio.gather(
        *(own.journal.append([Pen(canvas_id, "one").draw("a")]) for canvas_id in ids)
    )
    assert results == [[Committed(canvas_id, 1)] for canvas_id in ids]
    assert await own.tables.fetchval(_PARTITIONS) == await own.tables.fetchval(_DAYS, 0)
    await add_partitions(own.database, 1)
    assert await own.tables.fetchval(_PARTITIONS) == await own.tables.fetchval(_DAYS, 1)


async def test_making_them_waits_for_no_append(own: Own) -> None:
    """Proves R-STATE-8. An append that is not committed yet holds nothing that partitions need."""
    await add_partitions(own.database, 0)
    canvas_id = await own.create()
    entry = Pen(canvas_id, "one").draw("a")
    async with asyncio.timeout(20), own.tables.transaction():
        await own.tables.fetchval(
            "SELECT revision FROM append_entries($1, $2, $3, $4, $5, $6)",
            [canvas_id], ["one"], [1], [], [0], [entry.update],
        )  # fmt: skip
        await add_partitions(own.database, 3)
    assert (await own.journal.load(canvas_id)).updates == (entry.update,)


async def test_a_clock_that_was_set_back_keeps_the_order_of_time(own: Own) -> None:
    """Proves R-STATE-9. The commit before it was, by the clock, in forty days."""
    canvas_id = await own.create()
    pen = Pen(canvas_id, "one")
    entries = [pen.draw(str(number)) for number in range(4)]
    await own.journal.append(entries[:1])
    await own.tables.execute("UPDATE canvas SET updated_at = now() + interval '40 days'")
    await own.journal.append(entries[1:2])
    await own.database.row("rename_canvas", canvas_id, "later")
    await own.journal.append(entries[2:])
    times = [
        row["at"] for row in await own.tables.fetch("SELECT at FROM journal ORDER BY revision")
    ]
    assert times == sorted(times)
    assert times[1] - times[0] > timedelta(days=39)
    assert [result.revision for result in await own.journal.append(entries[1:])] == [2, 3, 4]
    content = await own.journal.load(canvas_id)
    assert content.updates == tuple(entry.update for entry in entries)


async def test_a_load_searches_the_days_after_the_snapshot_only(own: Own) -> None:
    """Proves R-STATE-5. Months of partitions do not make it slower."""
    await add_partitions(own.database, 60)
    canvas_id = await own.create()
    pen = Pen(canvas_id, "one")
    await own.journal.append([pen.draw("a")])
    await own.tables.execute("UPDATE canvas SET updated_at = now() + interval '58 days'")
    await own.journal.append([pen.draw("b")])
    await own.tables.execute(
        "INSERT INTO snapshot SELECT canvas_id, revision, at, update FROM journal WHERE revision = 2"
    )
    await own.tables.execute("UPDATE canvas SET snapshot_revision = 2")
    await own.journal.append([pen.draw("c")])
    queries = postgres.load_queries("svgx_state")
    for query, arguments in (("load_content", [canvas_id]), ("load_tail", [canvas_id, 2])):
        plan = await own.tables.fetch(f"EXPLAIN (ANALYZE) {queries[query].sql}", *arguments)
        searched = [
            row[0] for row in plan if "on journal_2" in row[0] and "never executed" not in row[0]
        ]
        assert 1 <= len(searched) <= 3, "\n".join(row[0] for row in plan)


async def test_a_missing_entry_is_noticed_and_the_rest_is_given(own: Own) -> None:
    """Proves R-STATE-5."""
    canvas_id = await own.create()
    pen = Pen(canvas_id, "one")
    entries = [pen.draw(str(number)) for number in range(3)]
    await own.journal.append(entries)
    await own.tables.execute("DELETE FROM journal WHERE revision = 2")
    for after in (0, 1):
        content = await own.journal.load(canvas_id, after)
        assert content.revision == 3
        assert content.updates == (entries[0].update, entries[2].update)
