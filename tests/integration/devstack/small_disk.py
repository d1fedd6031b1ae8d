"""A small file system in memory, on which the development stack has too little space."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def small_disk(folder: Path, mib: int) -> Iterator[None]:
    """Mount a file system of `mib` MiB at the folder until the end of the block.

    The test is skipped if this process may not mount a file system.
    """
    folder.mkdir(parents=True, exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={mib}m", "svgx", str(folder)]
    try:
        subprocess.run(mount, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        reason = getattr(error, "stderr", None) or error
        pytest.skip(f"needs the right to mount a file system: {reason}")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)
