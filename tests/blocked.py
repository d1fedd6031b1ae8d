"""Wait until other connections to PostgreSQL are blocked by a lock."""

from typing import Any

import asyncpg

from tests.polling import pause

_COUNT_BLOCKED = """
    WITH RECURSIVE blocked (pid) AS (
        SELECT pg_backend_pid()
        UNION
        SELECT l.pid FROM pg_locks l JOIN blocked b ON b.pid = ANY (pg_blocking_pids(l.pid))
        WHERE NOT l.granted
    )
    SELECT count(*) - 1 FROM blocked
"""


_COUNT_BLOCKED_STATEMENTS = """
    SELECT count(*) FROM pg_stat_activity
    WHERE pg_backend_pid() = ANY (pg_blocking_pids(pid)) AND strpos(query, $1) > 0
"""


async def until_blocked(connection: "asyncpg.Connection[Any]", number: int = 1) -> None:
    """Wait until `number` connections wait for locks of `connection`, directly or behind other waiting connections."""
    while await connection.fetchval(_COUNT_BLOCKED) < number:
        await pause()


async def until_statement_blocked(connection: "asyncpg.Connection[Any]", part: str) -> None:
    """Wait until a statement that contains `part` waits for a lock of `connection`."""
    while not await connection.fetchval(_COUNT_BLOCKED_STATEMENTS, part):
        # Otherwise, the view shows the same moment until the end of the transaction.
        await connection.execute("SELECT pg_stat_clear_snapshot()")
        await pause()
