"""The time to open a canvas, by the size of its content and by the number of edits in its journal."""

import asyncio
import os
import random
import time
from statistics import median

from pycrdt import Doc, Map

from bench.state.edits import entries, updates
from bench.state.memory import descendants, forget_peak, peak
from bench.state.tables import Report, Tables, new_tables
from svgx_canvas.document.shared_document import SharedDocument
from svgx_devstack import DevStack
from svgx_state.journal.checksums import checksum
from svgx_state.snapshots import Compactor
from svgx_workers.pool import Workers
from svgx_yjs.structure import EMPTY_UPDATE

SIZES = (1, 10, 50)
"""Megabytes of content."""

TAIL = 100
"""Entries after the snapshot."""

UNCOMPACTED = 40_000
"""Edits at the end of a long journal that have no snapshot yet."""

REPEATS = 5
"""Loads of each canvas. The tables show the median."""


def content_of(megabytes: int) -> bytes:
    """Return the update of a document of this size. Its elements have 1,000 bytes each."""
    choose = random.Random(megabytes)  # noqa: S311
    doc: Doc[Map[str]] = Doc(client_id=1)
    elements = doc.get("elements", type=Map)
    with doc.transaction():
        for number in range(megabytes * 1000):
            elements[f"e{number:08}"] = choose.randbytes(490).hex()
    return doc.get_update()


async def load_seconds(tables: Tables, canvas_id: str) -> tuple[float, float, int]:
    """Return the seconds to load a canvas from PostgreSQL and to make its document, and the loaded bytes."""
    loads, documents, size = [], [], 0
    for _ in range(REPEATS):
        started = time.perf_counter()
        content = await tables.journal.load(canvas_id)
        loads.append(time.perf_counter() - started)
        started = time.perf_counter()
        SharedDocument.load(content.updates)
        documents.append(time.perf_counter() - started)
        size = sum(map(len, content.updates))
    return median(loads), median(documents), size


async def store_snapshot(tables: Tables, canvas_id: str, update: bytes) -> None:
    """Give a canvas a snapshot of revision 1, and `TAIL` entries after it."""
    await tables.journal.append(entries(canvas_id, 1, 1))
    at = await tables.connection.fetchval("SELECT updated_at FROM canvas WHERE id = $1", canvas_id)
    await tables.database.run(
        "add_snapshot", canvas_id, 1, at, update, checksum(update), len(update), True, 2**22
    )
    await tables.database.run("note_snapshot", canvas_id, 1, len(update))
    for entry in entries(canvas_id, 2, TAIL + 1)[1:]:
        await tables.journal.append([entry])


async def measure_sizes(stack: DevStack) -> Report:
    """Measure the time to open canvases of several sizes."""
    rows: list[tuple[str, ...]] = [("content", "load from PostgreSQL, ms", "make the document, ms")]
    async with new_tables(stack) as tables:
        for megabytes in SIZES:
            canvas_id = await tables.create()
            await store_snapshot(tables, canvas_id, content_of(megabytes))
            load, document, size = await load_seconds(tables, canvas_id)
            rows.append((f"{size / 1e6:.1f} MB", f"{load * 1000:.0f}", f"{document * 1000:.0f}"))
    return Report(
        "Opening a canvas",
        f"Each canvas has a snapshot and {TAIL} entries after it. State loads them and verifies the checksums;\n"
        "the holder makes the document.",
        rows,
    )


