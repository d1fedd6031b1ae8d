"""Log files of the processes: opened for appending, kept from growing without end, read for the last word."""

import os
from pathlib import Path

LIMIT = 20 * 1024 * 1024
_TAIL = 8192


def open_log(path: Path) -> int:
    """A descriptor to append to `path`, for a process's output. The caller closes it."""
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)


def rotate(path: Path, limit: int = LIMIT) -> None:
    """Keep one older log beside the present one, once that is over `limit` bytes.

    The process keeps its descriptor, so the file is copied and emptied; what is written in between is lost.
    """
    try:
        if path.stat().st_size <= limit:
            return
        older = path.with_name(path.name + ".1")
        older.unlink(missing_ok=True)
        with path.open("rb") as source, open(open_log(older), "wb") as target:
            while chunk := source.read(1 << 20):
                target.write(chunk)
        os.truncate(path, 0)
    except FileNotFoundError:
        return


def last_line(path: Path) -> str:
    """The last line that is not empty, shortened for a terminal; empty when there is none."""
    try:
        with path.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - _TAIL))
            lines = file.read().decode(errors="replace").splitlines()
    except FileNotFoundError:
        return ""
    for line in reversed(lines):
        if line.strip():
            return line.strip()[:300]
    return ""
