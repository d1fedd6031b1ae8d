"""The command `svgx-state quarantine`, which lists the rows in the quarantine."""

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from typing import Any

import asyncpg

from svgx_common.database.hosts import Hosts
from svgx_common.settings import load
from svgx_state.settings import StateSettings

_QUARANTINED = """
SELECT id, canvas_id, kind, revision, reason, octet_length(update) AS bytes, row_at, at FROM quarantine
WHERE $1::text IS NULL OR canvas_id = $1
ORDER BY id DESC
LIMIT $2
"""

LIMIT = 1000
"""Largest number of rows that are listed."""


def quarantine_command(arguments: Sequence[str]) -> None:
    """Print the rows in the quarantine, newest first. The exit status is 1 when the rows cannot be read."""
    parser = argparse.ArgumentParser(
        "svgx-state quarantine",
        description="List the corrupt journal entries and snapshots that were moved to the quarantine, newest first.",
    )
    parser.add_argument("--canvas", metavar="ID", help="only the rows of this canvas")
    parser.add_argument(
        "--limit", type=int, default=100, help=f"rows to list, at most {LIMIT} (default: 100)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")
    options = parser.parse_args(arguments)
    if not 1 <= options.limit <= LIMIT:
        parser.error(f"--limit must be from 1 to {LIMIT}")
    settings = load(StateSettings)
    try:
        newest = asyncio.run(read_rows(settings.postgres_url, options.canvas, options.limit + 1))
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
        sys.exit(
            f"svgx: the quarantine could not be read ({type(error).__name__}); run `svgx-state doctor`"
        )
    rows = newest[: options.limit]
    for row in rows:
        print(json.dumps(row) if options.json else line(row))
    if not options.json:
        print(summary(len(rows), are_all=len(newest) == len(rows)))


async def read_rows(url: str, canvas_id: str | None, limit: int) -> list[dict[str, Any]]:
    """Return at most `limit` of the newest rows in the quarantine, of one canvas or of all canvases."""
    connection = await Hosts(url).connect(command_timeout=15)
    try:
        await connection.execute("SET search_path TO state")
        rows = await connection.fetch(_QUARANTINED, canvas_id, limit)
    finally:
        await connection.close()
    return [
        {
            **row,
            "row_at": row["row_at"].isoformat(timespec="seconds"),
            "at": row["at"].isoformat(timespec="seconds"),
        }
        for row in rows
    ]


def summary(listed: int, *, are_all: bool) -> str:
    """Return the sentence after the list of rows. `are_all` is True if the quarantine has no older row."""
    rows = "1 row" if listed == 1 else f"{listed} rows"
    return (
        f"{rows} in the quarantine"
        if are_all
        else f"the newest {rows} of the quarantine; there are more"
    )


def line(row: dict[str, Any]) -> str:
    """Return a row as a line of text."""
    size = "no bytes" if row["bytes"] is None else f"{row['bytes']} bytes"
    return (
        f"{row['at']}  canvas {row['canvas_id']}  {row['kind']} {row['revision']} of {row['row_at']}"
        f"  {size}: {row['reason']}"
    )
