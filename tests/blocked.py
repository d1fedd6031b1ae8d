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


async def until_blocked(connection: "asyncpg.Connection[Any]", number: int = 1) -> None:
    """Wait until `number` connections wait for locks of `connection`, directly or behind other waiting connections."""
    while await connection.fetchval(_COUNT_BLOCKED) < number:
        await pause()
