"""The named queries of the services change nothing in a PostgreSQL session beyond their transaction."""

import re

import pytest

from svgx_common.postgres import load_queries

_SESSION_STATE = re.compile(
    r"\b(LISTEN|DECLARE|PREPARE|TEMP|TEMPORARY)\b|^\s*SET\b|pg_(try_)?advisory_lock|set_config\([^()]*false\s*\)",
    re.IGNORECASE | re.MULTILINE,
)


@pytest.mark.parametrize("package", ["svgx_auth", "svgx_state"])
def test_queries_change_nothing_beyond_their_transactions(package: str) -> None:
    """Queries must not change the session, because the pool does not reset a returned connection. Proves R-STATE-1."""
    queries = load_queries(package).values()
    assert queries
    clauses = [re.sub(r"(?m)^\s*SET \w+ = ", "", re.sub(r"--.*", "", each.sql)) for each in queries]
    assert not [sql for sql in clauses if _SESSION_STATE.search(sql)]


@pytest.mark.parametrize(
    "sql",
    [
        "SET statement_timeout TO 1",
        "LISTEN events",
        "SELECT pg_advisory_lock(1)",
        "SELECT pg_try_advisory_lock(1)",
        "SELECT set_config('lock_timeout', '50ms', false)",
        "CREATE TEMP TABLE found (id text)",
    ],
)
def test_statement_that_changes_the_session_is_found(sql: str) -> None:
    """The check of the queries finds statements with an effect on the session. Proves R-STATE-1."""
    assert _SESSION_STATE.search(sql)
