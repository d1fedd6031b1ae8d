"""Statements that select rows and then change them: a row that changes between the two steps is checked again."""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest

from tests.blocked import until_blocked
from tests.integration.state.fresh_tables import FreshTables

_ADD_OLD_VERSIONS = """
    WITH made AS (
        INSERT INTO canvas (id, name, created_by) VALUES ('canvas', '', 'ann')
    )
    INSERT INTO version (id, canvas_id, revision, kind, authors, at, edited_at)
    SELECT 'version ' || number, 'canvas', 1, 'before_import', '{}',
        timestamptz '2020-02-02' + number * interval '1 hour', now()
    FROM generate_series(1, 2) AS number
"""
"""The statement adds two versions of one past day, so `version 1` is surplus."""

_NAME_VERSION = "UPDATE version SET name = 'kept' WHERE id = 'version 1'"


@dataclass(frozen=True, slots=True)
class Case:
    """A statement that is due to change a row, and a change of the row after which the statement must leave it."""

    statement: str
    arguments: tuple[object, ...]
    row: str
    """The SQL that adds the row."""
    change: str
    """The SQL of another transaction, which commits while the statement waits for the row."""
    kept: str
    """The SQL that counts the rows that are as `change` left them."""


CASES = (
    Case(
        "thin_versions",
        ("canvas", 3600.0, 86400.0, 300),
        row=_ADD_OLD_VERSIONS,
        change=_NAME_VERSION,
        kept="SELECT count(*) FROM version WHERE name = 'kept'",
    ),
    Case(
        "expire_versions",
        (datetime(2021, 1, 1, tzinfo=UTC), 1000),
        row=_ADD_OLD_VERSIONS,
        change=_NAME_VERSION,
        kept="SELECT count(*) FROM version WHERE name = 'kept'",
    ),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.statement)
async def test_row_that_changes_after_its_selection_is_checked_again(
    fresh: FreshTables, case: Case
) -> None:
    """A statement leaves a row for which its condition does not hold any more. Proves R-HIST-5."""
    await fresh.tables.execute(case.row)
    async with asyncio.timeout(30), fresh.tables.transaction():
        await fresh.tables.execute(case.change)
        running = asyncio.create_task(fresh.database.rows(case.statement, *case.arguments))
        await until_blocked(fresh.tables)
    await running
    assert await fresh.tables.fetchval(case.kept) == 1
