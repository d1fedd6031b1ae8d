"""A small file system for PostgreSQL's data and write-ahead log. A test can fill it to the last byte."""

import contextlib
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from svgx_devstack import DevStack

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
async def small_disk(stack: DevStack) -> AsyncIterator[SmallDisk]:
    """Move PostgreSQL's data to a small file system, and back at the end. PostgreSQL restarts each time.

    The test is skipped if this process may not mount a file system.
    """
    data = stack.home / "postgres"
    kept = data.with_name("postgres.kept")
    server = stack.process("postgres")
    _mount_or_skip(data.with_name("postgres.try"))
    await server.stop()
    data.rename(kept)
    data.mkdir()
    try:
        _run("mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "svgx", data)
        _run("cp", "-a", f"{kept}/.", data)
        await server.start()
        await server.wait_ready()
        disk = SmallDisk(data)
        try:
            yield disk
        finally:
            disk.free()
            await server.stop()
        shutil.rmtree(kept)
        _run("cp", "-a", f"{data}/.", kept)
    finally:
        if data.is_mount():
            _run("umount", data)
        data.rmdir()
        kept.rename(data)
        await server.start()
        await server.wait_ready()


def _mount_or_skip(folder: Path) -> None:
    """Try to mount a file system. Skip the test if this process may not mount."""
    folder.mkdir()
    try:
        _run("mount", "-t", "tmpfs", "-o", "size=1m", "svgx", folder)
        _run("umount", folder)
    except (OSError, subprocess.CalledProcessError) as error:
        reason = getattr(error, "stderr", None) or error
        pytest.skip(f"needs the right to mount a file system: {reason}")
    finally:
        folder.rmdir()


def _run(*command: str | Path) -> None:
    subprocess.run(command, capture_output=True, text=True, check=True)
