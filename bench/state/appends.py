"""The rate of appends: groups of entries of many canvases in one commit, and the same entries one by one."""

import functools
import time
from collections.abc import Awaitable, Callable
from typing import TypeAlias

import asyncpg
from asyncpg.prepared_stmt import PreparedStatement

from bench.state.edits import entries
from bench.state.tables import Report, new_tables
from svgx_common.contract.state import Entry
from svgx_devstack import DevStack

Statement: TypeAlias = "PreparedStatement[asyncpg.Record]"

SECONDS = 4.0
"""Seconds of one measurement."""

EDITS = 20_000
"""Edits that are made before a measurement, so that making them is not measured."""


async def measure(stack: DevStack) -> Report:
    """Measure the rate of appends in groups and one by one, for 1, 10 and 100 canvases."""
    rows: list[tuple[str, ...]] = [
        (
            "canvases",
            "group commit: edits/s",
            "commits/s",
            "ms a commit",
            "one by one: edits/s",
            "gain",
        )
    ]
    for canvases in (1, 10, 100):
        async with new_tables(stack) as tables:
            await tables.connection.execute(
                "CREATE TABLE single (canvas_id text, revision bigint, writer text, sequence bigint,"
                " authors text[], update bytea, at timestamptz, checksum integer,"
                " PRIMARY KEY (canvas_id, revision))"
            )
            ids = [await tables.create() for _ in range(canvases)]
            each = EDITS // canvases
            made = [entries(canvas_id, seed, each) for seed, canvas_id in enumerate(ids)]
            groups = [list(group) for group in zip(*made, strict=True)]
            insert = await tables.connection.prepare(
                "INSERT INTO single VALUES ($1, $2, $3, $2, $4, $5, now(), 1)"
            )

            grouped, commits = await _rate(groups, tables.journal.append)
            single, _ = await _rate(groups, functools.partial(_one_by_one, insert))
            rows.append(
                (
                    str(canvases),
                    f"{grouped:,.0f}",
                    f"{commits:,.0f}",
                    f"{1000 / commits:.2f}",
                    f"{single:,.0f}",
                    f"{grouped / single:.1f} times",
                )
            )
    return Report(
        "Appends",
        "One holder commits a group with the next edit of each canvas, then the next group. For comparison, one\n"
        "connection inserts the same rows into a plain table, each in a transaction of its own. There, the\n"
        "revision of a row is its sequence number.",
        rows,
    )


async def _one_by_one(insert: Statement, group: list[Entry]) -> None:
    """Insert each entry in a transaction of its own."""
    for entry in group:
        await insert.fetch(
            entry.canvas_id, entry.sequence, entry.writer, list(entry.authors), entry.update
        )


async def _rate(
    groups: list[list[Entry]], append: Callable[[list[Entry]], Awaitable[object]]
) -> tuple[float, float]:
    """Append groups for `SECONDS`. Return the entries per second and the groups per second."""
    done = appended = 0
    started = time.perf_counter()
    for group in groups:
        await append(group)
        done += 1
        appended += len(group)
        if time.perf_counter() - started > SECONDS:
            break
    seconds = time.perf_counter() - started
    return appended / seconds, done / seconds