async def measure_edits(stack: DevStack, edits: int) -> Report:
    """Store many edits of one canvas, compact the last ones in slices, and measure the time to open the canvas."""
    async with new_tables(stack) as tables:
        many, few = await tables.create(), await tables.create()
        uncompacted = min(edits, UNCOMPACTED)
        await _store(tables, many, edits, uncompacted)
        async with Workers(1, 0, 120) as workers:
            compactor = Compactor(
                tables.database,
                workers,
                max_tail_entries=500,
                max_tail_bytes=2**20,
                concurrency=1,
            )
            before = forget_peak()
            started = time.perf_counter()
            compaction = asyncio.create_task(compactor.compact(many))
            slowest, worker_bytes = await _append_meanwhile(tables, many, compaction)
            assert await compaction
            seconds = time.perf_counter() - started
            await compactor.compact(many)
        after = peak(os.getpid())
        snapshots = await tables.connection.fetchrow(
            "SELECT count(*) AS number, sum(octet_length(update)) AS bytes FROM snapshot"
        )
        assert snapshots is not None
        for entry in entries(many, 5, TAIL):
            await tables.journal.append([entry])
        load, document, size = await load_seconds(tables, many)
        (snapshot, *_) = (await tables.journal.load(many)).updates
        await store_snapshot(tables, few, snapshot)
        few_load, few_document, few_size = await load_seconds(tables, few)
    rows = [
        ("canvas", "loaded", "load from PostgreSQL, ms", "make the document, ms"),
        (
            f"with {edits:,} journaled edits",
            f"{size / 1000:,.0f} kB",
            f"{load * 1000:.1f}",
            f"{document * 1000:.0f}",
        ),
        (
            f"with the same snapshot and {TAIL} edits",
            f"{few_size / 1000:,.0f} kB",
            f"{few_load * 1000:.1f}",
            f"{few_document * 1000:.0f}",
        ),
    ]
    return Report(
        "A canvas with many edits",
        f"The last {uncompacted:,} edits of {edits:,} have no snapshot, and are compacted in slices. This takes\n"
        f"{seconds:.0f} s in the background, {(after - before) / 2**20:.0f} MiB of memory in the service and at most"
        f" {worker_bytes / 2**20:.0f} MiB in the worker. Meanwhile, the slowest of\n"
        f"the appends to this canvas takes {slowest * 1000:.0f} ms. {snapshots['number']} snapshots with"
        f" {snapshots['bytes'] / 1e6:.1f} MB remain.",
        rows,
    )


async def _store(tables: Tables, canvas_id: str, edits: int, uncompacted: int) -> None:
    """Insert the edits of a canvas with two statements, and an empty snapshot before the last `uncompacted` edits.

    The edits before this snapshot are copies of one edit, because no load and no compaction reads them.
    """
    source = updates(3)
    at = await tables.connection.fetchval("SELECT clock_timestamp()")
    first = edits - uncompacted
    copy = next(updates(4))
    await tables.connection.execute(
        "INSERT INTO journal (canvas_id, revision, writer, sequence, authors, update, at, checksum)"
        " SELECT $1, number, 'writer', number, '{user}', $2, $3, $4 FROM generate_series(1, $5::bigint) AS number",
        canvas_id,
        copy,
        at,
        checksum(copy),
        first,
    )
    made = [next(source) for _ in range(uncompacted)]
    await tables.connection.copy_records_to_table(
        "journal",
        columns=[
            "canvas_id",
            "revision",
            "writer",
            "sequence",
            "authors",
            "update",
            "at",
            "checksum",
        ],
        records=[
            (
                canvas_id,
                first + number,
                "writer",
                first + number,
                ["user"],
                update,
                at,
                checksum(update),
            )
            for number, update in enumerate(made, 1)
        ],
    )
    if first:
        await tables.database.run(
            "add_snapshot",
            canvas_id,
            first,
            at,
            EMPTY_UPDATE,
            checksum(EMPTY_UPDATE),
            0,
            True,
            2**22,
        )
    await tables.connection.execute(
        "UPDATE canvas SET revision = $2, bytes = $3, snapshot_revision = $4, created_at = $5, updated_at = $5,"
        " writer = 'writer', sequence = $2 WHERE id = $1",
        canvas_id,
        edits,
        sum(map(len, made)),
        first,
        at,
    )
    await tables.connection.execute("ANALYZE journal")


async def _append_meanwhile(
    tables: Tables, canvas_id: str, compaction: "asyncio.Task[bool]"
) -> tuple[float, int]:
    """Append an edit ten times a second until the compaction has ended.

    Return the seconds of the slowest append, and the largest memory of a worker in bytes.
    """
    slowest, worker_bytes = 0.0, 0
    source = iter(entries(canvas_id, 4, 20_000))
    while not compaction.done():
        started = time.perf_counter()
        await tables.journal.append([next(source)])
        slowest = max(slowest, time.perf_counter() - started)
        workers = descendants(os.getpid(), "svgx_workers.worker")
        worker_bytes = max((worker_bytes, *map(peak, workers)))
        await asyncio.wait([compaction], timeout=0.1)
    return slowest, worker_bytes
