"""The statements of the services that count as writes, compared with their plans in PostgreSQL."""

import json
import re
import secrets
from typing import Any

import asyncpg
import pytest

from svgx_common.database import migrations
from svgx_common.database.hosts import Hosts
from svgx_common.postgres import load_queries
from svgx_devstack import DevStack

VOLATILE_FUNCTIONS = """
SELECT proname FROM pg_proc
WHERE pronamespace = to_regnamespace($1) AND provolatile = 'v' AND prorettype <> 'trigger'::regtype
"""


def changes_rows(plan: dict[str, Any]) -> bool:
    """Return whether a node of a plan inserts, updates, deletes or merges rows."""
    return plan["Node Type"] == "ModifyTable" or any(map(changes_rows, plan.get("Plans", ())))


@pytest.mark.parametrize("package", ["svgx_auth", "svgx_state"])
async def test_queries_that_change_rows_count_as_writes(backing: DevStack, package: str) -> None:
    """A write ends an outage early, and a statement that only locks rows is no write. Proves R-FAIL-19.

    A function of the service may change rows unless it is declared as STABLE or IMMUTABLE.
    """
    schema = f"writes_{secrets.token_hex(4)}"
    await migrations.apply(Hosts(backing.postgres_url), schema, package)
    connection = await asyncpg.connect(
        backing.postgres_url, server_settings={"search_path": schema}
    )
    try:
        functions = [row["proname"] for row in await connection.fetch(VOLATILE_FUNCTIONS, schema)]
        queries = load_queries(package)
        expected: set[str] = set()
        called: set[str] = set()
        for query in queries.values():
            parameters = (await connection.prepare(query.sql)).get_parameters()
            plan = await connection.fetchval(
                f"EXPLAIN (GENERIC_PLAN, VERBOSE, FORMAT JSON) {query.sql}",
                *[None] * len(parameters),
            )
            calls = {name for name in functions if re.search(rf"\b{name}\(", plan)}
            called |= calls
            if calls or changes_rows(json.loads(plan)[0]["Plan"]):
                expected.add(query.name)
        assert {query.name for query in queries.values() if query.writes} == expected
        assert called == set(functions)
    finally:
        await connection.execute(f"DROP SCHEMA {schema} CASCADE")
        await connection.close()
