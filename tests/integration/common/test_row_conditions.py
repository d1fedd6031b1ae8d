"""Statements that select rows and then change them: a row that changes between the two steps is checked again."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest

from svgx_common import postgres
from svgx_common.postgres import Database
from svgx_devstack import DevStack
from tests.blocked import until_blocked

_ADD_VERSIONS = """
    WITH made AS (
        INSERT INTO canvas (id, name, created_by) VALUES ('canvas', '', 'ann')
    )
    INSERT INTO version (id, canvas_id, revision, kind, authors, at, edited_at)
    SELECT 'version ' || number, 'canvas', 1, 'before_import', '{}',
        timestamptz '2020-02-02' + number * interval '1 hour', now()
    FROM generate_series(1, 2) AS number
"""
"""The statement adds two versions of one past day, so `version 1` is surplus."""

_ADD_DELIVERY = """
    WITH hook AS (
        INSERT INTO webhook (id, url, types, note, active, secret, created_by)
        VALUES ('hook', 'https://example.org', '{}', '', true, '', 'root')
    ), old AS (
        INSERT INTO event (id, type, service, entity_id, data, at, relayed_at)
        VALUES ('event', 'x', 'state', 'x', '{}', '2020-02-02', '2020-02-02')
    )
    INSERT INTO webhook_delivery (id, webhook_id, event_id, entity_id, status)
    VALUES ('delivery', 'hook', 'event', 'x', 'dead')
"""

_ADD_HOMES = """
    WITH owner AS (
        INSERT INTO account (id, username, email, role) VALUES ('ann', 'ann', 'ann@example.org', 'editor')
    )
    INSERT INTO home (account_id, network, last_used_at)
    SELECT 'ann', 'home ' || number, timestamptz '2020-02-02' + number * interval '1 day'
    FROM generate_series(1, 2) AS number
"""
"""The statement adds two homes. `home 1` is the one that was not used for the longest time."""


@dataclass(frozen=True, slots=True)
class Case:
    """A statement that would change or delete a row, and another change of the row that must prevent it."""

    service: str
    statement: str
    arguments: tuple[object, ...]
    add: str
    """The SQL that adds the row."""
    change: str
    """The SQL of another transaction, which commits while the statement waits for the row."""
    left: str
    """The table and the condition that find the row after `change`."""


CASES = (
    Case(
        "state",
        "thin_versions",
        ("canvas", 3600.0, 86400.0, 300),
        add=_ADD_VERSIONS,
        change="UPDATE version SET name = 'kept' WHERE id = 'version 1'",
        left="version WHERE name = 'kept'",
    ),
    Case(
        "state",
        "expire_versions",
        (datetime(2021, 1, 1, tzinfo=UTC), 1000),
        add=_ADD_VERSIONS,
        change="UPDATE version SET name = 'kept' WHERE id = 'version 1'",
        left="version WHERE name = 'kept'",
    ),
    Case(
        "state",
        "erase_configuration",
        ("ann", "pseudonym", 1000),
        add="INSERT INTO configuration (name, version, value, changed_by) VALUES ('x', 1, '{}', 'ann')",
        change="UPDATE configuration SET changed_by = 'root'",
        left="configuration WHERE changed_by = 'root'",
    ),
    Case(
        "state",
        "drop_old_events",
        (7, 1000, None, None),
        add=_ADD_DELIVERY,
        change="UPDATE webhook_delivery SET status = 'pending'",
        left="webhook_delivery WHERE status = 'pending'",
    ),
    Case(
        "auth",
        "forget_homes",
        (86400.0, 1000),
        add=_ADD_HOMES,
        change="UPDATE home SET last_used_at = now() WHERE network = 'home 1'",
        left="home WHERE network = 'home 1'",
    ),
    Case(
        "auth",
        "forget_unused_homes",
        ("ann", 1),
        add=_ADD_HOMES,
        change="UPDATE home SET last_used_at = now() WHERE network = 'home 1'",
        left="home WHERE network = 'home 1'",
    ),
    Case(
        "auth",
        "forget_attempts",
        (86400.0, 1000),
        add="INSERT INTO attempt (key, failures, last_at) VALUES ('key', 3, '2020-02-02')",
        change="UPDATE attempt SET failures = 1, last_at = now()",
        left="attempt WHERE failures = 1",
    ),
)


@asynccontextmanager
async def new_tables(
    backing: DevStack, service: str
) -> AsyncIterator[tuple[Database, "asyncpg.Connection[Any]"]]:
    """Create a service's tables in a new schema, with a separate connection to them. Drop the schema afterwards."""
    schema, url = f"{service}_{secrets.token_hex(4)}", backing.postgres_url
    async with postgres.connect(
        url, schema=schema, package=f"svgx_{service}", pool_size=2
    ) as database:
        tables = await asyncpg.connect(url, server_settings={"search_path": schema})
        try:
            yield database, tables
        finally:
            await tables.execute(f"DROP SCHEMA {schema} CASCADE")
            await tables.close()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.statement)
async def test_row_that_changes_after_its_selection_is_checked_again(
    backing: DevStack, case: Case
) -> None:
    """A statement neither changes nor deletes a row for which its condition does not hold any more.

    Proves R-STATE-28, R-HIST-5, R-EVENT-7.
    """
    async with new_tables(backing, case.service) as (database, tables):
        await tables.execute(case.add)
        async with asyncio.timeout(30), tables.transaction():
            await tables.execute(case.change)
            running = asyncio.create_task(database.rows(case.statement, *case.arguments))
            await until_blocked(tables)
        await running
        assert await tables.fetchval(f"SELECT count(*) FROM {case.left}") == 1


async def test_canvas_that_is_restored_and_deleted_again_is_not_removed(backing: DevStack) -> None:
    """The search for canvases to remove checks the age again after a wait for the row. Proves R-STATE-28, R-LIFE-11."""
    async with new_tables(backing, "state") as (database, tables):
        await tables.execute(
            "INSERT INTO canvas (id, name, created_by, deleted_at) VALUES ('canvas', '', 'ann', '2020-02-02')"
        )
        async with asyncio.timeout(30), tables.transaction():
            await tables.execute("UPDATE canvas SET deleted_at = now()")
            search = asyncio.create_task(database.rows("due_purge", 30))
            await until_blocked(tables)
        assert await search == []
