"""The stored size of a canvas that is removed while its bytes are counted."""

import asyncio
from datetime import date

from svgx_devstack import DevStack
from tests.integration.state.fresh_tables import new_schema


async def test_size_of_a_canvas_that_is_removed_during_the_count_is_deleted(
    backing: DevStack,
) -> None:
    """The count does not see that the removal has deleted the canvas. Proves R-LIFE-11."""
    async with new_schema(backing) as fresh:
        database, tables = fresh.database, fresh.tables
        await tables.execute(
            "INSERT INTO canvas (id, name, created_by) VALUES ('gone', '', 'ann'), ('kept', '', 'ann')"
        )
        day = date(2026, 1, 1)
        async with asyncio.timeout(30), tables.transaction():
            await tables.execute("DELETE FROM canvas WHERE id = 'gone'")
            await database.rows("add_usage", day, [], [], ["gone", "kept"], [10, 10], [], [], [])
        await database.run("drop_old_usage", day)
        rows = await tables.fetch("SELECT canvas_id FROM canvas_size")
        assert [row["canvas_id"] for row in rows] == ["kept"]
