"""The disk space of the same edits in the journal, in the journal of the first version, and as raw updates."""

import random
from collections.abc import Sequence
from itertools import accumulate, chain
from typing import TypeAlias

import asyncpg

from bench.state.edits import entries
from bench.state.tables import Report, new_tables, old_tables
from svgx_common.contract.state import Entry
from svgx_devstack import DevStack
from svgx_state.journal.checksums import checksum

CANVASES = 50
EDITS = 1_000
"""Edits of each canvas."""

GROUP = 20
"""Entries of one commit, each of a different canvas."""

IDS = [f"{number * 0x1234567:08x}-9a5e-4a3b-8a6e-6f0f3f0f9b1d" for number in range(CANVASES)]

_SIZES = """
SELECT sum(pg_table_size(oid)) AS rows, sum(pg_indexes_size(oid)) AS indexes
FROM pg_class WHERE relkind = 'r' AND relnamespace = current_schema()::regnamespace AND relname ~ $1
"""

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


def groups_of(ids: Sequence[str]) -> list[list[Entry]]:
    """Return the edits of the canvases in groups, as holders commit them: each group has entries of some canvases."""
    choose = random.Random(7)  # noqa: S311
    waiting = {
        canvas_id: list(reversed(entries(canvas_id, seed, EDITS)))
        for seed, canvas_id in enumerate(ids)
    }
    groups = []
    while waiting:
        chosen = choose.sample(sorted(waiting), min(GROUP, len(waiting)))
        groups.append([waiting[canvas_id].pop() for canvas_id in chosen])
        waiting = {canvas_id: rest for canvas_id, rest in waiting.items() if rest}
    return groups


async def append(connection: Connection, group: Sequence[Entry], checksums: bool) -> None:
    """Commit a group with the function `append_entries`, which takes checksums since migration 0003."""
    arguments: list[object] = [
        [entry.canvas_id for entry in group],
        [entry.writer for entry in group],
        [entry.sequence for entry in group],
        list(chain.from_iterable(entry.authors for entry in group)),
        list(accumulate(len(entry.authors) for entry in group)),
        [entry.update for entry in group],
    ]
    if checksums:
        arguments.append([checksum(entry.update) for entry in group])
    places = ", ".join(f"${number}" for number in range(1, len(arguments) + 1))
    await connection.execute(f"SELECT append_entries({places})", *arguments)


async def measure(stack: DevStack) -> Report:
    """Store the same edits in each way, and compare the disk space."""
    groups = groups_of(IDS)
    edits = sum(map(len, groups))
    raw_bytes = sum(len(entry.update) for group in groups for entry in group)
    rows = [("", "rows, bytes an edit", "indexes", "together", "size / updates")]

    async def add(name: str, connection: Connection, tables: str) -> None:
        sizes = await connection.fetchrow(_SIZES, tables)
        assert sizes is not None
        table, indexes = sizes["rows"] / edits, sizes["indexes"] / edits
        both = table + indexes
        ratio = both * edits / raw_bytes
        rows.append((name, f"{table:.0f}", f"{indexes:.0f}", f"{both:.0f}", f"{ratio:.2f} times"))

    async with old_tables(stack, migrations=2) as connection:
        await _create(connection)
        for group in groups:
            await append(connection, group, checksums=False)
        await add("journal of the first version", connection, "^journal_[0-9]")
    async with new_tables(stack) as tables:
        connection = tables.connection
        await _create(connection)
        for group in groups:
            await append(connection, group, checksums=True)
        await add("journal", connection, "^journal_([0-9]|writer)")
        await connection.execute(
            "CREATE TABLE raw_update (id bigserial PRIMARY KEY, document text NOT NULL, update bytea NOT NULL);"
            "CREATE INDEX raw_update_document ON raw_update (document, id)"
        )
        for group in groups:
            await connection.executemany(
                "INSERT INTO raw_update (document, update) VALUES ($1, $2)",
                [(entry.canvas_id, entry.update) for entry in group],
            )
        await add("a row for each raw update", connection, "^raw_update$")
    return Report(
        "Bytes on disk",
        f"Each layout stores the same {edits:,} edits of {raw_bytes / edits:.0f} bytes on average, on {CANVASES}\n"
        "canvases, in the same order. For comparison, the last line is a simpler layout: a row for each raw\n"
        "update, with the document's name and a number, without authors, times, revisions and checksums.",
        rows,
    )


async def _create(connection: Connection) -> None:
    await connection.executemany(
        "INSERT INTO canvas (id, name, created_by) VALUES ($1, 'canvas', 'user')",
        [(canvas_id,) for canvas_id in IDS],
    )
