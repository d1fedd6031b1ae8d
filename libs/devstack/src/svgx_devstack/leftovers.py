"""Processes that outlived a supervisor that was killed: remembered by id and start time, ended before the next start.

On Linux the kernel has usually ended them already; then this only waits for the last of them to be gone.
"""

import json
from pathlib import Path

import psutil

_PATIENCE = 5.0


def remember(path: Path, pid: int) -> None:
    """Note in `path` that this process was started."""
    try:
        path.write_text(json.dumps([pid, psutil.Process(pid).create_time()]), encoding="utf-8")
    except psutil.NoSuchProcess:
        path.unlink(missing_ok=True)


def end(folder: Path) -> list[str]:
    """End what is noted in `folder` and still runs, with everything it started. Returns the names."""
    found: list[psutil.Process] = []
    names: list[str] = []
    for path in sorted(folder.iterdir()):
        process = _running(path)
        if process is not None:
            names.append(path.name)
            found += tree(process)
        path.unlink(missing_ok=True)
    kill(found)
    return names


def tree(process: psutil.Process) -> list[psutil.Process]:
    """The process and everything it started."""
    try:
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def kill(processes: list[psutil.Process]) -> None:
    """SIGKILL, then wait until they are gone."""
    for process in processes:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(processes, timeout=_PATIENCE)


def _running(path: Path) -> psutil.Process | None:
    try:
        pid, created = json.loads(path.read_text(encoding="utf-8"))
        process = psutil.Process(int(pid))
        # The system may have given the id to somebody else since.
        return process if process.create_time() == created else None
    except (OSError, ValueError, TypeError, psutil.Error):
        return None
