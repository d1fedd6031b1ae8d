"""Backups and restores of the state service, compared with pg_dump and pg_restore of the same database.

They are measured with the commands that operators run. Each command is a process of its own, and runs alone.
"""

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import psutil
from pycrdt import Doc, Map

from bench.state.memory import descendants, peak
from bench.state.tables import Report
from svgx_canvas import state
from svgx_common import postgres
from svgx_common.contract.state import Entry
from svgx_devstack import DevStack
from svgx_devstack.backing import binaries
from svgx_state.journal import Journal
from svgx_state.partitions import add_partitions

MEGABYTES = 1000
"""Megabytes of the journal."""

CANVAS_BYTES = 5_000_000
"""Bytes of the updates of each canvas."""

ENTRY_BYTES = 20_000
"""Bytes of each update: a text of random hexadecimal digits, which does not compress well."""

STATE = (sys.executable, "-m", "svgx_state")

DUMPS = ("none", "gzip:1")
"""The compressions of pg_dump: none, and the compression that state backups and `backup_database.sh` use."""

SAMPLE_SECONDS = 0.05
"""Seconds between two measurements of the memory."""


@dataclass(frozen=True, slots=True)
class Measured:
    """The duration, the processor time and the memory of one run of a command."""

    seconds: float
    processor: float
    """Processor time in seconds: of the command, and of the PostgreSQL processes that served the command."""

    memory: int
    """The largest resident memory of one of the command's processes, in bytes."""


@dataclass(frozen=True, slots=True)
class Bench:
    """The system that is backed up, and the folder of the backups."""

    stack: DevStack
    folder: Path

    @property
    def environment(self) -> Mapping[str, str]:
        """The settings of the commands of the state service."""
        return {
            "NATS_URL": self.stack.nats_url("state"),
            "POSTGRES_URL": self.stack.postgres_url,
            "BACKUP_URL": f"file://{self.folder / 'backups'}",
        }

    async def run(self, *command: str) -> Measured:
        """Run a command, and measure it. Before its start, earlier writes are flushed to the disk."""
        await asyncio.to_thread(os.sync)
        return await asyncio.to_thread(self._run, command)

    def _run(self, command: Sequence[str]) -> Measured:
        served = self._served_seconds()
        started = time.monotonic()
        memory = 0
        with subprocess.Popen(  # noqa: S603 - the commands are those of this file
            command, env={**os.environ, **self.environment}, stdout=subprocess.DEVNULL
        ) as process:
            # `usage.ru_maxrss` would include the memory of this process, from which the command was forked.
            while (ended := os.wait4(process.pid, os.WNOHANG))[0] == 0:
                processes = (process.pid, *descendants(process.pid))
                memory = max(memory, *map(peak, processes))
                time.sleep(SAMPLE_SECONDS)
            _, status, usage = ended
            process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.monotonic() - started
        if process.returncode != 0:
            raise SystemExit(f"{command} failed")
        # PostgreSQL has a process for each connection. The main process counts the time of such a process only after
        # the process has ended, which is soon after the connection was closed.
        time.sleep(0.5)
        own = usage.ru_utime + usage.ru_stime
        processor = own + self._served_seconds() - served
        return Measured(seconds, processor, memory)

    def _served_seconds(self) -> float:
        """Return the processor seconds of the PostgreSQL processes that have ended: those of closed connections."""
        times = psutil.Process(self.stack.process("postgres").pid).cpu_times()
        return float(times.children_user + times.children_system)

    async def empty(self) -> None:
        """Remove the tables of the state service."""
        url = urlsplit(self.stack.postgres_url)
        connection = await asyncpg.connect(self.stack.postgres_superuser_url(url.path.strip("/")))
        try:
            await connection.execute("DROP SCHEMA state CASCADE")
            await connection.execute("CHECKPOINT")
        finally:
            await connection.close()


