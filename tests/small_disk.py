"""A small file system in memory, on which a service or PostgreSQL has too little space."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """Mount a file system at the folder until the end of the block. `size` is a size for `mount`, such as `128k`.

    The folder is created if it is missing. The test is skipped if this process may not mount a file system.
    """
    folder.mkdir(parents=True, exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "svgx", str(folder)]
    try:
        subprocess.run(mount, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        reason = getattr(error, "stderr", None) or error
        pytest.skip(f"needs the right to mount a file system: {reason}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)
