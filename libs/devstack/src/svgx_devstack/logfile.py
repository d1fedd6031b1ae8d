"""Log files of the processes: open, rotate, read the last line."""

import contextlib
import os
from pathlib import Path
from typing import BinaryIO

MAX_LOG_BYTES = 20 * 1024 * 1024
"""Maximum size of a log in bytes. A longer log is rotated."""

_TAIL_BYTES = 8192
"""Number of bytes at the end of a log in which the last line is searched."""

_POSTGRES_END = "database system is shut down"
"""End of the last line that PostgreSQL logs when it stops. The line before states the reason."""


def open_log(path: Path) -> BinaryIO:
    """Open a file that appends to `path`, for a process's output. Only its owner may read it."""
    return os.fdopen(
        os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600), "ab"
    )


def rotate(path: Path, limit: int = MAX_LOG_BYTES) -> None:
    """Move a log of more than `limit` bytes to `NAME.1`, and replace an older file of this name.

    The process keeps its descriptor, so the log is copied and then emptied. Lines written between both steps are lost.
    Raises `OSError` if the log cannot be copied, such as on a full disk. The log is then unchanged.
    """
    older = path.with_name(path.name + ".1")
    try:
        if path.stat().st_size <= limit:
            return
        older.unlink(missing_ok=True)
        with path.open("rb") as source, open_log(older) as target:
            while chunk := source.read(1 << 20):
                target.write(chunk)
        os.truncate(path, 0)
    except FileNotFoundError:
        return
    except OSError:
        with contextlib.suppress(OSError):
            older.unlink()
        raise


def last_line(path: Path) -> str:
    """Return the last line except for blank lines and `_POSTGRES_END`, shortened for a terminal, or an empty string."""
    try:
        with path.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - _TAIL_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
    except FileNotFoundError:
        return ""
    for line in reversed(lines):
        if line.strip() and not line.endswith(_POSTGRES_END):
            return line.strip()[:300]
    return ""
