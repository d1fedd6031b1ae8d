"""Measure backups and restores of the state service against pg_dump and pg_restore of the same database.

`python -m bench.state.backups --megabytes 1000` fills a database with canvases, backs it up in both ways, and restores
it in both ways into an empty database. It prints MB/s of journal, the size of the backup, and the largest memory of a
process.
"""

import argparse
import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import asyncpg
from pycrdt import Doc, Map

from svgx_common import postgres
from svgx_common.contract.state import Entry
from svgx_devstack import DevStack
from svgx_devstack.backing import binaries
from svgx_state.journal import Journal
from svgx_state.partitions import add_partitions

CANVAS_BYTES = 5_000_000
"""Bytes of the updates of each canvas."""

ENTRY_BYTES = 20_000
"""Bytes of each update: a path that does not compress well."""


@dataclass(frozen=True, slots=True)
class Measured:
    """A command that was run: its seconds, and the largest resident memory of one of its processes, in bytes."""

    seconds: float
    memory: int


def run(command: Sequence[str], environment: Mapping[str, str]) -> Measured:
    """Run a command, and measure it."""
    started = time.monotonic()
    with subprocess.Popen(  # noqa: S603 - the commands are those of this file
        command, env={**os.environ, **environment}, stdout=subprocess.PIPE
    ) as process:
        output = process.stdout.read() if process.stdout is not None else b""
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise SystemExit(f"{command} failed: {output.decode()[-500:]}")
    return Measured(time.monotonic() - started, usage.ru_maxrss * 1024)


def report(name: str, measured: Measured, journal_bytes: int, stored: int | None = None) -> None:
    """Print one line of the table."""
    size = "" if stored is None else f"{stored / 1e6:10.0f}"
    rate = journal_bytes / 1e6 / measured.seconds
    print(
        f"{name:24} {measured.seconds:8.1f} {rate:8.1f} {measured.memory / 1e6:10.0f} {size:>10}",
        flush=True,
    )


async def fill(url: str, megabytes: int) -> int:
    """Write canvases with a journal of this size. Return the bytes of the journal."""
    written = 0
    async with postgres.connect(url, schema="state", package="svgx_state", pool_size=2) as database:
        await add_partitions(database, 1)
        journal = Journal(database, lambda *_: None)
        number = 0
        while written < megabytes * 1_000_000:
            number += 1
            canvas_id = f"bench-{number:06}"
            await database.row("create_canvas", canvas_id, f"Bench {number}", "bench")
            doc: Doc[Map[str]] = Doc()
            elements = doc.get("elements", type=Map)
            entries = []
            for sequence in range(1, CANVAS_BYTES // ENTRY_BYTES + 1):
                before = doc.get_state()
                elements[f"e{sequence}"] = os.urandom(ENTRY_BYTES // 2).hex()
                update = doc.get_update(before)
                entries.append(Entry(canvas_id, "bench", sequence, ("bench",), update))
                written += len(update)
            await journal.append(entries)
    return written


async def empty(url: str) -> None:
    """Remove the schemas of the services."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("DROP SCHEMA state CASCADE")
    finally:
        await connection.close()


def size_of(folder: Path) -> int:
    """Return the bytes of all files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


async def measure(folder: Path, megabytes: int) -> None:
    """Run the benchmark in a folder."""
    stack = DevStack(folder / "stack")
    await stack.up(backing_only=True)
    try:
        tools = binaries.postgres("pg_dump").parent
        url, dump = stack.postgres_url, folder / "bench.dump"
        environment = {
            "NATS_URL": stack.nats_url("state"),
            "POSTGRES_URL": url,
            "BACKUP_URL": f"file://{folder / 'backups'}",
        }
        journal_bytes = await fill(url, megabytes)
        print(f"journal of {journal_bytes / 1e6:.0f} MB in canvases of {CANVAS_BYTES / 1e6:.0f} MB")
        print(f"{'':24} {'seconds':>8} {'MB/s':>8} {'memory MB':>10} {'stored MB':>10}")
        state = [sys.executable, "-m", "svgx_state"]
        steps: list[tuple[str, list[str], Path | None]] = [
            ("svgx-state backup", [*state, "backup", "--state-type", "canvas"], folder / "backups"),
            ("svgx-state verify", [*state, "verify", "latest"], None),
            ("pg_dump -Fc", [str(tools / "pg_dump"), "-Fc", "-f", str(dump), url], None),
        ]
        for name, command, target in steps:
            measured = await asyncio.to_thread(run, command, environment)
            stored = size_of(target) if target else dump.stat().st_size if dump.exists() else None
            report(name, measured, journal_bytes, stored)
        await empty(url)
        measured = await asyncio.to_thread(run, [*state, "restore", "latest"], environment)
        report("svgx-state restore", measured, journal_bytes)
        await empty(url)
        command = [str(tools / "pg_restore"), "-d", url, str(dump)]
        report("pg_restore", await asyncio.to_thread(run, command, environment), journal_bytes)
    finally:
        await stack.down()


def main() -> None:
    """Run the benchmark in a temporary folder, which needs about five times the size of the journal."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=1000, help="size of the journal")
    chosen = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="svgx-bench-"))
    try:
        asyncio.run(measure(folder, chosen.megabytes))
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