async def measure(stack: DevStack, megabytes: int = MEGABYTES) -> Report:
    """Fill a database, back it up in each way, and restore each backup into an empty database."""
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(stack, Path(folder))
        size, canvases = await fill(stack.postgres_url, megabytes)
        before = await contents(stack.postgres_url)
        rows: list[tuple[str, ...]] = [
            ("", "seconds", "MB/s of journal", "processor seconds", "memory, MB", "stored, MB")
        ]

        async def add(name: str, *command: str, stored: Path | None = None) -> None:
            measured = await bench.run(*command)
            rows.append(_row(name, measured, size, stored))
            print("  " + " | ".join(rows[-1]), flush=True)

        backups = bench.folder / "backups"
        await add("svgx-state backup", *STATE, "backup", "--state-type", "canvas", stored=backups)
        await add("svgx-state verify", *STATE, "verify", "latest")
        dumps = [(each, bench.folder / f"{each}.dump") for each in DUMPS]
        for compression, path in dumps:
            command = _dump(stack.postgres_url, compression, path)
            await add(f"pg_dump, compression {compression}", *command, stored=path)
        await bench.empty()
        await add("svgx-state restore", *STATE, "restore", "latest")
        assert await contents(stack.postgres_url) == before
        for compression, path in dumps:
            await bench.empty()
            command = _restore(stack.postgres_url, path)
            await add(f"pg_restore, compression {compression}", *command)
            assert await contents(stack.postgres_url) == before
        await bench.empty()
    return Report(
        "Backups and restores",
        f"The journal has {size / 1e6:,.0f} MB in {canvases} canvases. Each update contains a text of"
        f" {ENTRY_BYTES / 1000:.0f} kB of random digits. All backups are of the same\n"
        "database. Each restore begins with an empty database, and all contents are equal afterwards. `svgx-state`\n"
        "compresses with zlib at level 1, as pg_dump does with `gzip:1`. `svgx-state restore` first reads\n"
        "the whole backup to verify it. The processor seconds include those of the database server. The memory is\n"
        "that of the command's largest process.",
        rows,
    )


def _row(name: str, measured: Measured, size: int, stored: Path | None) -> tuple[str, ...]:
    return (
        name,
        f"{measured.seconds:.1f}",
        f"{size / 1e6 / measured.seconds:.1f}",
        f"{measured.processor:.1f}",
        f"{measured.memory / 1e6:.0f}",
        "" if stored is None else f"{size_of(stored) / 1e6:,.0f}",
    )


def _dump(url: str, compression: str, path: Path) -> tuple[str, ...]:
    program = str(binaries.postgres("pg_dump"))
    options = ("--format=custom", f"--compress={compression}", "--schema=state")
    return (program, *options, f"--file={path}", url)


def _restore(url: str, path: Path) -> tuple[str, ...]:
    program = str(binaries.postgres("pg_dump").with_name("pg_restore"))
    return (program, "--exit-on-error", "--no-owner", f"--dbname={url}", str(path))


async def fill(url: str, megabytes: int) -> tuple[int, int]:
    """Write canvases until the journal has this size. Return the journal's bytes and the number of canvases."""
    written = number = 0
    async with postgres.connect(url, schema="state", package="svgx_state", pool_size=2) as database:
        await add_partitions(database, 1)
        journal = Journal(database, lambda *_: None)
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
    return written, number


async def contents(url: str) -> dict[str, int]:
    """Return a hash of the content of each canvas."""
    async with postgres.connect(url, schema="state", package="svgx_state", pool_size=1) as database:
        journal = Journal(database, lambda *_: None)
        ids = [
            row["id"] for row in await database.rows("canvases_to_back_up", 10_000, "", None, None)
        ]
        return {each: hash(state((await journal.load(each)).updates)) for each in ids}


def size_of(path: Path) -> int:
    """Return the bytes of a file, or of all files in a folder."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(each.stat().st_size for each in files if each.is_file())
