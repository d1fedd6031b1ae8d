"""A small file system for PostgreSQL's data and write-ahead log. A test can fill it to the last byte."""

import contextlib
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from svgx_devstack import DevStack
from tests.small_disk import small_disk

DISK_MIB = 256
"""The size of the file system in MiB. The file system is in memory."""

BLOCK_BYTES = 4096


class SmallDisk:
    """A file system that contains PostgreSQL's data folder."""

    def __init__(self, folder: Path) -> None:
        self._filler = folder / "filler"

    def fill(self) -> None:
        """Write a file until no byte is free."""
        with self._filler.open("ab", buffering=0) as file:
            for size in (1024 * BLOCK_BYTES, BLOCK_BYTES, 1):
                with contextlib.suppress(OSError):  # no space is left
                    while file.write(bytes(size)) == size:
                        pass

    def free(self) -> None:
        """Remove the file, so that the space is free again."""
        self._filler.unlink(missing_ok=True)


@asynccontextmanager
async def postgres_on_small_disk(stack: DevStack) -> AsyncIterator[SmallDisk]:
    """Move PostgreSQL's data to a small file system, and back at the end. PostgreSQL restarts each time.

    The test is skipped if this process may not mount a file system.
    """
    data = stack.home / "postgres"
    kept = data.with_name("postgres.kept")
    server = stack.process("postgres")
    with small_disk(data.with_name("postgres.try"), "1m") as probe:
        pass  # Here, the test is skipped before PostgreSQL stops.
    probe.rmdir()
    await server.stop()
    data.rename(kept)
    try:
        with small_disk(data, f"{DISK_MIB}m"):
            _copy(kept, data)
            await server.start()
            await server.wait_ready()
            disk = SmallDisk(data)
            try:
                yield disk
            finally:
                disk.free()
                await server.stop()
            shutil.rmtree(kept)
            _copy(data, kept)
    finally:
        data.rmdir()
        kept.rename(data)
        await server.start()
        await server.wait_ready()


def _copy(source: Path, target: Path) -> None:
    """Copy a folder with the owners and the permissions of its files."""
    command = ("cp", "-a", f"{source}/.", target)
    subprocess.run(command, capture_output=True, text=True, check=True)
