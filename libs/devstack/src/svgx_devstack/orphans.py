"""Kill processes that outlived a killed supervisor, before the next start.

Processes are stored by id and start time. On Linux the kernel sends them a signal when the supervisor ends (see
`launch.py`), so they have usually ended already.
"""

import json
from pathlib import Path

import psutil

_KILL_SECONDS = 5.0
"""Time limit of the wait for killed processes, in seconds."""


def record(path: Path, pid: int) -> None:
    """Store the id and start time of a started process in `path`."""
    try:
        path.write_text(json.dumps([pid, psutil.Process(pid).create_time()]), encoding="utf-8")
    except psutil.NoSuchProcess:
        path.unlink(missing_ok=True)


def kill_recorded(folder: Path) -> list[str]:
    """Kill the stored processes that still run, with all their descendants. Return their names."""
    processes: list[psutil.Process] = []
    names: list[str] = []
    for path in sorted(folder.iterdir()):
        process = _running(path)
        if process is not None:
            names.append(path.name)
            processes += tree(process)
        path.unlink(missing_ok=True)
    kill(processes)
    return names


def tree(process: psutil.Process) -> list[psutil.Process]:
    """Return the process and all its descendants."""
    try:
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def kill(processes: list[psutil.Process]) -> None:
    """Send SIGKILL to the processes, then wait for their end."""
    for process in processes:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(processes, timeout=_KILL_SECONDS)


def _running(path: Path) -> psutil.Process | None:
    try:
        pid, start_time = json.loads(path.read_text(encoding="utf-8"))
        process = psutil.Process(int(pid))
        # The system may have given the id to another process.
        return process if process.create_time() == start_time else None
    except (OSError, ValueError, TypeError, psutil.Error):
        return None
