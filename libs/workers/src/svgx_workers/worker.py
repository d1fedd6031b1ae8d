"""The child side of `workers`: does one job at a time within limits of memory and CPU time.

`python -m svgx_workers.worker MEMORY_BYTES CPU_SECONDS PARENT_PID`. Jobs come in on standard input, results leave on
standard output, as `frames` has them. It ends with its input, with its parent (where the system can tell), on a second
too much of CPU time and on the first failure that is not the job's own.
"""

import ctypes
import gc
import os
import resource
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from svgx_canvas import compact, export_json, export_svg, import_svg, render_png, state
from svgx_canvas.limits import SvgRefused
from svgx_workers.frames import PREFIX, Frame, decode, decode_prefix, encode

Job = Callable[[Frame], Frame]

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main(arguments: list[str]) -> None:
    """Serve until standard input ends."""
    memory, cpu_seconds, parent = map(int, arguments)
    _end_with(parent)
    # A terminal's Ctrl-C is for the parent to act on.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    jobs_in = sys.stdin.buffer
    results_out = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    # Whatever prints goes to standard error: standard output is for frames.
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if memory:
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    # Jobs make many objects and no cycles; looking for cycles all the time costs a third of the time.
    gc.disable()
    _write(results_out, Frame({"ready": os.getpid()}))
    while (job := _read(jobs_in)) is not None:
        _grant_cpu(cpu_seconds)
        result = run(job)
        del job
        gc.collect()
        result.values["rss"] = _resident()
        _write(results_out, result)
        if "failed" in result.values:
            sys.exit(1)


def run(job: Frame) -> Frame:
    """Do one job: its result, a refusal or a failure, as a frame."""
    try:
        return _JOBS[str(job.values["job"])](job)
    except SvgRefused as refused:
        return Frame(
            {
                "refused": refused.code,
                "field": refused.field,
                "limit": refused.limit,
                "actual": refused.actual,
                "detail": refused.detail,
            }
        )
    except BaseException as error:  # noqa: BLE001 - panics of the Rust libraries are BaseExceptions
        # Type and place only: the text may hold what is in the document.
        places = traceback.extract_tb(error.__traceback__)
        where = f"{Path(places[-1].filename).name}:{places[-1].lineno}" if places else "?"
        return Frame({"failed": f"{type(error).__name__} in {where}"})


def _import_svg(job: Frame) -> Frame:
    svg, *current = job.blobs
    imported = import_svg(svg, current[0] if current else None)
    dropped = [[item.what, item.reason, item.count] for item in imported.dropped]
    return Frame({"elements": imported.elements, "dropped": dropped}, [imported.update])


def _export_svg(job: Frame) -> Frame:
    return Frame({}, [export_svg(job.blobs[0])])


def _export_json(job: Frame) -> Frame:
    return Frame({}, [export_json(job.blobs[0])])


def _render_png(job: Frame) -> Frame:
    width, height, scale = (job.values[name] for name in ("width", "height", "scale"))
    assert isinstance(width, int | None)
    assert isinstance(height, int | None)
    assert isinstance(scale, int | float | None)
    return Frame({}, [render_png(job.blobs[0], width, height, scale)])


def _compact(job: Frame) -> Frame:
    blobs = list(job.blobs)
    snapshot = blobs.pop(0) if job.values["snapshot"] else None
    return Frame({}, [compact(snapshot, blobs)])


def _state(job: Frame) -> Frame:
    return Frame({}, [state(job.blobs)])


_JOBS: dict[str, Job] = {
    "import_svg": _import_svg,
    "export_svg": _export_svg,
    "export_json": _export_json,
    "render_png": _render_png,
    "compact": _compact,
    "state": _state,
}


def _end_with(parent: int) -> None:
    """Die when the parent does, even in the middle of a job; elsewhere than on Linux the end of input has to do."""
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the call
        sys.exit(0)


def _grant_cpu(seconds: int) -> None:
    """Let this job have so many seconds of CPU time; the kernel ends the process after them."""
    if not seconds:
        return
    usage = resource.getrusage(resource.RUSAGE_SELF)
    used = int(usage.ru_utime + usage.ru_stime)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (used + seconds + 1, hard))


def _resident() -> int:
    """Bytes of memory this process holds now; 0 where the system does not say."""
    try:
        return int(Path("/proc/self/statm").read_bytes().split()[1]) * resource.getpagesize()
    except OSError:
        return 0


def _read(stream: BinaryIO) -> Frame | None:
    prefix = stream.read(PREFIX.size)
    if len(prefix) < PREFIX.size:
        return None
    head_length, body_length = decode_prefix(prefix)
    head, body = stream.read(head_length), stream.read(body_length)
    if len(head) < head_length or len(body) < body_length:
        return None
    return decode(head, body)


def _write(stream: BinaryIO, frame: Frame) -> None:
    stream.writelines(encode(frame))
    stream.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
